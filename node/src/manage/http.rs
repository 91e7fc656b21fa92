//! HTTP on a management port: a few pages to read, and one call to send commands.
//!
//! A browser must not be a way in. The Host has to be an address or a name of this node's, so that no stranger's
//! name can be made to lead here; a call that changes something needs a secret, or has to show that it comes from
//! this very origin or from no page at all.

mod answer;
mod backup;
mod body;
mod certs;
mod commands;
mod config;
mod dashboard;
mod events;
mod metrics;
mod plugins;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fleetbal_raft::model::Typist;
use http::header::{ACCEPT, AUTHORIZATION, HOST};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Context;
use super::access::{Access, Rights};
use super::execute::fleet_status;
use crate::monitor::openmetrics::Format;
use answer::{json, plain, refuse};

type Answer = Response<Full<Bytes>>;

/// How long a request's head may take, and a connection be idle between requests.
const HEAD: Duration = Duration::from_secs(30);

/// What stands behind one HTTP connection.
#[derive(Debug, Clone)]
pub(super) struct Door {
    context: Arc<Context>,
    peer: SocketAddr,
    /// None: the read-only endpoints, to everybody.
    access: Option<Arc<Access>>,
}

impl Door {
    pub(super) fn management(context: Arc<Context>, peer: SocketAddr, access: Arc<Access>) -> Self {
        Self {
            context,
            peer,
            access: Some(access),
        }
    }

    pub(super) fn metrics(context: Arc<Context>, peer: SocketAddr) -> Self {
        Self {
            context,
            peer,
            access: None,
        }
    }
}

/// Serves one connection to its end.
pub(super) async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, door: Door) {
    let service = service_fn(|request| answer(request, door.clone()));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        // Whoever has said all and closes that side still waits for the answer.
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service);
    // A connection that broke is over; there is nobody to tell.
    drop(connection.await);
}

async fn answer(request: Request<Incoming>, door: Door) -> Result<Response<events::Body>, Infallible> {
    let answer = match route(&request, &door) {
        Ok(Route::Events) => {
            return Ok(events::stream(request.method(), request.headers(), &door.context).await);
        }
        Ok(Route::Probe(probe)) => probe_answer(probe, &door.context),
        Ok(Route::Page(page)) => page_answer(page, &request, &door.context),
        Ok(Route::Backup) => backup::take(&request, &door.context).await,
        Ok(Route::Plugin) => plugins::show(&request, &door.context),
        Ok(Route::Certificate) => certs::show(&request, &door.context),
        Ok(Route::Call(call, access, caller)) => called(call, request, &door, (access, caller)).await,
        Err(refusal) => *refusal,
    };
    Ok(answer.map(Either::Left))
}

/// Each is a future of its own: together they are deeper than the compiler looks.
async fn called(
    call: Call,
    request: Request<Incoming>,
    door: &Door,
    (access, caller): (Arc<Access>, Caller),
) -> Answer {
    let context = &door.context;
    match call {
        Call::Commands => Box::pin(commands::answer(request, context, access, caller)).await,
        Call::Push => Box::pin(plugins::push(request, context, &caller.typist)).await,
        Call::Certificate => Box::pin(certs::put(request, context, &caller.typist)).await,
        Call::Restore => Box::pin(backup::restore(request, context, &caller.typist)).await,
        Call::Diff => Box::pin(config::diff(request, context)).await,
        Call::Apply => Box::pin(config::apply(request, context, &caller.typist)).await,
    }
}

/// Where a request that was let in leads to.
#[derive(Debug)]
enum Route {
    Probe(Probe),
    Page(Page),
    /// What changes, as it happens.
    Events,
    /// Of the whole configuration, secrets included.
    Backup,
    /// The source of a plugin in Lua.
    Plugin,
    /// A certificate, without its key.
    Certificate,
    Call(Call, Arc<Access>, Caller),
}

/// Who called.
#[derive(Debug)]
struct Caller {
    rights: Rights,
    typist: Typist,
}

/// What brings a body.
#[derive(Debug, Clone, Copy)]
enum Call {
    Commands,
    Restore,
    /// What a configuration file would change.
    Diff,
    /// Makes the configuration that of a file.
    Apply,
    /// Makes a file a plugin.
    Push,
    /// Makes files a certificate of the fleet.
    Certificate,
}

impl Call {
    fn method(self) -> Method {
        match self {
            Self::Commands | Self::Diff => Method::POST,
            Self::Restore | Self::Apply | Self::Push | Self::Certificate => Method::PUT,
        }
    }
}

/// One word on this node, for load balancers: they call it by whatever name.
#[derive(Debug, Clone, Copy)]
enum Probe {
    Health,
    Readiness,
    Leadership,
}

#[derive(Debug, Clone, Copy)]
enum Page {
    Index,
    Metrics,
    Status,
}

/// Decides who may go where. The refusal is boxed because it is large and rare.
fn route(request: &Request<Incoming>, door: &Door) -> Result<Route, Box<Answer>> {
    let target = match request.uri().path() {
        "/healthz" => Ok(Route::Probe(Probe::Health)),
        "/readyz" => Ok(Route::Probe(Probe::Readiness)),
        "/leaderz" => Ok(Route::Probe(Probe::Leadership)),
        "/" => Ok(Route::Page(Page::Index)),
        "/metrics" => Ok(Route::Page(Page::Metrics)),
        "/api/v1/events" => Ok(Route::Events),
        "/api/v1/status" => Ok(Route::Page(Page::Status)),
        "/api/v1/command" if door.access.is_some() => Err(Call::Commands),
        "/api/v1/backup" if door.access.is_some() && request.method() == Method::PUT => Err(Call::Restore),
        "/api/v1/backup" if door.access.is_some() => Ok(Route::Backup),
        "/api/v1/config/diff" if door.access.is_some() => Err(Call::Diff),
        "/api/v1/config" if door.access.is_some() => Err(Call::Apply),
        path if door.access.is_some() && path.starts_with(plugins::PATH) => {
            if request.method() == Method::PUT {
                Err(Call::Push)
            } else {
                Ok(Route::Plugin)
            }
        }
        path if door.access.is_some() && path.starts_with(certs::PATH) => {
            if request.method() == Method::PUT {
                Err(Call::Certificate)
            } else {
                Ok(Route::Certificate)
            }
        }
        _ => return Err(refuse(StatusCode::NOT_FOUND, "there is no such page")),
    };
    let is_probe = matches!(target, Ok(Route::Probe(_)));
    let Some(access) = &door.access else {
        return readable(request, target);
    };
    check_host(request, access, is_probe)?;
    let caller = caller(request.headers(), access, door.peer)?;
    // A file is compared with what this machine alone has, so even that is not for everybody.
    let for_admins = matches!(
        target,
        Ok(Route::Backup) | Err(Call::Restore | Call::Diff | Call::Apply | Call::Push | Call::Certificate)
    );
    if for_admins && caller.rights < Rights::Admin {
        return Err(refuse(StatusCode::FORBIDDEN, "only an admin may do that"));
    }
    if let Err(call) = target
        && request.method() == call.method()
    {
        commands::check_origin(request, access)?;
        return Ok(Route::Call(call, Arc::clone(access), caller));
    }
    readable(request, target)
}

/// Pages are read; anything else is the wrong method.
fn readable(request: &Request<Incoming>, target: Result<Route, Call>) -> Result<Route, Box<Answer>> {
    let allowed = match target {
        Ok(route) if matches!(*request.method(), Method::GET | Method::HEAD) => return Ok(route),
        Ok(Route::Backup | Route::Plugin | Route::Certificate) => "GET, HEAD, PUT",
        Ok(_) => "GET, HEAD",
        Err(Call::Commands | Call::Diff) => "POST",
        Err(Call::Restore | Call::Apply | Call::Push | Call::Certificate) => "PUT",
    };
    let mut refusal = refuse(
        StatusCode::METHOD_NOT_ALLOWED,
        "this page does not take that method",
    );
    refusal
        .headers_mut()
        .insert(http::header::ALLOW, http::HeaderValue::from_static(allowed));
    Err(refusal)
}

fn check_host(request: &Request<Incoming>, access: &Access, is_probe: bool) -> Result<(), Box<Answer>> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().unwrap_or_default(),
        (None, _) if request.version() <= Version::HTTP_10 => return Ok(()),
        (None, _) | (Some(_), Some(_)) => {
            return Err(refuse(StatusCode::BAD_REQUEST, "one Host field is needed"));
        }
    };
    let target = request.uri().host().unwrap_or("localhost");
    if is_probe || (access.knows_host(host) && access.knows_host(target)) {
        return Ok(());
    }
    let text = "call this node by its address, or by a name that it was given";
    Err(refuse(StatusCode::MISDIRECTED_REQUEST, text))
}

/// Who sent it, and what they may do: by their secret where they show one, else by where they are.
fn caller(headers: &HeaderMap, access: &Access, peer: SocketAddr) -> Result<Caller, Box<Answer>> {
    let shown = bearer(headers).map(|secret| access.of_secret(secret));
    let caller = |rights, token| Caller {
        rights,
        typist: Typist {
            address: peer.to_string(),
            token,
        },
    };
    match (access.of_peer(peer.ip()), shown) {
        (_, Some(None)) => Err(unauthorised("wrong secret")),
        (by_place, Some(Some(granted))) => Ok(caller(
            by_place.map_or(granted.rights, |rights| rights.max(granted.rights)),
            Some(granted.token),
        )),
        (Some(rights), None) => Ok(caller(rights, None)),
        (None, None) if access.has_tokens() => Err(unauthorised("a secret is needed")),
        (None, None) => Err(refuse(
            StatusCode::FORBIDDEN,
            "only this machine may manage this node: it was given no management token file",
        )),
    }
}

fn unauthorised(text: &str) -> Box<Answer> {
    let mut refusal = refuse(StatusCode::UNAUTHORIZED, text);
    let scheme = http::HeaderValue::from_static("Bearer");
    refusal
        .headers_mut()
        .insert(http::header::WWW_AUTHENTICATE, scheme);
    refusal
}

/// The secret of an `Authorization: Bearer SECRET` field; empty where the field is another.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().unwrap_or_default();
    let secret = match value.split_once(' ') {
        Some((scheme, secret)) if scheme.eq_ignore_ascii_case("bearer") => secret.trim(),
        _ => "",
    };
    Some(secret)
}

fn probe_answer(probe: Probe, context: &Context) -> Answer {
    let verdict = |good: bool, yes: &str, no: &str| {
        let (status, text) = if good {
            (StatusCode::OK, yes)
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, no)
        };
        plain(status, text)
    };
    match probe {
        Probe::Health => plain(StatusCode::OK, "ok"),
        Probe::Readiness => {
            let reason = context.readiness.not_ready().map(|reason| reason.to_string());
            verdict(
                reason.is_none(),
                "ready",
                &format!("not ready: {}", reason.as_deref().unwrap_or_default()),
            )
        }
        Probe::Leadership => {
            let status = context.cluster.status();
            verdict(status.leader == Some(status.node_id), "leader", "not the leader")
        }
    }
}

fn page_answer(which: Page, request: &Request<Incoming>, context: &Context) -> Answer {
    match which {
        Page::Index => dashboard::page(context),
        Page::Status => json(StatusCode::OK, fleet_status(context).json()),
        Page::Metrics => {
            let accept = request
                .headers()
                .get(ACCEPT)
                .and_then(|accept| accept.to_str().ok());
            let format = Format::accepted(accept.unwrap_or_default());
            answer::text(format.content_type(), metrics::write(context, format))
        }
    }
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
