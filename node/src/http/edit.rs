//! Heads in canonical form, edited in place: what plugins do. Framing is not touched, so whatever they do, both sides
//! read the message as this node did.

use std::ops::Range;

use super::fields::Kind;
use super::special::{HeaderRuleError, check_field, check_name};

/// Why a first line cannot be changed so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FirstLineError {
    /// The target would end the line, or is not one (RFC 9112, section 3.2).
    #[error("a target begins with / and has neither blanks nor control characters nor #")]
    Target,
    /// A status that has no body would get one, or the other way round; or it is none of an answer.
    #[error("the status must be from 200 to 599, and 204 and 304 neither come nor go")]
    Status,
    /// The reason phrase would end the line.
    #[error("a reason phrase has no control characters")]
    Reason,
}

/// Sets a field: in place, in the spelling that it has, or behind the others. Further ones of that name go.
///
/// # Errors
/// When there can be no such field, or it says where the message ends.
pub fn set(head: &mut Vec<u8>, name: &str, value: &[u8]) -> Result<(), HeaderRuleError> {
    let value = check_field(name, value)?;
    let Some(line) = find(head, name, 0) else {
        insert(head, name, value);
        return Ok(());
    };
    let value_at = line.start + name.len() + 2;
    head.splice(value_at..line.end - 2, value.iter().copied());
    drop_from(head, name, value_at + value.len() + 2);
    Ok(())
}

/// Adds a field behind the others, whether or not there is one of that name.
///
/// # Errors
/// When there can be no such field, it says where the message ends, or there may be only one of it.
pub fn add(head: &mut Vec<u8>, name: &str, value: &[u8]) -> Result<(), HeaderRuleError> {
    let value = check_field(name, value)?;
    if Kind::of(name) == Kind::Host {
        return Err(HeaderRuleError::Framing);
    }
    insert(head, name, value);
    Ok(())
}

/// Appends a field to lines that stand for themselves.
///
/// # Errors
/// When there can be no such field, or it says where the message ends.
pub(crate) fn append(lines: &mut Vec<u8>, name: &str, value: &[u8]) -> Result<(), HeaderRuleError> {
    let value = check_field(name, value)?;
    super::fields::write_field(name.as_bytes(), value, lines);
    Ok(())
}

/// Removes all fields of that name.
///
/// # Errors
/// When there can be no such field, or the message needs it: whatever says where it ends, and `Host`.
pub fn remove(head: &mut Vec<u8>, name: &str) -> Result<(), HeaderRuleError> {
    check_name(name)?;
    if Kind::of(name) == Kind::Host {
        return Err(HeaderRuleError::Framing);
    }
    drop_from(head, name, 0);
    Ok(())
}

/// Sets the target of a request.
///
/// # Errors
/// When it is none.
pub fn set_target(head: &mut Vec<u8>, target: &[u8]) -> Result<(), FirstLineError> {
    let is_plain = |byte: &u8| *byte > b' ' && *byte != 0x7f && *byte != b'#';
    if target.first() != Some(&b'/') || !target.iter().all(is_plain) {
        return Err(FirstLineError::Target);
    }
    let line = first_line(head);
    let blank = |bytes: &[u8]| memchr::memchr(b' ', bytes);
    let first = head.get(..line).and_then(blank).unwrap_or(line);
    let rest = head.get(first + 1..line).unwrap_or_default();
    let last = blank(rest).map_or(line, |at| first + 1 + at);
    head.splice((first + 1).min(last)..last, target.iter().copied());
    Ok(())
}

/// Sets the status of an answer.
///
/// # Errors
/// When it may not be that one.
pub fn set_status(head: &mut Vec<u8>, before: u16, status: u16, reason: &str) -> Result<(), FirstLineError> {
    let is_bodiless = |status: u16| matches!(status, 204 | 304);
    if !(200..=599).contains(&status) || is_bodiless(before) != is_bodiless(status) {
        return Err(FirstLineError::Status);
    }
    if reason.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(FirstLineError::Reason);
    }
    let line = first_line(head);
    head.splice(..line, format!("HTTP/1.1 {status} {reason}").into_bytes());
    Ok(())
}

/// Says that the body is longer by so many bytes than the head says, where it says so.
pub(crate) fn lengthen(head: &mut Vec<u8>, by: u64) {
    const NAME: &str = "Content-Length";
    let Some(line) = find(head, NAME, 0) else {
        return;
    };
    let value = line.start + NAME.len() + 2..line.end - 2;
    let said = head.get(value.clone()).and_then(super::fields::content_length);
    if let Some(said) = said {
        let longer = said.saturating_add(by).to_string();
        head.splice(value, longer.into_bytes());
    }
}

/// The length of the first line, without its end.
fn first_line(head: &[u8]) -> usize {
    memchr::memmem::find(head, b"\r\n").unwrap_or(head.len())
}

fn insert(head: &mut Vec<u8>, name: &str, value: &[u8]) {
    // The empty line stays behind it.
    head.truncate(head.len().saturating_sub(2));
    super::fields::write_field(name.as_bytes(), value, head);
    head.extend_from_slice(b"\r\n");
}

fn drop_from(head: &mut Vec<u8>, name: &str, from: usize) {
    let mut from = from;
    while let Some(line) = find(head, name, from) {
        from = line.start;
        head.drain(line);
    }
}

/// The first line of that field, with its end, that begins at `from` or later; 0 is the first line of the head, which is
/// none of a field.
fn find(head: &[u8], name: &str, from: usize) -> Option<Range<usize>> {
    let mut start = if from == 0 { first_line(head) + 2 } else { from };
    loop {
        let rest = head.get(start..)?;
        let end = start + memchr::memmem::find(rest, b"\r\n")? + 2;
        let line = head.get(start..end)?;
        if let Some((is, after)) = line.split_at_checked(name.len())
            && is.eq_ignore_ascii_case(name.as_bytes())
            && after.starts_with(b": ")
        {
            return Some(start..end);
        }
        start = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "GET /a?b HTTP/1.1|Host: h|X-A: 1|Cookie: c|x-a: 2||";

    fn edited(edit: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut head = HEAD.replace('|', "\r\n").into_bytes();
        edit(&mut head);
        String::from_utf8(head).unwrap().replace("\r\n", "|")
    }

    #[test]
    fn fields_are_set_added_and_removed() {
        assert_eq!(
            edited(|head| set(head, "x-a", b" longer ").unwrap()),
            "GET /a?b HTTP/1.1|Host: h|X-A: longer|Cookie: c||"
        );
        assert_eq!(
            edited(|head| set(head, "X-New", b"n").unwrap()),
            "GET /a?b HTTP/1.1|Host: h|X-A: 1|Cookie: c|x-a: 2|X-New: n||"
        );
        assert_eq!(
            edited(|head| add(head, "X-A", b"3").unwrap()),
            "GET /a?b HTTP/1.1|Host: h|X-A: 1|Cookie: c|x-a: 2|X-A: 3||"
        );
        assert_eq!(
            edited(|head| remove(head, "x-A").unwrap()),
            "GET /a?b HTTP/1.1|Host: h|Cookie: c||"
        );
        assert_eq!(
            edited(|head| assert!(remove(head, "GET /a?b HTTP/1.1").is_err())),
            HEAD
        );
        let all = "GET /a?b HTTP/1.1|Host: h|Content-Length: 9||".replace('|', "\r\n");
        let mut all = all.into_bytes();
        lengthen(&mut all, 13);
        assert!(all.ends_with(b"Content-Length: 22\r\n\r\n"));
    }

    #[test]
    fn first_lines_are_changed() {
        assert!(edited(|head| set_target(head, b"/x").unwrap()).starts_with("GET /x HTTP/1.1|Host"));
        let mut answer = b"HTTP/1.1 206 Partial Content\r\nA: b\r\n\r\n".to_vec();
        set_status(&mut answer, 206, 200, "OK").unwrap();
        assert_eq!(answer, b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n");
    }

    #[test]
    fn what_would_break_a_message_is_refused() {
        for (name, value) in [("a b", "1"), ("A", "1\r\nB: 2"), ("Host", "a b"), ("", "1")] {
            assert_eq!(
                edited(|head| assert!(set(head, name, value.as_bytes()).is_err())),
                HEAD
            );
        }
        for name in ["Connection", "Content-Length", "Transfer-Encoding"] {
            assert_eq!(edited(|head| assert!(set(head, name, b"1").is_err())), HEAD);
            assert_eq!(edited(|head| assert!(remove(head, name).is_err())), HEAD);
        }
        assert_eq!(edited(|head| assert!(remove(head, "host").is_err())), HEAD);
        assert_eq!(edited(|head| assert!(add(head, "host", b"a").is_err())), HEAD);
        for target in ["", "x", "/a b", "/a\r\n", "/a#b"] {
            assert_eq!(
                edited(|head| assert!(set_target(head, target.as_bytes()).is_err())),
                HEAD
            );
        }
        for (before, after) in [(200, 204), (304, 200), (200, 100), (200, 600)] {
            assert!(set_status(&mut Vec::new(), before, after, "").is_err());
        }
        assert!(set_status(&mut Vec::new(), 200, 201, "a\r\nB: c").is_err());
    }
}
