//! `NotModified`: for some hosts, what a client has is good enough (Perlbal, reference section 8.2).

use std::sync::Arc;

use regex::bytes::Regex;

use super::super::answer::Answer;
use super::super::context::RequestContext;
use super::super::hook::{Hook, Outcome, Point, Points};
use super::{Setup, options};

#[derive(Debug)]
struct NotModified {
    host: Option<Regex>,
}

pub(super) fn make(setup: &Setup<'_>) -> Arc<dyn Hook> {
    Arc::new(NotModified {
        host: options::pattern(setup.service, "notmodified.host_pattern"),
    })
}

impl Hook for NotModified {
    fn points(&self) -> Points {
        if self.host.is_none() {
            return Points::default();
        }
        Points::of(&[Point::StartHttpRequest])
    }

    fn run(&self, _: Point, request: &mut RequestContext) -> Outcome {
        let head = request.head();
        let host = self.host.as_ref().zip(head.field("Host"));
        let fits = host.is_some_and(|(pattern, host)| pattern.is_match(host));
        if fits && head.field("If-Modified-Since").is_some() {
            return Outcome::Answer(Box::new(Answer::new(304)));
        }
        Outcome::Next
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{asked, made};
    use super::*;

    #[test]
    fn any_condition_holds_for_the_hosts() {
        let lines = [
            "LOAD NotModified",
            "SET px.plugins = notmodified",
            "SET px.notmodified.host_pattern = ^img",
        ];
        let hook = made(make, &lines);
        for (head, known) in [
            ("Host: img.com\r\nIf-Modified-Since: whenever", true),
            ("Host: img.com\r\nIf-None-Match: x", false),
            ("Host: www.com\r\nIf-Modified-Since: x", false),
        ] {
            let mut request = asked(&format!("GET / HTTP/1.1\r\n{head}\r\n\r\n"), "::1");
            let outcome = hook.run(Point::StartHttpRequest, &mut request);
            let expected = if known {
                Outcome::Answer(Box::new(Answer::new(304)))
            } else {
                Outcome::Next
            };
            assert_eq!(outcome, expected, "{head}");
        }
    }
}
