//! `POST /api/v1/command`: lines in, one JSON result a line out.

use std::sync::Arc;

use http::header::{CONTENT_TYPE, HOST, HeaderName, ORIGIN};
use http::{HeaderMap, Request, StatusCode};
use hyper::body::Incoming;
use serde::Serialize;

use super::super::Context;
use super::super::access::Access;
use super::super::render::Reply;
use super::super::session::Session;
use super::answer::{json, refuse};
use super::body::body;
use super::{Answer, Caller, bearer};

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
            Reply::Said(line) => (Some(vec![line]), None),
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
    caller: Caller,
) -> Answer {
    let body = match body(request).await {
        Ok(body) => body,
        Err(refusal) => return *refusal,
    };
    let mut session = Session::new(access, caller.typist, Some(caller.rights));
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
