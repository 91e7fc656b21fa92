//! `/api/v1/events`: server-sent events, for as long as the reader stays.

use std::convert::Infallible;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use http::{HeaderMap, Method, Response};
use http_body_util::{Either, Full, StreamBody};
use hyper::body::Frame;

use super::super::Context;
use super::answer;

/// What is sent as it happens.
type Stream = StreamBody<BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

/// What an answer consists of.
pub(super) type Body = Either<Full<Bytes>, Stream>;

/// The events from now on, or from behind the one that the reader had last. Once the head of the answer is there,
/// nothing is missed.
pub(super) async fn stream(method: &Method, headers: &HeaderMap, context: &Context) -> Response<Body> {
    let head = answer::text("text/event-stream", String::new());
    if method == Method::HEAD {
        return head.map(Either::Left);
    }
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let reader = context.events.reader(last).await;
    let pieces = stream::unfold(reader, async |mut reader| {
        let piece = reader.next().await;
        Some((Ok(Frame::data(Bytes::from(piece))), reader))
    });
    // The first bytes tell clients that wait for them that it works.
    let hello = stream::iter([Ok(Frame::data(Bytes::from_static(b": events\n\n")))]);
    let body = StreamBody::new(hello.chain(pieces).boxed());
    head.map(|_| Either::Right(body))
}
