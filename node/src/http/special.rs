//! What only some services do to a request: HEADER rules, an old version towards backends, priorities, hash keys.
//!
//! All of it works on the head in canonical form that goes to the backend, after it was checked. Framing is not
//! touched, so whatever the rules are, the backend reads the request as this node did. Who has to wait because of a
//! priority, and which backend a hash means, is not here.

mod hash;
mod header_rules;
mod high_priority;

pub use header_rules::{HeaderRuleError, HeaderRules};
pub(super) use header_rules::{check_field, check_name};
pub use high_priority::{CookieRule, HighPriority, Pattern};

use fleetbal_raft::model::HashBy;

use super::body::Framing;
use super::error::ProxyError;
use super::head::Head;

/// What a service does to its requests beyond the plain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Special {
    /// Whether backends are spoken to in HTTP/1.0, as Perlbal does.
    pub http10: bool,
    /// Whether chunked bodies are buffered, so that their length is known when the head is sent. Where they are not,
    /// a backend of HTTP/1.0 cannot get them.
    pub buffers_chunked: bool,
    /// What is removed from heads and set in them.
    pub header_rules: HeaderRules,
    /// Which requests are of high priority.
    pub high_priority: HighPriority,
    /// What a request is hashed by; none: its hash is 0.
    pub hash_by: Option<HashBy>,
}

/// What the rules say about a request.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Marks {
    pub(super) high_priority: bool,
    pub(super) hash: u64,
}

impl Special {
    /// Whether a request with such a body can be forwarded.
    pub(super) fn check(&self, framing: Framing) -> Result<(), ProxyError> {
        if self.http10 && framing == Framing::Chunked && !self.buffers_chunked {
            return Err(ProxyError::LengthRequired);
        }
        Ok(())
    }

    /// Edits a head that came from `peer`. It is marked by what it said before.
    pub(super) fn apply(&self, peer: &[u8], output: &mut Vec<u8>) -> Marks {
        let head = Head::new(output);
        let marks = Marks {
            high_priority: self.high_priority.has(head),
            hash: self.hash_by.as_ref().map_or(0, |by| hash::hash(by, head, peer)),
        };
        self.header_rules.apply(self.http10, output);
        if self.http10
            && let Some(end) = memchr::memchr(b'\n', output)
            && let Some(minor) = output.get_mut(end.saturating_sub(2))
        {
            *minor = b'0';
        }
        marks
    }
}

#[cfg(test)]
#[path = "special/tests.rs"]
mod tests;
