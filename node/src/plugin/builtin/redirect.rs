//! `Redirect`: hosts that are elsewhere (Perlbal, reference section 8.2).

use std::sync::Arc;

use fleetbal_raft::model::{Directive, PluginSpec};

use super::super::answer::Answer;
use super::super::context::RequestContext;
use super::super::hook::{Hook, Outcome, Point, Points};
use super::super::hosts::{self, Hosts};
use super::Setup;

#[derive(Debug)]
struct Redirect {
    hosts: Hosts<String>,
    is_empty: bool,
}

pub(super) fn make(setup: &Setup<'_>) -> Arc<dyn Hook> {
    let mut redirect = Redirect {
        hosts: Hosts::default(),
        is_empty: true,
    };
    for directive in setup.spec.into_iter().flat_map(PluginSpec::directives) {
        if let Directive::Redirect { host, target } = directive {
            redirect.hosts.insert(host, target.clone());
            redirect.is_empty = false;
        }
    }
    Arc::new(redirect)
}

impl Hook for Redirect {
    fn points(&self) -> Points {
        if self.is_empty {
            return Points::default();
        }
        Points::of(&[Point::StartHttpRequest])
    }

    fn run(&self, _: Point, request: &mut RequestContext) -> Outcome {
        let head = request.head();
        let host = hosts::name(head.field("Host").unwrap_or_default());
        let Some(target) = self.hosts.find(&host) else {
            return Outcome::Next;
        };
        let location = [b"http://", target.as_bytes(), head.target()].concat();
        // A target that is none of a field's value goes nowhere.
        match Answer::new(301).with_field("Location", &location) {
            Ok(answer) => Outcome::Answer(Box::new(answer)),
            Err(_) => Outcome::Next,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{asked, made};
    use super::*;

    #[test]
    fn hosts_are_looked_up_as_perlbal_does() {
        let lines = [
            "LOAD Redirect",
            "SET px.plugins = redirect",
            "REDIRECT HOST A.com B.com",
            "REDIRECT HOST *.x.com y.com",
        ];
        let located = |lines: &[&str], host: &str| {
            let hook = made(make, lines);
            let mut request = asked(&format!("GET /b?q HTTP/1.0\r\n{host}\r\n"), "::1");
            let outcome = hook.run(Point::StartHttpRequest, &mut request);
            let Outcome::Answer(answer) = outcome else {
                return String::new();
            };
            assert_eq!(answer.status, 301);
            format!("{answer:?}")
        };
        let goes = |host: &str, target: &str| {
            let expected = Answer::new(301)
                .with_field("Location", target.as_bytes())
                .unwrap();
            assert_eq!(
                located(&lines, &format!("Host: {host}\r\n")),
                format!("{expected:?}"),
                "{host}"
            );
        };
        goes("a.com", "http://b.com/b?q");
        goes("A.COM:80", "http://b.com/b?q");
        goes("v.w.x.com", "http://y.com/b?q");
        assert_eq!(located(&lines, "Host: w.a.com\r\n"), "");
        assert_eq!(located(&lines, ""), "");
        let any = [&lines[..], &["REDIRECT HOST * star.com"]].concat();
        let star = Answer::new(301)
            .with_field("Location", b"http://star.com/b?q")
            .unwrap();
        assert_eq!(located(&any, ""), format!("{star:?}"), "no Host is for *");
    }
}
