//! Host names with and without `*.`, looked up in a time that does not depend on how many there are.

use std::borrow::Cow;
use std::collections::HashMap;

/// Values by host name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hosts<T> {
    exact: HashMap<Box<[u8]>, T>,
    /// By what follows `*.`.
    below: HashMap<Box<[u8]>, T>,
    any: Option<T>,
}

impl<T> Default for Hosts<T> {
    fn default() -> Self {
        Self {
            exact: HashMap::new(),
            below: HashMap::new(),
            any: None,
        }
    }
}

impl<T> Hosts<T> {
    /// Takes up a pattern in lower case: `*`, `*.host`, or a host.
    pub(super) fn insert(&mut self, pattern: &str, value: T) {
        if pattern == "*" {
            self.any = Some(value);
        } else if let Some(host) = pattern.strip_prefix("*.") {
            self.below.insert(host.as_bytes().into(), value);
        } else {
            self.exact.insert(pattern.as_bytes().into(), value);
        }
    }

    /// What a host in the form of [`name`] stands for: itself; else the longest `*.` that it is, or is below of; else
    /// `*` (Perlbal's order).
    pub(super) fn find(&self, host: &[u8]) -> Option<&T> {
        if let Some(value) = self.exact.get(host) {
            return Some(value);
        }
        if !self.below.is_empty() {
            let mut rest = Some(host);
            while let Some(name) = rest {
                if let Some(value) = self.below.get(name) {
                    return Some(value);
                }
                rest = memchr::memchr(b'.', name).and_then(|dot| name.get(dot + 1..));
            }
        }
        self.any.as_ref()
    }

    /// What a host is told to be, without any `*`.
    pub(super) fn find_exactly(&self, host: &[u8]) -> Option<&T> {
        self.exact.get(host)
    }
}

/// The name in a `Host`: without its port and one dot at the end, in lower case.
pub(super) fn name(host: &[u8]) -> Cow<'_, [u8]> {
    let end = match host {
        // The colons of an IPv6 address are inside its brackets.
        [b'[', ..] => memchr::memchr(b']', host).map(|end| end + 1),
        _ => memchr::memchr(b':', host),
    };
    let name = host.get(..end.unwrap_or(host.len())).unwrap_or_default();
    let name = name.strip_suffix(b".").unwrap_or(name);
    if name.iter().any(u8::is_ascii_uppercase) {
        name.to_ascii_lowercase().into()
    } else {
        name.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_pattern_holds() {
        let mut hosts = Hosts::default();
        for pattern in ["a.com", "*.a.com", "*.x.a.com", "*.com", "b.org"] {
            hosts.insert(pattern, pattern.to_owned());
        }
        let found = |host: &str| hosts.find(&name(host.as_bytes())).map(String::as_str);
        assert_eq!(found("a.com"), Some("a.com"));
        assert_eq!(found("A.com.:80"), Some("a.com"));
        assert_eq!(found("w.a.com"), Some("*.a.com"));
        assert_eq!(found("v.w.A.com"), Some("*.a.com"));
        assert_eq!(found("x.a.com"), Some("*.x.a.com"));
        assert_eq!(found("ba.com"), Some("*.com"));
        assert_eq!(found("com"), Some("*.com"));
        assert_eq!(found("w.b.org"), None);
        assert_eq!(found(""), None);
        hosts.insert("*", "*".to_owned());
        let found = |host: &str| hosts.find(&name(host.as_bytes())).map(String::as_str);
        assert_eq!((found(""), found("w.b.org")), (Some("*"), Some("*")));
    }

    #[test]
    fn names_of_hosts() {
        for (host, is) in [
            ("", ""),
            (".", ""),
            ("a..", "a."),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            (":80", ""),
        ] {
            assert_eq!(&*name(host.as_bytes()), is.as_bytes(), "{host}");
        }
    }
}
