//! Conditional requests (RFC 9110, section 13), without I/O.

use std::time::{Duration, UNIX_EPOCH};

use super::head::Head;

/// What a request says about which answer it wants.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked<'a> {
    /// `Range`.
    range: Option<&'a [u8]>,
    if_range: Option<&'a [u8]>,
    if_match: Option<&'a [u8]>,
    if_none_match: Option<&'a [u8]>,
    if_modified_since: Option<&'a [u8]>,
    if_unmodified_since: Option<&'a [u8]>,
}

/// What a representation is told from others by.
#[derive(Debug, Clone, Copy)]
pub struct Validators<'a> {
    /// Its entity tag, a strong one.
    pub etag: &'a [u8],
    /// `Last-Modified`, as its answers say it.
    pub last_modified: &'a [u8],
    /// The same in seconds since the epoch.
    pub modified: u64,
    /// Its size in bytes.
    pub size: u64,
}

/// What the conditions of a request come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is answered as if there were none.
    Go,
    /// The client has it already: 304.
    NotModified,
    /// It is something else than the client thinks: 412.
    Failed,
}

impl<'a> Asked<'a> {
    /// What the fields of a head say; of fields that are there more than once, the first counts.
    pub fn of(head: Head<'a>) -> Self {
        let mut asked = Self::default();
        for (name, value) in head.fields() {
            // The length tells most names apart from those that matter.
            let (known, place): (&[u8], _) = match (name.len(), name.last()) {
                (5, _) => (b"range", &mut asked.range),
                (8, Some(b'e' | b'E')) => (b"if-range", &mut asked.if_range),
                (8, _) => (b"if-match", &mut asked.if_match),
                (13, _) => (b"if-none-match", &mut asked.if_none_match),
                (17, _) => (b"if-modified-since", &mut asked.if_modified_since),
                (19, _) => (b"if-unmodified-since", &mut asked.if_unmodified_since),
                _ => continue,
            };
            if name.eq_ignore_ascii_case(known) {
                place.get_or_insert(value);
            }
        }
        asked
    }

    /// What the conditions come to (RFC 9110, section 13.2.2). A date has to be the one that was told, as with Perlbal and
    /// nginx: a file that was put back in its place is as new as one that was changed.
    pub fn judge(&self, it: &Validators<'_>) -> Verdict {
        let fails = match (self.if_match, self.if_unmodified_since) {
            (Some(tags), _) => !matches_any(tags, it.etag, Strength::Strong),
            (None, Some(date)) => seconds(date).is_some_and(|date| it.modified > date),
            (None, None) => false,
        };
        if fails {
            return Verdict::Failed;
        }
        let has_it = match (self.if_none_match, self.if_modified_since) {
            (Some(tags), _) => matches_any(tags, it.etag, Strength::Weak),
            (None, Some(date)) => is_that_date(date, it),
            (None, None) => false,
        };
        if has_it { Verdict::NotModified } else { Verdict::Go }
    }

    /// The range that is asked for, if the client has the rest of the same.
    pub fn range(&self, it: &Validators<'_>) -> Option<&'a [u8]> {
        let holds = match self.if_range {
            None => true,
            Some(tag) if tag.ends_with(b"\"") => it.etag == tag,
            Some(date) => is_that_date(date, it),
        };
        self.range.filter(|_| holds)
    }
}

/// How entity tags are compared (RFC 9110, section 8.8.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strength {
    Strong,
    Weak,
}

/// Whether a list of entity tags, or `*`, has this one.
fn matches_any(list: &[u8], etag: &[u8], strength: Strength) -> bool {
    if list == b"*" {
        return true;
    }
    let mut rest = list;
    loop {
        let start = rest.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b','));
        rest = start.and_then(|start| rest.get(start..)).unwrap_or_default();
        let (is_weak, tag) = match rest.strip_prefix(b"W/") {
            Some(tag) => (true, tag),
            None => (false, rest),
        };
        let Some([b'"', opaque @ ..]) = tag.get(..) else {
            return false;
        };
        let Some(end) = memchr::memchr(b'"', opaque) else {
            return false;
        };
        let is_it = tag.get(..end + 2) == Some(etag);
        if is_it && !(is_weak && strength == Strength::Strong) {
            return true;
        }
        rest = tag.get(end + 2..).unwrap_or_default();
    }
}

/// Whether it is the date of the representation. Old clients add its length (`; length=N`), which has to be right then.
fn is_that_date(date: &[u8], it: &Validators<'_>) -> bool {
    if date == it.last_modified {
        return true;
    }
    let semicolon = memchr::memchr(b';', date).unwrap_or(date.len());
    let (date, length) = date.split_at_checked(semicolon).unwrap_or((date, b""));
    let length = length
        .strip_prefix(b";")
        .and_then(|length| length.trim_ascii().strip_prefix(b"length="));
    let has_that_length = length.is_none_or(|length| length == it.size.to_string().as_bytes());
    has_that_length && (date == it.last_modified || seconds(date) == Some(it.modified))
}

/// A date in any of the three forms (RFC 9110, section 5.6.7), in seconds since the epoch.
fn seconds(date: &[u8]) -> Option<u64> {
    let date = std::str::from_utf8(date).ok()?.trim();
    let since = httpdate::parse_http_date(date).ok()?.duration_since(UNIX_EPOCH);
    since.as_ref().map(Duration::as_secs).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const IT: Validators<'_> = Validators {
        etag: b"\"2ebc9f51-1a\"",
        last_modified: DATE.as_bytes(),
        modified: 784_111_777,
        size: 26,
    };

    fn asked(fields: &str) -> String {
        format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n")
    }

    fn judge(fields: &str) -> Verdict {
        Asked::of(Head::new(asked(fields).as_bytes())).judge(&IT)
    }

    #[test]
    fn what_the_client_has_is_not_sent() {
        for fields in [
            &format!("If-Modified-Since: {DATE}"),
            &format!("if-modified-since: {DATE}; length=26"),
            "If-Modified-Since: Sunday, 06-Nov-94 08:49:37 GMT",
            "If-Modified-Since: Sun Nov  6 08:49:37 1994",
            "If-None-Match: \"2ebc9f51-1a\"",
            "If-None-Match: \"a,b\", W/\"2ebc9f51-1a\"",
            "If-None-Match: *",
            &format!("If-None-Match: *\r\nIf-Modified-Since: {DATE}"),
        ] {
            assert_eq!(judge(fields), Verdict::NotModified, "{fields}");
        }
        for fields in [
            "X: y",
            &format!("If-Modified-Since: {DATE}; length=27"),
            "If-Modified-Since: Sun, 06 Nov 1994 08:49:38 GMT",
            "If-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT",
            "If-Modified-Since: yesterday",
            "If-None-Match: \"2ebc9f51-1b\"",
            "If-None-Match: 2ebc9f51-1a",
            "If-None-Match: \"",
            "If-None-Match:",
            &format!("If-None-Match: \"x\"\r\nIf-Modified-Since: {DATE}"),
        ] {
            assert_eq!(judge(fields), Verdict::Go, "{fields}");
        }
    }

    #[test]
    fn what_is_something_else_fails() {
        for fields in [
            "If-Match: \"x\"",
            "If-Match: W/\"2ebc9f51-1a\"",
            "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:36 GMT",
            &format!("If-Match: \"x\"\r\nIf-None-Match: *\r\nIf-Unmodified-Since: {DATE}"),
        ] {
            assert_eq!(judge(fields), Verdict::Failed, "{fields}");
        }
        for fields in [
            "If-Match: *",
            "If-Match: \"x\", \"2ebc9f51-1a\"",
            &format!("If-Unmodified-Since: {DATE}"),
            "If-Unmodified-Since: tomorrow",
        ] {
            assert_eq!(judge(fields), Verdict::Go, "{fields}");
        }
    }

    #[test]
    fn a_range_may_have_a_condition() {
        let range = |fields: &str| {
            let head = asked(&format!("Range: bytes=0-1\r\n{fields}"));
            Asked::of(Head::new(head.as_bytes())).range(&IT).is_some()
        };
        for holds in ["X: y", "If-Range: \"2ebc9f51-1a\"", &format!("If-Range: {DATE}")] {
            assert!(range(holds), "{holds}");
        }
        for not in [
            "If-Range: W/\"2ebc9f51-1a\"",
            "If-Range: \"x\"",
            "If-Range: Sun, 06 Nov 1994 08:49:38 GMT",
        ] {
            assert!(!range(not), "{not}");
        }
    }
}
