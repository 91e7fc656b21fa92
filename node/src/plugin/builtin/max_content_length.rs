//! `MaxContentLength`: requests that announce too long a body are refused (Perlbal, reference section 8.2).

use std::sync::Arc;

use super::super::answer::Answer;
use super::super::context::RequestContext;
use super::super::hook::{Hook, Outcome, Point, Points};
use super::Setup;
use crate::http::Framing;

#[derive(Debug)]
struct MaxContentLength {
    /// In bytes; 0 is without limit.
    most: u64,
}

pub(super) fn make(setup: &Setup<'_>) -> Arc<dyn Hook> {
    Arc::new(MaxContentLength {
        most: setup.service.number("max_content_length"),
    })
}

impl Hook for MaxContentLength {
    fn points(&self) -> Points {
        if self.most == 0 {
            return Points::default();
        }
        Points::of(&[Point::StartHttpRequest])
    }

    fn run(&self, _: Point, request: &mut RequestContext) -> Outcome {
        match request.said().map(|said| said.framing) {
            Some(Framing::Length(length)) if length > self.most => {
                let page = Answer::page(413, "").with_body("<h1>413</h1>\nContent too long.\n");
                Outcome::Answer(Box::new(page))
            }
            Some(_) | None => Outcome::Next,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{asked, made};
    use super::*;

    #[test]
    fn what_is_too_long_is_refused() {
        let lines = [
            "LOAD MaxContentLength",
            "SET px.max_content_length = 5",
            "SET px.plugins = maxcontentlength",
        ];
        let hook = made(make, &lines);
        for (field, refused) in [
            ("Content-Length: 5", false),
            ("Content-Length: 6", true),
            ("Transfer-Encoding: chunked", false),
            ("A: b", false),
        ] {
            let mut request = asked(&format!("POST / HTTP/1.1\r\nHost: h\r\n{field}\r\n\r\n"), "::1");
            let outcome = hook.run(Point::StartHttpRequest, &mut request);
            assert_eq!(outcome != Outcome::Next, refused, "{field}");
            if let Outcome::Answer(answer) = outcome {
                assert_eq!((answer.status, answer.body.len()), (413, 31));
            }
        }
        let none = made(
            make,
            &["LOAD MaxContentLength", "SET px.plugins = maxcontentlength"],
        );
        assert_eq!(none.points(), Points::default(), "no limit costs nothing");
    }
}
