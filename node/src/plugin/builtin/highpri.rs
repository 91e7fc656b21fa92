//! `Highpri`: requests of high priority, by path and by host (Perlbal, reference section 8.2).

use std::sync::Arc;

use regex::bytes::Regex;

use super::super::context::{Priority, RequestContext};
use super::super::hook::{Hook, Outcome, Point, Points};
use super::{Registered, Setup, options};

#[derive(Debug)]
struct Highpri {
    uri: Option<Regex>,
    host: Option<Regex>,
}

pub(super) fn make(setup: &Setup<'_>) -> Arc<dyn Hook> {
    Arc::new(Highpri {
        uri: options::pattern(setup.service, "highpri.uri_pattern"),
        host: options::pattern(setup.service, "highpri.host_pattern"),
    })
}

impl Hook for Highpri {
    fn points(&self) -> Points {
        // As soon as that is known: whoever is of no high priority does not have to wait for it.
        Points::of(&[Point::StartProxyRequest])
    }

    fn run(&self, _: Point, request: &mut RequestContext) -> Outcome {
        let head = request.head();
        let fits = |pattern: &Option<Regex>, text: Option<&[u8]>| {
            let both = pattern.as_ref().zip(text);
            both.is_some_and(|(pattern, text)| pattern.is_match(text))
        };
        if fits(&self.uri, Some(head.target())) || fits(&self.host, head.field("Host")) {
            request.set_priority(Priority::High);
        }
        Outcome::Next
    }
}

/// `patterns`.
pub(super) fn patterns(services: &[Registered<'_>]) -> Vec<String> {
    let mut lines = vec!["High priority pattern buffer:".to_owned()];
    for registered in services {
        let hook: &dyn std::any::Any = registered.hook;
        let Some(highpri) = hook.downcast_ref::<Highpri>() else {
            continue;
        };
        for (key, pattern) in [("uri_pattern", &highpri.uri), ("host_pattern", &highpri.host)] {
            let text = pattern.as_ref().map_or("undef", Regex::as_str);
            lines.push(format!("SET {}.highpri.{key} = {text}", registered.service));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::tests::{asked, made};
    use super::*;

    fn priority(lines: &[&str], target: &str, host: &str) -> Option<Priority> {
        let lines = [&["LOAD Highpri", "SET px.plugins = highpri"], lines].concat();
        let hook = made(make, &lines);
        let mut request = asked(
            &format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            "10.0.0.1",
        );
        assert_eq!(hook.run(Point::StartProxyRequest, &mut request), Outcome::Next);
        request.priority()
    }

    #[test]
    fn by_path_and_by_host() {
        let high = Some(Priority::High);
        assert_eq!(priority(&[], "/interface/flat", "h"), high);
        assert_eq!(priority(&[], "/login.bml", "h"), high);
        assert_eq!(priority(&[], "/login.bml?x", "h"), None);
        let none = ["SET px.highpri.uri_pattern = undef"];
        assert_eq!(priority(&none, "/login.bml", "h"), None);
        let both = [
            "SET px.highpri.uri_pattern = ^/fast",
            "SET px.highpri.host_pattern = ^vip",
        ];
        assert_eq!(priority(&both, "/fast/x", "h"), high);
        assert_eq!(priority(&both, "/slow", "vip.com:80"), high);
        assert_eq!(priority(&both, "/slow", "h"), None);
    }

    #[test]
    fn patterns_are_told() {
        let lines = [
            "LOAD Highpri",
            "SET px.plugins = highpri",
            "SET px.highpri.uri_pattern = ^/fast",
        ];
        let hook = made(make, &lines);
        let service = fleetbal_raft::model::ServiceName::parse("px").unwrap();
        let registered = Registered {
            service: &service,
            hook: &*hook,
        };
        assert_eq!(
            patterns(&[registered]),
            [
                "High priority pattern buffer:",
                "SET px.highpri.uri_pattern = ^/fast",
                "SET px.highpri.host_pattern = undef"
            ]
        );
    }
}
