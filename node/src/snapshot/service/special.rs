//! What a service does to its requests beyond the plain, compiled once a version.

use fleetbal_raft::model::{HeaderRule, Role, Service, Value};

use super::super::pool::PoolView;
use super::super::variables::NodeVariables;
use crate::http::Special;
use crate::http::special::{CookieRule, HeaderRules, HighPriority, Pattern};

/// None where it does nothing: a plain request then pays for none of it.
pub(super) fn compile(
    service: &Service,
    pool: Option<&PoolView>,
    variables: &NodeVariables,
) -> Option<Special> {
    if service.role() == Some(Role::Selector) {
        // Its rules are for what it hands on; see `Routes`.
        return None;
    }
    let text = |key| text(service, key, variables);
    let mut header_rules = header_rules(service, variables);
    if service.flag("enable_reproxy") {
        header_rules.advertise_reproxy();
    }
    let special = Special {
        http10: matches!(service.value("backend_http_version"), Some(Value::Word("1.0"))),
        buffers_chunked: service.flag("buffer_uploads"),
        header_rules,
        high_priority: HighPriority {
            cookie: text("high_priority_cookie").map(|name| CookieRule {
                name: name.into_bytes(),
                contents: text("high_priority_cookie_contents")
                    .unwrap_or_default()
                    .into_bytes(),
            }),
            uri: pattern(service, "high_priority_uri_pattern"),
            host: pattern(service, "high_priority_host_pattern"),
        },
        hash_by: pool.and_then(PoolView::hash_by).cloned(),
    };
    // Buffering alone changes no head.
    let plain = Special {
        buffers_chunked: special.buffers_chunked,
        ..Special::default()
    };
    (special != plain).then_some(special)
}

/// A rule that this node cannot fill in, or that would break a message with what it fills in, is left out here alone.
pub(super) fn header_rules(service: &Service, variables: &NodeVariables) -> HeaderRules {
    let mut rules = HeaderRules::default();
    for rule in service.header_rules() {
        let taken =
            match rule {
                HeaderRule::Remove { name } => rules.remove(name).map_err(|error| error.to_string()),
                HeaderRule::Insert { name, value } => value
                    .expand(|variable| variables.fill(variable))
                    .and_then(|value| {
                        let inserted = rules.insert(name, value.as_bytes());
                        inserted.map_err(|error| error.to_string())
                    }),
            };
        if let Err(reason) = taken {
            tracing::warn!(header = rule.name(), %reason, "a HEADER rule is left out on this node");
        }
    }
    rules
}

/// A text whose variables this node can fill in.
fn text(service: &Service, key: &str, variables: &NodeVariables) -> Option<String> {
    let Some(Value::Text(template)) = service.value(key) else {
        return None;
    };
    let text = template.expand(|variable| variables.fill(variable));
    text.ok().filter(|text| !text.is_empty())
}

fn pattern(service: &Service, key: &str) -> Option<Pattern> {
    let Some(Value::Pattern(text)) = service.value(key) else {
        return None;
    };
    // It compiled when it was typed; another release may see that in another way.
    Pattern::parse(&text)
        .inspect_err(|error| tracing::error!(%error, key, "the pattern is left out"))
        .ok()
}
