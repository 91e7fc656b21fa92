//! Which requests are of high priority: by cookie (Perlbal, reference section 4.7), by URI and by host (what Perlbal
//! leaves to its Highpri plugin, section 8.2).

use std::borrow::Cow;

use percent_encoding::percent_decode;
use regex::bytes::Regex;

use super::super::head::Head;

/// The rules; a request that any of them fits is of high priority.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HighPriority {
    /// By a cookie.
    pub cookie: Option<CookieRule>,
    /// By the request target, path and query.
    pub uri: Option<Pattern>,
    /// By the `Host`, with its port if it has one.
    pub host: Option<Pattern>,
}

/// A cookie whose value contains something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CookieRule {
    /// The name, decoded.
    pub name: Vec<u8>,
    /// What its decoded value contains. Empty: its presence is enough.
    pub contents: Vec<u8>,
}

/// A regular expression over bytes.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles one.
    ///
    /// # Errors
    /// When it is none, or would take too much memory.
    pub fn parse(text: &str) -> Result<Self, regex::Error> {
        Regex::new(text).map(Self)
    }

    fn fits(&self, text: &[u8]) -> bool {
        self.0.is_match(text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

impl HighPriority {
    pub(super) fn has(&self, head: Head<'_>) -> bool {
        self.cookie.as_ref().is_some_and(|rule| rule.fits(head))
            || self.uri.as_ref().is_some_and(|uri| uri.fits(head.target()))
            || self.host.as_ref().is_some_and(|host| {
                let said = head.field("Host");
                said.is_some_and(|said| host.fits(said))
            })
    }
}

impl CookieRule {
    fn fits(&self, head: Head<'_>) -> bool {
        head.cookies().any(|(name, value)| {
            decoded(name) == self.name
                && (self.contents.is_empty()
                    || memchr::memmem::find(&decoded(value), &self.contents).is_some())
        })
    }
}

fn decoded(text: &[u8]) -> Cow<'_, [u8]> {
    percent_decode(text).into()
}
