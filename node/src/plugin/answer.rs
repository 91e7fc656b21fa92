//! Answers that plugins give themselves.

use std::borrow::Cow;
use std::io::Write;

use crate::http::answer::PageRules;
use crate::http::edit;
use crate::http::response::built_in_reason;
use crate::http::special::HeaderRuleError;

/// A whole answer. How long it is, and whether the connection stays open, the core adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code, 200 to 599.
    pub status: u16,
    /// Its reason phrase.
    pub reason: Cow<'static, str>,
    /// The fields, as lines.
    fields: Vec<u8>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// One without fields and body, with Perlbal's reason phrase.
    pub fn new(status: u16) -> Self {
        Self {
            status,
            reason: built_in_reason(status).into(),
            fields: Vec::new(),
            body: Vec::new(),
        }
    }

    /// A page in Perlbal's form (reference, section 4.12) with this message, which may be empty.
    pub fn page(status: u16, message: &str) -> Self {
        let reason = built_in_reason(status);
        Self {
            fields: b"Content-Type: text/html\r\n".to_vec(),
            body: format!("<h1>{status} - {reason}</h1>\n{message}").into_bytes(),
            ..Self::new(status)
        }
    }

    /// The same with that body.
    #[must_use]
    pub fn with_body(self, body: impl Into<Vec<u8>>) -> Self {
        Self {
            body: body.into(),
            ..self
        }
    }

    /// The same with one more field.
    ///
    /// # Errors
    /// When there can be no such field, or it says where the message ends.
    pub fn with_field(mut self, name: &str, value: &[u8]) -> Result<Self, HeaderRuleError> {
        edit::append(&mut self.fields, name, value)?;
        Ok(self)
    }

    /// Whether the status says that there is neither a body nor a length of one (RFC 9110, section 6.4.1).
    fn is_bodiless(&self) -> bool {
        matches!(self.status, 204 | 304)
    }

    /// The bytes of the body that is announced.
    pub(crate) fn length(&self) -> u64 {
        if self.is_bodiless() {
            0
        } else {
            self.body.len() as u64
        }
    }

    /// Appends it as it is sent.
    pub(crate) fn write(&self, rules: PageRules<'_>, out: &mut Vec<u8>) {
        let Self {
            status,
            reason,
            fields,
            body,
        } = self;
        let written = write!(out, "HTTP/1.1 {status} {reason}\r\n");
        debug_assert!(written.is_ok(), "a vector takes everything");
        out.extend_from_slice(fields);
        if !self.is_bodiless() {
            out.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
        }
        if rules.server_tokens {
            out.extend_from_slice(b"Server: fleetbal\r\n");
        }
        out.extend_from_slice(rules.keep_alive.unwrap_or(b"Connection: close\r\n"));
        out.extend_from_slice(b"\r\n");
        if !rules.is_head && !self.is_bodiless() {
            out.extend_from_slice(body);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(answer: &Answer, is_head: bool) -> String {
        let rules = PageRules {
            server_tokens: false,
            is_head,
            keep_alive: None,
        };
        let mut out = Vec::new();
        answer.write(rules, &mut out);
        String::from_utf8(out).unwrap().replace("\r\n", "|")
    }

    #[test]
    fn answers_are_framed_by_the_core() {
        let page = Answer::page(403, "Access denied.");
        assert_eq!(
            written(&page, false),
            "HTTP/1.1 403 Forbidden|Content-Type: text/html|Content-Length: 39|Connection: close||\
             <h1>403 - Forbidden</h1>\nAccess denied."
        );
        assert!(written(&page, true).ends_with("Content-Length: 39|Connection: close||"));
        let moved = Answer::new(301).with_field("Location", b"http://a/").unwrap();
        assert_eq!(
            written(&moved, false),
            "HTTP/1.1 301 Permanent Redirect|Location: http://a/|Content-Length: 0|Connection: close||"
        );
        assert_eq!(
            written(&Answer::new(304), false),
            "HTTP/1.1 304 Not Modified|Connection: close||"
        );
    }

    #[test]
    fn fields_that_would_break_it_are_refused() {
        for (name, value) in [("A", "1\r\nB: 2"), ("Content-Length", "9"), ("a b", "")] {
            assert!(Answer::new(200).with_field(name, value.as_bytes()).is_err());
        }
    }
}
