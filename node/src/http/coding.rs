//! Which codings of content a client takes (RFC 9110, section 12.5.3).

use super::head::Head;

/// Codings that a client takes besides none at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Accepted {
    /// Brotli.
    pub br: bool,
    /// Gzip.
    pub gzip: bool,
}

impl Accepted {
    /// What a request says; nothing said is nothing taken.
    pub fn of(head: Head<'_>) -> Self {
        let mut all = Mentioned::default();
        for value in head.all("Accept-Encoding") {
            value.split(|byte| *byte == b',').for_each(|item| all.add(item));
        }
        let takes = |own: Option<bool>| own.or(all.any).unwrap_or(false);
        Self {
            br: takes(all.br),
            gzip: takes(all.gzip),
        }
    }
}

/// What is said of each coding: whether it is taken.
#[derive(Default)]
struct Mentioned {
    br: Option<bool>,
    gzip: Option<bool>,
    any: Option<bool>,
}

impl Mentioned {
    fn add(&mut self, item: &[u8]) {
        let mut words = item.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let name = words.next().unwrap_or_default();
        let takes = !words.any(is_zero);
        let place = if name.eq_ignore_ascii_case(b"br") {
            &mut self.br
        } else if name.eq_ignore_ascii_case(b"gzip") || name.eq_ignore_ascii_case(b"x-gzip") {
            &mut self.gzip
        } else if name == b"*" {
            &mut self.any
        } else {
            return;
        };
        place.get_or_insert(takes);
    }
}

/// Whether it is `q=0`, with or without decimals.
fn is_zero(parameter: &[u8]) -> bool {
    let Some(([b'q' | b'Q'], weight)) = memchr::memchr(b'=', parameter).and_then(|at| {
        let (name, value) = parameter.split_at_checked(at)?;
        Some((name.trim_ascii(), value.get(1..)?.trim_ascii()))
    }) else {
        return false;
    };
    weight.starts_with(b"0") && weight.iter().all(|byte| matches!(byte, b'0' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fields: &str) -> (bool, bool) {
        let head = format!("GET / HTTP/1.1\r\n{fields}\r\n");
        let accepted = Accepted::of(Head::new(head.as_bytes()));
        (accepted.br, accepted.gzip)
    }

    #[test]
    fn reads_what_is_taken() {
        for (value, br, gzip) in [
            ("gzip, deflate, br", true, true),
            ("gzip", false, true),
            ("x-gzip;q=0.5", false, true),
            ("BR ; Q=1", true, false),
            ("br;q=0, gzip;q=0.001", false, true),
            ("br; q = 0.000", false, false),
            ("*", true, true),
            ("*;q=0, br", true, false),
            ("gzip;q=0, *", true, false),
            ("identity", false, false),
            ("brr, gzipped", false, false),
            ("", false, false),
        ] {
            assert_eq!(
                of(&format!("Accept-Encoding: {value}\r\n")),
                (br, gzip),
                "{value}"
            );
        }
        assert_eq!(of(""), (false, false));
        assert_eq!(
            of("Accept-Encoding: br\r\naccept-encoding: gzip\r\n"),
            (true, true)
        );
    }
}
