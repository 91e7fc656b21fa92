//! Answers, each with the fields that keep a browser from doing anything clever with them.

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;

use super::Answer;

const PLAIN: &str = "text/plain; charset=utf-8";

fn respond(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'"),
    );
    response
}

/// A line of text.
pub(super) fn plain(status: StatusCode, text: &str) -> Answer {
    respond(status, PLAIN, format!("{text}\n"))
}

/// The same, as a reason not to go on.
pub(super) fn refuse(status: StatusCode, text: &str) -> Box<Answer> {
    Box::new(plain(status, text))
}

/// Text of a type of its own.
pub(super) fn text(content_type: &'static str, text: String) -> Answer {
    respond(StatusCode::OK, content_type, text)
}

/// A JSON document.
pub(super) fn json(status: StatusCode, document: String) -> Answer {
    respond(status, "application/json", document + "\n")
}

/// Bytes to be saved under a name, which needs no quotes.
pub(super) fn file(name: &str, bytes: Bytes) -> Answer {
    let mut response = respond(StatusCode::OK, "application/octet-stream", bytes);
    if let Ok(value) = HeaderValue::try_from(format!("attachment; filename={name}")) {
        response.headers_mut().insert(CONTENT_DISPOSITION, value);
    }
    response
}

/// A page for people.
pub(super) fn html(page: String) -> Answer {
    respond(StatusCode::OK, "text/html; charset=utf-8", page)
}
