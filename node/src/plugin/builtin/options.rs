//! What plugins read of a service's settings.

use fleetbal_raft::model::{CLEARING, Service, Value};
use regex::bytes::Regex;

/// A regular expression; none where none was set, or it was taken back.
pub(super) fn pattern(service: &Service, key: &str) -> Option<Regex> {
    let Some(Value::Pattern(text)) = service.value(key) else {
        return None;
    };
    if CLEARING.contains(&text.as_str()) {
        return None;
    }
    // It compiled when it was typed; another release may see that in another way.
    Regex::new(&text)
        .inspect_err(|error| tracing::error!(%error, key, "the pattern is left out"))
        .ok()
}
