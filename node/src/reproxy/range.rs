//! `Range` of one range, as Perlbal reads it (reference, section 6.2). Pure.

/// What of a representation is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Selected {
    /// All of it: nothing else was asked for, or nothing that is understood.
    All,
    /// The bytes from `first` to `last`, counted from 0, both included.
    Part {
        /// The first byte.
        first: u64,
        /// The last byte; never before the first.
        last: u64,
    },
    /// Nothing: there are no such bytes.
    Nothing,
}

/// Reads a `Range` for a representation of `size` bytes. Several ranges, other units and what is no range at all are
/// ignored (RFC 9110, section 14.2); an end before its start is refused, as in Perlbal.
pub(super) fn select(range: Option<&[u8]>, size: u64) -> Selected {
    let Some((start, end)) = range.and_then(single) else {
        return Selected::All;
    };
    let bounds = match (start, end) {
        (Some(first), last) => Some((first, last.unwrap_or(u64::MAX))),
        (None, Some(length)) => (length > 0).then(|| (size.saturating_sub(length), u64::MAX)),
        (None, None) => None,
    };
    match bounds {
        Some((first, last)) if first <= last && first < size => Selected::Part {
            first,
            last: last.min(size - 1),
        },
        _ => Selected::Nothing,
    }
}

/// Whether it asks for one range of bytes.
pub(super) fn is_single(range: &[u8]) -> bool {
    single(range).is_some()
}

/// `bytes=A-B`, `bytes=A-` or `bytes=-N`.
fn single(range: &[u8]) -> Option<(Option<u64>, Option<u64>)> {
    let (unit, range) = range.trim_ascii().split_at_checked(6)?;
    if !unit.eq_ignore_ascii_case(b"bytes=") {
        return None;
    }
    let dash = memchr::memchr(b'-', range)?;
    let (start, end) = range.split_at_checked(dash)?;
    match (start.trim_ascii(), end.get(1..)?.trim_ascii()) {
        (b"", b"") => None,
        (b"", end) => Some((None, Some(number(end)?))),
        (start, b"") => Some((Some(number(start)?), None)),
        (start, end) => Some((Some(number(start)?), Some(number(end)?))),
    }
}

/// Digits. What is too large for a number is beyond the end of everything.
fn number(text: &[u8]) -> Option<u64> {
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(text).ok().filter(|_| is_number)?;
    Some(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(range: &str, size: u64) -> Selected {
        select(Some(range.as_bytes()), size)
    }

    #[test]
    fn reads_one_range() {
        let part = |first, last| Selected::Part { first, last };
        for (range, expected) in [
            ("bytes=0-3", part(0, 3)),
            ("bytes=5-", part(5, 25)),
            ("bytes=0-100", part(0, 25)),
            ("bytes=25-25", part(25, 25)),
            ("Bytes= 1 - 2 ", part(1, 2)),
            ("bytes=-5", part(21, 25)),
            ("bytes=-99", part(0, 25)),
            ("bytes=0-99999999999999999999999", part(0, 25)),
            ("bytes=-0", Selected::Nothing),
            ("bytes=3-1", Selected::Nothing),
            ("bytes=26-", Selected::Nothing),
            ("bytes=26-30", Selected::Nothing),
            ("bytes=99999999999999999999999-", Selected::Nothing),
        ] {
            assert_eq!(of(range, 26), expected, "{range}");
            assert!(is_single(range.as_bytes()), "{range}");
        }
        assert_eq!(of("bytes=0-0", 0), Selected::Nothing);
        assert_eq!(of("bytes=-1", 0), Selected::Nothing);
    }

    #[test]
    fn ignores_what_is_none() {
        for range in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=5",
            "bytes=0-1,3-4",
            "bytes=a-b",
            "bytes=+1-2",
            "bytes=1-2-3",
            "items=0-1",
            "bytes=\u{e9}-1",
        ] {
            assert_eq!(of(range, 26), Selected::All, "{range}");
            assert!(!is_single(range.as_bytes()), "{range}");
        }
        assert_eq!(select(None, 26), Selected::All);
    }
}
