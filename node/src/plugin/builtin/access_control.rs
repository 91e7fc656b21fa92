//! `AccessControl`: who may ask, by address (Perlbal, reference section 8.2). The first rule that is about a client decides.

use std::net::IpAddr;
use std::sync::Arc;

use fleetbal_raft::model::{Access, AccessRule, Clients, Directive, PluginSpec};

use super::super::answer::Answer;
use super::super::context::{Priority, RequestContext};
use super::super::hook::{Hook, Outcome, Point, Points};
use super::Setup;

#[derive(Debug)]
struct AccessControl {
    rules: Vec<(Access, Clients)>,
    is_open: bool,
    by_observed: bool,
}

pub(super) fn make(setup: &Setup<'_>) -> Arc<dyn Hook> {
    let mut control = AccessControl {
        rules: Vec::new(),
        is_open: true,
        by_observed: setup.service.flag("accesscontrol.use_observed_ip"),
    };
    for directive in setup.spec.into_iter().flat_map(PluginSpec::directives) {
        let Directive::Access(rule) = directive else {
            continue;
        };
        match rule {
            AccessRule::Policy(is_open) => control.is_open = *is_open,
            AccessRule::Rule(access, clients) => control.rules.push((*access, *clients)),
            AccessRule::Reset => {}
        }
    }
    Arc::new(control)
}

impl AccessControl {
    fn judge(&self, address: IpAddr) -> Access {
        let rule = self.rules.iter().find(|(_, clients)| clients.contain(address));
        rule.map_or(
            if self.is_open { Access::Allow } else { Access::Deny },
            |(access, _)| *access,
        )
    }
}

impl Hook for AccessControl {
    fn points(&self) -> Points {
        Points::of(&[Point::StartHttpRequest])
    }

    fn run(&self, _: Point, request: &mut RequestContext) -> Outcome {
        let facts = request.facts();
        let observed = facts.observed.filter(|_| self.by_observed);
        match self.judge(observed.unwrap_or(facts.peer)) {
            Access::Allow => Outcome::Next,
            Access::QueueLow => {
                request.set_priority(Priority::Low);
                Outcome::Next
            }
            Access::Deny => Outcome::Answer(Box::new(Answer::page(403, "Access denied."))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{asked, made};
    use super::*;

    const LINES: &[&str] = &[
        "LOAD AccessControl",
        "SET px.plugins = accesscontrol",
        "ACCESS DENY ip 10.0.0.9",
        "ACCESS QUEUE_LOW netmask 10.0.0.0/24",
        "ACCESS ALLOW netmask 10.0.0.0/8",
        "ACCESS POLICY deny",
    ];

    fn status(outcome: &Outcome) -> u16 {
        if let Outcome::Answer(answer) = outcome {
            answer.status
        } else {
            0
        }
    }

    #[test]
    fn the_first_rule_decides() {
        let hook = made(make, LINES);
        for (peer, is, low) in [
            ("10.0.0.9", 403, false),
            ("10.0.0.8", 0, true),
            ("10.1.0.1", 0, false),
            ("11.0.0.1", 403, false),
            ("::1", 403, false),
        ] {
            let mut request = asked("GET / HTTP/1.1\r\nHost: h\r\n\r\n", peer);
            let outcome = hook.run(Point::StartHttpRequest, &mut request);
            assert_eq!(status(&outcome), is, "{peer}");
            assert_eq!(request.priority(), low.then_some(Priority::Low), "{peer}");
        }
    }

    #[test]
    fn the_observed_address_counts_where_it_is_asked_for() {
        let judged = |lines: &[&str]| {
            let hook = made(make, lines);
            let mut request = asked("GET / HTTP/1.1\r\nHost: h\r\n\r\n", "10.1.0.1");
            request.facts_mut().observed = Some("9.9.9.9".parse().unwrap());
            status(&hook.run(Point::StartHttpRequest, &mut request))
        };
        assert_eq!(judged(LINES), 0);
        let lines = [LINES, &["SET px.AccessControl.use_observed_ip = 1"]].concat();
        assert_eq!(judged(&lines), 403);
    }
}
