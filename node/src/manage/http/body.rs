//! What a call brings: all of it, within bounds.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::EXPECT;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};

use super::Answer;
use super::answer::refuse;

/// The most that one call may bring.
const BODY: usize = 16 * 1024 * 1024;

/// How long it may take to bring it.
const BODY_TIME: Duration = Duration::from_mins(1);

/// The body of a call, or why there is none.
pub(super) async fn body(request: Request<Incoming>) -> Result<Bytes, Box<Answer>> {
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
