//! `XFFExtras`: backends are told which port a client is connected to, and by which protocol (Perlbal, reference section
//! 8.2).

use std::sync::Arc;

use fleetbal_raft::model::{Network, Value};

use super::super::context::RequestContext;
use super::super::hook::{Hook, Outcome, Point, Points};
use super::Setup;

#[derive(Debug)]
struct XffExtras {
    port: bool,
    proto: bool,
    /// Whose own words are left alone: trusted peers, where this node is blind.
    blind: Option<Trusted>,
}

#[derive(Debug)]
struct Trusted {
    all: bool,
    networks: Vec<Network>,
}

pub(super) fn make(setup: &Setup<'_>) -> Arc<dyn Hook> {
    let service = setup.service;
    let blind = service.flag("blind_proxy").then(|| Trusted {
        all: service.flag("always_trusted"),
        networks: match service.value("trusted_upstream_proxies") {
            Some(Value::Networks(networks, _)) => networks,
            _ => Vec::new(),
        },
    });
    Arc::new(XffExtras {
        port: service.flag("send_backend_port"),
        proto: service.flag("send_backend_proto"),
        blind,
    })
}

impl Hook for XffExtras {
    fn points(&self) -> Points {
        if !self.port && !self.proto {
            return Points::default();
        }
        Points::of(&[Point::BackendClientAssigned])
    }

    fn run(&self, _: Point, request: &mut RequestContext) -> Outcome {
        let facts = request.facts().clone();
        let is_trusted = |trusted: &Trusted| {
            let mut networks = trusted.networks.iter();
            trusted.all || networks.any(|network| network.contains(facts.peer))
        };
        if self.blind.as_ref().is_some_and(is_trusted) {
            return Outcome::Next;
        }
        if let Some(local) = facts.local.filter(|_| self.port) {
            let port = local.port().to_string();
            request
                .set_field("X-Forwarded-Port", port.as_bytes())
                .unwrap_or_default();
        }
        if self.proto {
            let proto: &[u8] = if facts.secure { b"https" } else { b"http" };
            request.set_field("X-Forwarded-Proto", proto).unwrap_or_default();
        }
        Outcome::Next
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{asked, made};
    use super::*;

    fn told(lines: &[&str]) -> String {
        let lines = [&["LOAD XFFExtras", "SET px.plugins = xffextras"], lines].concat();
        let hook = made(make, &lines);
        let mut request = asked(
            "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-Proto: gopher\r\n\r\n",
            "10.0.0.1",
        );
        request.facts_mut().local = Some("10.0.0.2:8080".parse().unwrap());
        if hook.points().has(Point::BackendClientAssigned) {
            hook.run(Point::BackendClientAssigned, &mut request);
        }
        String::from_utf8(request.head_bytes().to_vec()).unwrap()
    }

    #[test]
    fn backends_are_told_what_is_asked_for() {
        let both = ["SET px.send_backend_port = on", "SET px.send_backend_proto = on"];
        let said = told(&both);
        assert!(said.contains("X-Forwarded-Port: 8080\r\n"), "{said}");
        assert!(
            said.contains("X-Forwarded-Proto: http\r\n") && !said.contains("gopher"),
            "{said}"
        );
        assert!(!told(&["SET px.send_backend_proto = on"]).contains("X-Forwarded-Port"));
        assert!(told(&[]).contains("gopher"));
        let blind = [
            "SET px.blind_proxy = on",
            "SET px.trusted_upstream_proxies = 10.0.0.0/8",
        ];
        let said = told(&[&both[..], &blind].concat());
        assert!(
            said.contains("gopher") && !said.contains("X-Forwarded-Port"),
            "{said}"
        );
    }
}
