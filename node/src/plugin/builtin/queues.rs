//! `Queues`: backends are told how many requests wait, and for how long the first of them has (Perlbal, reference section
//! 8.2).

use std::sync::Arc;

use super::super::context::RequestContext;
use super::super::hook::{Hook, Outcome, Point, Points};
use super::Setup;

#[derive(Debug)]
struct Queues;

pub(super) fn make(_: &Setup<'_>) -> Arc<dyn Hook> {
    Arc::new(Queues)
}

impl Hook for Queues {
    fn points(&self) -> Points {
        Points::of(&[Point::BackendClientAssigned])
    }

    fn run(&self, _: Point, request: &mut RequestContext) -> Outcome {
        let waiting = request.waiting();
        let fields = [
            ("X-Queue-Count", waiting.normal.0),
            ("X-Queue-Age", waiting.normal.1),
            ("X-HP-Queue-Count", waiting.high.0),
            ("X-HP-Queue-Age", waiting.high.1),
        ];
        for (name, figure) in fields {
            let figure = figure.to_string();
            request.set_field(name, figure.as_bytes()).unwrap_or_default();
        }
        Outcome::Next
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::context::Waiting;
    use super::super::tests::{asked, made};
    use super::*;

    #[test]
    fn backends_are_told_of_both_queues() {
        let hook = made(make, &["LOAD Queues", "SET px.plugins = queues"]);
        let mut request = asked("GET / HTTP/1.1\r\nHost: h\r\nX-Queue-Age: lies\r\n\r\n", "::1");
        request.put_waiting(Waiting {
            normal: (3, 2),
            high: (1, 0),
        });
        assert_eq!(
            hook.run(Point::BackendClientAssigned, &mut request),
            Outcome::Next
        );
        let head = request.head();
        let said = [
            "X-Queue-Count",
            "X-Queue-Age",
            "X-HP-Queue-Count",
            "X-HP-Queue-Age",
        ]
        .map(|name| {
            head.field(name)
                .map(|value| String::from_utf8(value.to_vec()).unwrap())
        });
        assert_eq!(said.map(Option::unwrap), ["3", "2", "1", "0"]);
    }
}
