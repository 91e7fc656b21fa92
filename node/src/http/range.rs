//! `Range`, without I/O: one range as Perlbal reads it (reference, section 6.2), or several.

use std::ops::Range;

/// What of a representation is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selected {
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

/// What of a representation is sent where it may be several parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parts {
    /// All of it.
    All,
    /// One part.
    One(Range<u64>),
    /// Several, in the order in which they were asked for.
    Several(Vec<Range<u64>>),
    /// Nothing: there are no such bytes.
    Nothing,
}

/// The most ranges of one request; what asks for more gets everything (RFC 9110, section 14.2).
const MOST: usize = 100;

/// The first and the last byte of `A-B` and `A-`, or the length of `-N`.
type Spec = (Option<u64>, Option<u64>);

/// Reads a `Range` of one range for a representation of `size` bytes. Several ranges, other units and what is no range
/// at all are ignored (RFC 9110, section 14.2); an end before its start is refused, as in Perlbal.
pub fn select(range: Option<&[u8]>, size: u64) -> Selected {
    let Some(spec) = range.and_then(single) else {
        return Selected::All;
    };
    of_one(spec, size).map_or(Selected::Nothing, |part| Selected::Part {
        first: part.start,
        last: part.end - 1,
    })
}

/// The same where it may be several ranges. Those that are not there are left out; where all together are more than the
/// representation, that is sent (as nginx does).
pub fn select_all(range: Option<&[u8]>, size: u64) -> Parts {
    let specs: Option<Vec<Spec>> = range.and_then(|range| {
        let specs = ranges(range)?;
        specs
            .split(|byte| *byte == b',')
            .take(MOST + 1)
            .map(spec)
            .collect()
    });
    let specs = match specs.as_deref() {
        None => return Parts::All,
        Some([one]) => return of_one(*one, size).map_or(Parts::Nothing, Parts::One),
        Some(specs) => specs,
    };
    let is_inverted = |spec: &Spec| matches!(spec, (Some(first), Some(last)) if first > last);
    if specs.len() > MOST || specs.iter().any(is_inverted) {
        return Parts::All;
    }
    let mut parts: Vec<_> = specs.iter().filter_map(|spec| of_one(*spec, size)).collect();
    let total: u64 = parts.iter().map(|part| part.end - part.start).sum();
    match parts.len() {
        0 => Parts::Nothing,
        _ if total > size => Parts::All,
        1 => parts.pop().map_or(Parts::Nothing, Parts::One),
        _ => Parts::Several(parts),
    }
}

/// What one range selects, if there is any of it.
fn of_one(spec: Spec, size: u64) -> Option<Range<u64>> {
    let (first, last) = match spec {
        (Some(first), last) => (first, last.unwrap_or(u64::MAX)),
        (None, Some(length)) if length > 0 => (size.saturating_sub(length), u64::MAX),
        (None, _) => return None,
    };
    (first <= last && first < size).then(|| first..last.min(size - 1) + 1)
}

/// Whether it asks for one range of bytes.
pub fn is_single(range: &[u8]) -> bool {
    single(range).is_some()
}

/// `bytes=A-B`, `bytes=A-` or `bytes=-N`.
fn single(range: &[u8]) -> Option<Spec> {
    spec(ranges(range)?)
}

/// What stands behind `bytes=`.
fn ranges(range: &[u8]) -> Option<&[u8]> {
    let (unit, ranges) = range.trim_ascii().split_at_checked(6)?;
    unit.eq_ignore_ascii_case(b"bytes=").then_some(ranges)
}

fn spec(range: &[u8]) -> Option<Spec> {
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

    #[test]
    fn reads_several_ranges() {
        let of = |range: &str, size| select_all(Some(range.as_bytes()), size);
        assert_eq!(
            of("bytes=0-1, 4-5,-2", 26),
            Parts::Several(vec![0..2, 4..6, 24..26])
        );
        assert_eq!(of("bytes=0-1,99-", 26), Parts::One(0..2));
        assert_eq!(of("bytes=0-3", 26), Parts::One(0..4));
        assert_eq!(of("bytes=99-,50-60", 26), Parts::Nothing);
        assert_eq!(of("bytes=3-1", 26), Parts::Nothing);
        assert_eq!(of("bytes=0-", 0), Parts::Nothing);
        for all in [
            "bytes=0-,0-",
            "bytes=0-1,x",
            "bytes=0-1,",
            "bytes=0-1,3-2",
            "lines=1-2",
            "bytes=-",
        ] {
            assert_eq!(of(all, 26), Parts::All, "{all}");
        }
        let many = |count| format!("bytes={}", vec!["0-0"; count].join(","));
        assert_eq!(of(&many(MOST), 200), Parts::Several(vec![0..1; MOST]));
        assert_eq!(of(&many(MOST + 1), 200), Parts::All);
    }
}
