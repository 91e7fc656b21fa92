//! `AtomStream`: a GET of `…/atom-stream.xml` is a stream of what [`super::atom_inject`] puts in below the same directory,
//! for as long as the client likes (Perlbal, reference section 8.2).

use std::sync::Arc;

use super::super::context::RequestContext;
use super::super::feed::{Feed, Subscription};
use super::super::hook::{Hook, Outcome, Point, Points};
use super::Setup;

#[derive(Debug)]
struct AtomStream(Arc<Feed>);

pub(super) fn make(setup: &Setup<'_>) -> Arc<dyn Hook> {
    Arc::new(AtomStream(Arc::clone(setup.feed)))
}

/// What paths have to begin with, and since when they are wanted: of a target that is a stream's.
fn wanted(target: &[u8]) -> Option<(&[u8], u64)> {
    let mut parts = target.splitn(2, |byte| *byte == b'?');
    let prefix = parts.next()?.strip_suffix(b"atom-stream.xml")?;
    let mut pairs = parts.next().unwrap_or_default().split(|byte| *byte == b'&');
    let since = pairs.find_map(|pair| pair.strip_prefix(b"since="));
    let since = since.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    prefix
        .ends_with(b"/")
        .then_some((prefix, since.unwrap_or_default()))
}

impl Hook for AtomStream {
    fn points(&self) -> Points {
        Points::of(&[Point::StartHttpRequest])
    }

    fn run(&self, _: Point, request: &mut RequestContext) -> Outcome {
        let head = request.head();
        match wanted(head.target()) {
            Some((prefix, since)) if head.method() == b"GET" => {
                Outcome::Stream(Box::new(Subscription::new(&self.0, prefix, since)))
            }
            Some(_) | None => Outcome::Next,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{asked, made_with};
    use super::*;

    #[test]
    fn streams_are_told_by_their_last_segment() {
        let feed = Arc::default();
        let lines = ["LOAD AtomStream", "SET px.plugins = atomstream"];
        let hook = made_with(make, &lines, None, &feed);
        let outcome = |line: &str| {
            let mut request = asked(&format!("{line} HTTP/1.1\r\nHost: h\r\n\r\n"), "::1");
            hook.run(Point::StartHttpRequest, &mut request)
        };
        let stream = |prefix: &str, since| {
            Outcome::Stream(Box::new(Subscription::new(&feed, prefix.as_bytes(), since)))
        };
        assert_eq!(outcome("GET /atom-stream.xml"), stream("/", 0));
        assert_eq!(
            outcome("GET /a/b/atom-stream.xml?x=1&since=12"),
            stream("/a/b/", 12)
        );
        assert_eq!(outcome("GET /atom-stream.xml?since=now"), stream("/", 0));
        for other in [
            "HEAD /atom-stream.xml",
            "PUT /atom-stream.xml",
            "GET /an-atom-stream.xml",
            "GET /atom-stream.xml/",
            "GET /?/atom-stream.xml",
        ] {
            assert_eq!(outcome(other), Outcome::Next, "{other}");
        }
    }
}
