//! What the tests of plugins are made of.

use std::net::IpAddr;
use std::sync::Arc;

use super::super::context::{Facts, RequestContext};
use super::super::feed::Feed;
use super::super::hook::Hook;
use super::Setup;
use crate::http::{ForwardedFor, Forwarding, request};
use crate::manage::script::interpret;
use fleetbal_raft::model::ServiceName;

/// The plugin of the service `px` that these lines make, which has one.
pub(super) fn made(make: fn(&Setup<'_>) -> Arc<dyn Hook>, lines: &[&str]) -> Arc<dyn Hook> {
    made_after(make, lines, None)
}

/// The same in place of one of an earlier version.
pub(super) fn made_after(
    make: fn(&Setup<'_>) -> Arc<dyn Hook>,
    lines: &[&str],
    before: Option<&dyn Hook>,
) -> Arc<dyn Hook> {
    made_with(make, lines, before, &Arc::default())
}

/// The same on a node with that feed.
pub(super) fn made_with(
    make: fn(&Setup<'_>) -> Arc<dyn Hook>,
    lines: &[&str],
    before: Option<&dyn Hook>,
    feed: &Arc<Feed>,
) -> Arc<dyn Hook> {
    let text = format!(
        "CREATE SERVICE px\nSET role = reverse_proxy\n{}\n",
        lines.join("\n")
    );
    let script = interpret(text.as_bytes(), |_| None).unwrap();
    let service = script.config.service("px").unwrap();
    let plugin = service.plugins().first().unwrap();
    make(&Setup {
        name: &ServiceName::parse("px").unwrap(),
        service,
        spec: service.spec(plugin),
        before,
        feed,
        fill: &|_| Err(String::new()),
    })
}

/// A request with this head of a client at this address.
pub(super) fn asked(head: &str, peer: &str) -> RequestContext {
    let rules = Forwarding {
        peer: peer.as_bytes(),
        forwarded_for: ForwardedFor::Replace,
        persist_backend: true,
        special: None,
        secure: false,
    };
    let said = request::read(head.as_bytes(), rules, &mut Vec::new()).unwrap();
    let facts = Facts {
        peer: peer.parse::<IpAddr>().unwrap(),
        ..Facts::default()
    };
    RequestContext::new(facts, head.as_bytes(), said)
}
