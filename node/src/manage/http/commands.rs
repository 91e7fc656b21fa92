//! `POST /api/v1/command`: lines in, one JSON result a line out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, EXPECT, HOST, HeaderName, ORIGIN};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use serde::Serialize;

use super::super::Context;
use super::super::access::{Access, Rights};
use super::super::render::Reply;
use super::super::session::Session;
use super::answer::{json, refuse};
use super::{Answer, bearer};

/// The most that one call may bring.
const BODY: usize = 16 * 1024 * 1024;

/// How long it may take to bring it.
const BODY_TIME: Duration = Duration::from_mins(1);

/// Told by browsers alone; no page can set it.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Types that a page of any origin can send without asking first.
const FORM_TYPES: [&str; 3] = [
    "application/x-www-form-urlencoded",
    "multipart/form-data",
    "text/plain",
];

#[derive(Debug, Serialize)]
struct Results {
    ok: bool,
    results: Vec<LineResult>,
}

/// What one line was answered. `line` counts from 1; blank lines have no result.
#[derive(Debug, Serialize)]
struct LineResult {
    line: usize,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl LineResult {
    fn of(line: usize, reply: Reply) -> Option<Self> {
        let (output, error) = match reply {
            Reply::Silent => return None,
            Reply::Done => (None, None),
            Reply::Lines(lines) | Reply::Dump(lines) => (Some(lines), None),
            Reply::Refused(text) => (None, Some(text)),
        };
        Some(Self {
            line,
            ok: error.is_none(),
            output,
            error,
        })
    }
}

/// Refuses a call that a page of another origin could have made a browser send.
pub(super) fn check_origin(request: &Request<Incoming>, access: &Access) -> Result<(), Box<Answer>> {
    let headers = request.headers();
    let with_secret = bearer(headers).is_some_and(|secret| access.of_secret(secret).is_some());
    if with_secret || from_here(headers) {
        return Ok(());
    }
    let text = "show a secret, or send the lines with `Content-Type: application/json` and no foreign Origin";
    Err(refuse(StatusCode::FORBIDDEN, text))
}

/// From this very origin, or from no page at all: no browser sends these types across origins unasked.
fn from_here(headers: &HeaderMap) -> bool {
    let field = |name: &HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    if let Some(origin) = field(&ORIGIN) {
        let own = |scheme: &str| {
            origin
                .strip_prefix(scheme)
                .is_some_and(|name| Some(name) == field(&HOST))
        };
        return own("http://") || own("https://");
    }
    match field(&FETCH_SITE) {
        Some("same-origin" | "none") => return true,
        Some(_) => return false,
        None => {}
    }
    let content_type = field(&CONTENT_TYPE).unwrap_or_default();
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    !kind.is_empty() && !FORM_TYPES.iter().any(|form| kind.eq_ignore_ascii_case(form))
}

/// Runs each line of the body in one session.
pub(super) async fn answer(
    request: Request<Incoming>,
    context: &Context,
    access: Arc<Access>,
    peer: SocketAddr,
    rights: Rights,
) -> Answer {
    let body = match body(request).await {
        Ok(body) => body,
        Err(refusal) => return *refusal,
    };
    let mut session = Session::new(access, peer.to_string(), Some(rights));
    let mut results = Vec::new();
    for (index, line) in body.split(|byte| *byte == b'\n').enumerate() {
        let outcome = session.run(line, context).await;
        results.extend(LineResult::of(index + 1, outcome.reply));
        if outcome.ends {
            break;
        }
    }
    let results = Results {
        ok: results.iter().all(|result| result.ok),
        results,
    };
    // Text and numbers only: there is nothing that could fail.
    json(
        StatusCode::OK,
        serde_json::to_string(&results).unwrap_or_default(),
    )
}

async fn body(request: Request<Incoming>) -> Result<Bytes, Box<Answer>> {
    let waits = request.headers().contains_key(EXPECT);
    match tokio::time::timeout(BODY_TIME, collect(request.into_body(), waits)).await {
        Ok(Ok(Some(body))) => Ok(body),
        Ok(Ok(None)) => Err(refuse(
            StatusCode::PAYLOAD_TOO_LARGE,
            "a body may have 16 MiB at most",
        )),
        Ok(Err(_)) => Err(refuse(StatusCode::BAD_REQUEST, "the body did not come in full")),
        Err(_) => Err(refuse(
            StatusCode::REQUEST_TIMEOUT,
            "the body did not come in time",
        )),
    }
}

/// All of a body; none where it is too large. Then as much again is read and thrown away, because a sender that is
/// cut off while it sends would not see the answer; one that waits to be asked for the body sees it anyway.
async fn collect(mut body: Incoming, waits: bool) -> Result<Option<Bytes>, hyper::Error> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > BODY && waits {
        return Ok(None);
    }
    let mut collected = BytesMut::new();
    let mut seen = 0_usize;
    while let Some(frame) = body.frame().await.transpose()? {
        let Ok(data) = frame.into_data() else { continue };
        seen = seen.saturating_add(data.len());
        if seen <= BODY {
            collected.extend_from_slice(&data);
        } else if seen > 2 * BODY {
            break;
        }
    }
    Ok((seen <= BODY).then(|| collected.freeze()))
}
