//! Heads of requests whose bodies are collected: edited after they were written for a backend.
//!
//! They are in the canonical form of [`http::request::read`](crate::http::request::read): lines of `Name: value`.

use std::sync::LazyLock;

use super::decision::Reason;

/// What is changed in a head.
#[derive(Debug, Clone, Copy, Default)]
pub struct Edit {
    /// The length of the body, which was chunked; none: its framing stays.
    pub length: Option<u64>,
    /// Whether `Expect` goes: the client was told to go on.
    pub drop_expect: bool,
    /// Why the body was on disk, for whoever debugs that.
    pub reason: Option<Reason>,
}

/// Whether the client waits for `100 Continue`. No other expectation gets through to here.
pub fn expects_continue(head: &[u8]) -> bool {
    lines(head).any(|line| name_is(line, b"expect"))
}

/// Whether the backend is spoken to in HTTP/1.0, and would not answer an expectation.
pub fn is_http10(head: &[u8]) -> bool {
    lines(head)
        .next()
        .is_some_and(|line| line.ends_with(b" HTTP/1.0\r\n"))
}

/// Whether backends are told why a body was on disk: `PERLBAL_DEBUG_BUFFERED_UPLOADS`, as in Perlbal.
pub fn tells_reasons() -> bool {
    static TELLS: LazyLock<bool> = LazyLock::new(|| {
        std::env::var("PERLBAL_DEBUG_BUFFERED_UPLOADS").is_ok_and(|value| !matches!(&value[..], "" | "0"))
    });
    *TELLS
}

/// The edited head.
pub fn edit(head: &[u8], edit: Edit) -> Vec<u8> {
    let mut out = Vec::with_capacity(head.len() + 64);
    for line in lines(head) {
        // Trailers go with the chunks, and so does what announces them.
        let chunks = [&b"transfer-encoding"[..], b"content-length", b"trailer"];
        let goes = edit.drop_expect && name_is(line, b"expect")
            || edit.length.is_some() && chunks.iter().any(|name| name_is(line, name));
        if line == b"\r\n" {
            if let Some(length) = edit.length {
                out.extend_from_slice(format!("Content-Length: {length}\r\n").as_bytes());
            }
            if let Some(reason) = edit.reason {
                let line = format!("X-PERLBAL-BUFFERED-UPLOAD-REASON: {}\r\n", reason.name());
                out.extend_from_slice(line.as_bytes());
            }
        }
        if !goes {
            out.extend_from_slice(line);
        }
    }
    out
}

/// Each with its line end; the last one is empty otherwise.
fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    head.split_inclusive(|byte| *byte == b'\n')
}

fn name_is(line: &[u8], name: &[u8]) -> bool {
    let after = line.get(name.len()..).unwrap_or_default();
    let before = line.get(..name.len()).unwrap_or_default();
    after.starts_with(b":") && before.eq_ignore_ascii_case(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "POST /Expect: HTTP/1.1\r\nHost: h\r\nEXPECT: 100-continue\r\nX-Expect: x\r\n\
                        transfer-encoding: chunked\r\nTrailer: a\r\nConnection: close\r\n\r\n";

    fn edited(change: Edit) -> String {
        String::from_utf8(edit(HEAD.as_bytes(), change)).unwrap()
    }

    #[test]
    fn finds_the_expectation() {
        assert!(expects_continue(HEAD.as_bytes()));
        let without = edited(Edit {
            drop_expect: true,
            ..Edit::default()
        });
        assert!(!expects_continue(without.as_bytes()));
        assert_eq!(without, HEAD.replace("EXPECT: 100-continue\r\n", ""));
    }

    #[test]
    fn knows_the_version() {
        assert!(!is_http10(HEAD.as_bytes()));
        assert!(is_http10(b"POST / HTTP/1.0\r\nA: HTTP/1.1\r\n\r\n"));
    }

    #[test]
    fn changes_nothing_unasked() {
        assert_eq!(edited(Edit::default()), HEAD);
    }

    #[test]
    fn gives_a_chunked_body_its_length() {
        let head = edited(Edit {
            length: Some(0),
            drop_expect: true,
            reason: Some(Reason::Time),
        });
        assert_eq!(
            head,
            "POST /Expect: HTTP/1.1\r\nHost: h\r\nX-Expect: x\r\nConnection: close\r\nContent-Length: 0\r\n\
             X-PERLBAL-BUFFERED-UPLOAD-REASON: time\r\n\r\n"
        );
    }
}
