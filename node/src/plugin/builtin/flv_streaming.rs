//! `FlvStreaming`: a video from the middle (Perlbal, reference section 8.2). `/x.flv?start=N` is the bytes from N on, behind
//! the head that every such file has.

use std::sync::Arc;

use super::super::context::RequestContext;
use super::super::hook::{Hook, Outcome, Point, Points};
use super::Setup;
use crate::http::{Head, edit};

/// What a Flash video begins with.
const HEAD: &[u8] = b"FLV\x01\x01\x00\x00\x00\x09\x00\x00\x00\x09";

#[derive(Debug)]
struct FlvStreaming;

pub(super) fn make(_: &Setup<'_>) -> Arc<dyn Hook> {
    Arc::new(FlvStreaming)
}

/// Where a request wants its video to begin; none: it is not for one, or wants all of it.
fn start(target: &[u8]) -> Option<u64> {
    let at = memchr::memchr(b'?', target)?;
    let (path, query) = (target.get(..at)?, target.get(at + 1..)?);
    if !path.ends_with(b".flv") {
        return None;
    }
    let mut pairs = query.split(|byte| *byte == b'&');
    let digits = pairs.find_map(|pair| pair.strip_prefix(b"start="))?;
    let digits = std::str::from_utf8(digits).ok()?;
    digits.parse().ok().filter(|start| *start > 0)
}

impl Hook for FlvStreaming {
    fn points(&self) -> Points {
        Points::of(&[
            Point::StartProxyRequest,
            Point::ModifyResponseHeaders,
            Point::PrependBody,
        ])
    }

    fn run(&self, point: Point, request: &mut RequestContext) -> Outcome {
        let Some(start) = start(request.head().target()) else {
            return Outcome::Next;
        };
        if point == Point::StartProxyRequest {
            let range = format!("bytes={start}-");
            // It is a field like any other.
            request.set_field("Range", range.as_bytes()).unwrap_or_default();
        } else if point == Point::ModifyResponseHeaders && matches!(request.status(), Some(200 | 206)) {
            whole(request);
        } else if point == Point::PrependBody && request.status() == Some(200) {
            request.prepend(HEAD);
        }
        Outcome::Next
    }
}

/// Makes a part look like the whole.
fn whole(request: &mut RequestContext) {
    // Of a part there is a whole.
    request.set_status(200, "OK").unwrap_or_default();
    if let Some(head) = request.response_mut() {
        for name in ["Accept-Ranges", "Content-Range"] {
            edit::remove(head, name).unwrap_or_default();
        }
        if Head::new(head).field("Content-Type").is_some() {
            edit::set(head, "Content-Type", b"video/x-flv").unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{asked, made};
    use super::*;

    #[test]
    fn where_a_video_begins() {
        for (target, from) in [
            ("/a/v.flv?start=100", Some(100)),
            ("/v.flv?a=b&start=5&c", Some(5)),
            ("/v.flv?start=0", None),
            ("/v.flv?start=x", None),
            ("/v.flv?restart=5", None),
            ("/v.flv", None),
            ("/v.mp4?start=5", None),
        ] {
            assert_eq!(start(target.as_bytes()), from, "{target}");
        }
    }

    #[test]
    fn a_part_looks_like_the_whole() {
        let hook = made(make, &["LOAD FlvStreaming", "SET px.plugins = flvstreaming"]);
        let mut request = asked("GET /v.flv?start=7 HTTP/1.1\r\nHost: h\r\n\r\n", "::1");
        hook.run(Point::StartProxyRequest, &mut request);
        assert_eq!(request.head().field("Range"), Some(&b"bytes=7-"[..]));
        let answer =
            b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 7-9/10\r\nAccept-Ranges: bytes\r\n\
            Content-Type: text/plain\r\nContent-Length: 3\r\n\r\n";
        request.put_response(206, answer.to_vec());
        hook.run(Point::ModifyResponseHeaders, &mut request);
        hook.run(Point::PrependBody, &mut request);
        let (status, head, prefix) = request.take_response().unwrap();
        let head = String::from_utf8(head).unwrap();
        assert_eq!((status, prefix.as_slice()), (200, HEAD));
        assert_eq!(
            head,
            "HTTP/1.1 200 OK\r\nContent-Type: video/x-flv\r\nContent-Length: 3\r\n\r\n"
        );
    }
}
