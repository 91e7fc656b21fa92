//! Answers a request with what its backend named (X-REPROXY-…) or the cache knows, instead of what the backend sent.
//!
//! The backend's connection is given back meanwhile, if what it sent ends soon. What is sent to the client is the
//! business of [`crate::reproxy`]; here is whose connection that is, and what becomes of it.

use std::borrow::Cow;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use fleetbal_raft::model::{Role, ServiceName};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::super::attempts::{InFlight, answer, run, say};
use super::super::dispatch::{self, Found, Turn};
use super::super::original::{self, Original};
use super::super::queue::Class;
use super::super::request::Request;
use super::Relay;
use crate::http::{Body, Framing, ProxyError, ResponseHead, request, response};
use crate::monitor::sockets::ClientState;
use crate::plugin::{self, Answer, RequestContext};
use crate::reproxy::{self, Cache, Exchange, Outcome};
use crate::role::client::{Begun, Client};
use crate::role::connection::Next;
use crate::role::held::Held;
use crate::role::hooked::Hooked;
use crate::role::local::{Current, Local, Served};
use crate::role::selector::{self, CIRCLE, HOPS};
use crate::role::web_server::{self, WebRequest};
use crate::upstream::Lease;

/// How much is read of a body that nobody gets, so that its connection can be kept.
const DRAINED: usize = 64 * 1024;

/// How long that may take: a backend that sends it at all sends it with its head or at once.
const DRAIN_WITHIN: Duration = Duration::from_millis(100);

const UNKNOWN_SERVICE: ProxyError =
    ProxyError::NotFound("Vhost twiddling not configured for requested pair.");
const WITH_BODY: ProxyError =
    ProxyError::Internal("A request with a body cannot be handed over to another service.");
const NO_ORIGINAL: ProxyError = ProxyError::Internal("The request is not known any more.");

/// The head of a backend that asks for something else to be sent.
pub(in crate::role::reverse_proxy) struct Redirected {
    head: ResponseHead,
    /// The head as it was written for the client.
    first: Vec<u8>,
    /// What came behind it.
    after: Vec<u8>,
}

impl Redirected {
    pub(super) fn new(head: ResponseHead, first: &[u8], after: &[u8]) -> Self {
        Self {
            head,
            first: first.to_vec(),
            after: after.to_vec(),
        }
    }
}

/// Answers a request that the cache knows.
pub(in crate::role) async fn answer_known(client: &mut Client, request: Box<Request>) -> Next {
    let in_flight = InFlight::new(client);
    let known = request
        .original
        .as_deref()
        .and_then(|original| Some((original, original.known.clone()?)));
    let Some((original, entry)) = known else {
        return answer(client, &request, NO_ORIGINAL).await;
    };
    let place = Place::new(client, &request);
    let exchange = place.exchange(client, &request, original);
    let outcome = reproxy::answer_cached(exchange, &entry).await;
    let next = conclude(client, &request, outcome).await;
    drop(in_flight);
    next
}

impl Relay<'_> {
    /// Answers with what the backend asks for.
    pub(super) async fn redirect(mut self, said: Redirected) -> Next {
        if !self.interim_is_sent().await {
            return Next::Close;
        }
        let Self {
            client,
            request,
            mut lease,
            upload_broken,
            ..
        } = self;
        let epoch = client.local().deadlines.epoch();
        lease.backend().count_answer(said.head.status, epoch);
        client.record.enter(ClientState::XferResp);
        lease.end();
        let has_more = request.upload_plan.as_ref().is_some_and(|plan| plan.has_more());
        let is_sent =
            request.upload.is_done() && request.to_backend.is_empty() && !has_more && !upload_broken;
        let may_keep = is_sent && request.current.view.settings.persist_backend && said.head.backend_persists;
        let returned = Returned {
            local: Rc::clone(&client.counted.local),
            served: Rc::clone(&client.serving),
            current: Rc::clone(&request.current),
            lease: may_keep.then_some(lease),
        };
        let Some(original) = request.original.as_deref() else {
            return answer(client, &request, NO_ORIGINAL).await;
        };
        if let Some(name) = service_asked(&said.first) {
            returned.give_back(&said).await;
            return hand_over(client, request, &name).await;
        }
        let place = Place::new(client, &request);
        let exchange = place.exchange(client, &request, original);
        let answering = reproxy::answer(exchange, &said.first);
        let ((), outcome) = tokio::join!(returned.give_back(&said), answering);
        conclude(client, &request, outcome).await
    }

    /// Sends what is left of an interim answer; whether the client took it.
    async fn interim_is_sent(&mut self) -> bool {
        poll_fn(|cx| {
            if self.client.timed_out() {
                return Poll::Ready(false);
            }
            self.poll_to_client(cx)
        })
        .await
    }
}

/// The connection to the backend that answered, and whose it is.
struct Returned {
    local: Rc<Local>,
    served: Rc<Served>,
    current: Rc<Current>,
    /// None: it must not be kept.
    lease: Option<Lease>,
}

impl Returned {
    /// Keeps the connection for another request, once the body that nobody gets was read; else it is closed.
    async fn give_back(self, said: &Redirected) {
        let Some(mut lease) = self.lease else { return };
        if is_drained(&mut lease, said).await {
            self.served
                .keep(&self.local, &self.current, lease, said.head.backend_timeout);
        }
    }
}

/// Reads the rest of a short body; whether it ended in time, and nothing came behind it.
async fn is_drained(lease: &mut Lease, said: &Redirected) -> bool {
    let mut body = Body::new(said.head.framing);
    let is_whole = body
        .take(&said.after)
        .is_ok_and(|taken| taken == said.after.len());
    if !is_whole || body.is_done() {
        return is_whole;
    }
    let may_end = match said.head.framing {
        Framing::UntilClose => false,
        Framing::Length(length) => length <= DRAINED as u64,
        Framing::Empty | Framing::Chunked => true,
    };
    may_end
        && timeout(DRAIN_WITHIN, drain(lease, &mut body))
            .await
            .unwrap_or(false)
}

async fn drain(lease: &mut Lease, body: &mut Body) -> bool {
    let mut buffer = vec![0; 4096];
    let mut read = 0;
    while !body.is_done() {
        let Ok(length @ 1..) = lease.io.read(&mut buffer).await else {
            return false;
        };
        read += length;
        let bytes = buffer.get(..length).unwrap_or_default();
        if read > DRAINED || !body.take(bytes).is_ok_and(|taken| taken == length) {
            return false;
        }
    }
    true
}

/// Where an answer of this node's own comes from.
struct Place {
    local: Rc<Local>,
    config: Arc<fleetbal_raft::model::FleetConfig>,
    cache: Arc<Cache>,
    keeps: bool,
}

impl Place {
    fn new(client: &Client, request: &Request) -> Self {
        let local = Rc::clone(&client.counted.local);
        Self {
            config: local.config(),
            cache: local.reproxy.cache(&request.current.view.name),
            keeps: request.keeps_client() && !local.is_draining(),
            local,
        }
    }

    fn exchange<'a>(
        &'a self,
        client: &'a mut Client,
        request: &'a Request,
        original: &'a Original,
    ) -> Exchange<'a> {
        // From here on each step has a limit of its own.
        client.arm(None);
        let settings = &request.current.view.settings;
        let lines = &request.owner().view.settings.keep_alive_lines;
        Exchange {
            client: &mut client.io,
            request: request.head,
            head: original.forwarded(),
            keep_alive: self.keeps.then_some(&lines[..]),
            idle_timeout: settings.idle_timeout,
            settings: &settings.reproxy,
            limits: self.config.reproxy_limits(),
            targets: &self.local.reproxy.targets,
            cache: &self.cache,
            plugins: client.hooked.as_mut().and_then(|hooked| hooked.asked()),
        }
    }
}

/// What becomes of the client's connection.
async fn conclude(client: &mut Client, request: &Request, outcome: Outcome) -> Next {
    match outcome {
        Outcome::Sent {
            status,
            length,
            keeps,
        } => {
            client.answered(status, Some(length));
            client.is_answered();
            if keeps {
                Next::Keep
            } else if request.upload.is_done() && client.input.is_empty() {
                Next::Close
            } else {
                Next::Linger
            }
        }
        Outcome::Cut { shows: true } | Outcome::Closed => Next::Close,
        Outcome::Cut { shows: false } => Next::Abort,
        Outcome::Failed(error) => answer(client, request, error).await,
        Outcome::Said(answer) => say(client, request, &answer).await,
    }
}

/// The service that is to answer, where neither a file nor a URL is named.
fn service_asked(first: &[u8]) -> Option<Vec<u8>> {
    let asked = response::reproxy_fields(first)?;
    let has_first = asked.file.is_some() || asked.url.is_some();
    asked.service.filter(|_| !has_first).map(<[u8]>::to_vec)
}

/// Has another service of this node answer the request as the client sent it.
async fn hand_over(client: &mut Client, request: Box<Request>, name: &[u8]) -> Next {
    let prepared = match named(name) {
        Ok(name) => Box::pin(prepare(client, &request, name)).await,
        Err(error) => Err(Refused::Error(error)),
    };
    let (served, prepared) = match prepared {
        Ok(prepared) => prepared,
        Err(Refused::Error(error)) => return answer(client, &request, error).await,
        Err(Refused::Said(said)) => return say(client, &request, &said).await,
        Err(Refused::Closed) => return Next::Close,
    };
    served.shard().request_started();
    let outer = std::mem::replace(&mut client.serving, served);
    let next = match prepared {
        Prepared::Proxied(request) if request.is_known() => answer_known(client, request).await,
        Prepared::Proxied(request) => Box::pin(run(client, request)).await,
        Prepared::Web(request) => Box::pin(web_server::run(client, request)).await,
    };
    client.serving = outer;
    next
}

/// A request as the other service's role has it.
enum Prepared {
    Proxied(Box<Request>),
    Web(WebRequest),
}

/// Why no other service answers.
enum Refused {
    Error(ProxyError),
    /// A plugin answers.
    Said(Box<Answer>),
    /// A plugin has the connection closed.
    Closed,
}

impl From<ProxyError> for Refused {
    fn from(error: ProxyError) -> Self {
        Self::Error(error)
    }
}

fn named(name: &[u8]) -> Result<ServiceName, ProxyError> {
    let name = std::str::from_utf8(name).map_err(|_| UNKNOWN_SERVICE)?;
    ServiceName::parse(name).map_err(|_| UNKNOWN_SERVICE)
}

/// The request anew, by the rules and the plugins of the other service.
async fn prepare(
    client: &mut Client,
    request: &Request,
    mut name: ServiceName,
) -> Result<(Rc<Served>, Prepared), Refused> {
    let original = request.original.as_deref().ok_or(NO_ORIGINAL)?;
    if request.head.framing != Framing::Empty {
        return Err(WITH_BODY.into());
    }
    for hops in original.hops..HOPS {
        let (served, current) = client.local().find(&name).ok_or(UNKNOWN_SERVICE)?;
        let (served, current) = selector::settle(client.local(), served, current, original.forwarded())?;
        client.log_for(&served, &current.view, original.sent());
        match begin_hooked(client, &current, original.sent()).await? {
            Begins::As(sent) => {
                let prepared = begin(client, request, (&served, current), (&sent, hops + 1))?;
                return Ok((served, prepared));
            }
            Begins::Elsewhere(other) => name = other,
        }
    }
    Err(CIRCLE.into())
}

/// How a service begins with a request that was handed over to it.
enum Begins<'a> {
    /// With this head.
    As(Cow<'a, [u8]>),
    /// One of its plugins chooses another service.
    Elsewhere(ServiceName),
}

/// Has the plugins of a service see the head of a request that was handed over to it; those that saw it before are done
/// with it.
async fn begin_hooked<'a>(
    client: &mut Client,
    current: &Rc<Current>,
    sent: &'a [u8],
) -> Result<Begins<'a>, Refused> {
    if let Some(before) = &mut client.hooked {
        before.retire();
    }
    let Some(hooks) = current.view.hooks.as_ref().filter(|hooks| hooks.are_asked()) else {
        return Ok(Begins::As(sent.into()));
    };
    let rules = client.forwarding(&current.view.settings);
    let said = request::read(sent, rules, &mut Vec::new())?;
    let context = RequestContext::new(client.facts(current, sent), sent, said);
    let outer = client.hooked.take();
    let hooked = client
        .hooked
        .insert(Hooked::new(Arc::clone(hooks), context, outer));
    match hooked.ask(hooks.start()).await {
        plugin::Outcome::Next
        | plugin::Outcome::Wait(_)
        | plugin::Outcome::Fetch(_)
        | plugin::Outcome::Collect(_)
        | plugin::Outcome::Stream(_) => {
            let head = Some(hooked.context.head_bytes()).filter(|_| hooked.context.is_edited());
            Ok(Begins::As(
                head.map_or(Cow::Borrowed(sent), |head| head.to_vec().into()),
            ))
        }
        plugin::Outcome::Answer(answer) => Err(Refused::Said(answer)),
        plugin::Outcome::Close => Err(Refused::Closed),
        plugin::Outcome::Service(name) => Ok(Begins::Elsewhere(name)),
    }
}

/// The request with this head as the other service has it, and through how many services it has come then.
fn begin(
    client: &mut Client,
    request: &Request,
    (served, current): (&Rc<Served>, Rc<Current>),
    (sent, hops): (&[u8], u8),
) -> Result<Prepared, ProxyError> {
    let mut output = Vec::new();
    let rules = client.forwarding(&current.view.settings);
    let head = request::read(sent, rules, &mut output)?.ok_or(NO_ORIGINAL)?;
    let begun = Begun {
        current,
        outer: Some(Rc::clone(request.owner())),
        input: sent,
        head,
        output: &output,
    };
    if begun.current.view.role == Some(Role::WebServer) {
        return Ok(Prepared::Web(WebRequest::unanswered(begun)));
    }
    let mut kept = original::keep(client.local(), &begun);
    if let Some(kept) = &mut kept {
        kept.hops = hops;
    }
    let Begun { current, outer, .. } = begun;
    let turn = Turn::next(&current, head.hash);
    let is_known = kept.as_ref().is_some_and(|kept| kept.known.is_some());
    let found = if is_known {
        Found::Nothing(None)
    } else {
        dispatch::reuse(client.local(), served, &current, turn)
    };
    let (lease, picked) = found.parts();
    client.record.keep_head(&output);
    Ok(Prepared::Proxied(Box::new(Request {
        outer,
        current,
        class: Class::of(&head),
        head,
        upload: Body::new(head.framing),
        to_backend: Held::new(output),
        lease,
        touched: false,
        turn,
        picked,
        upload_plan: None,
        original: kept,
    })))
}
