//! What a request target means below a docroot (Perlbal, reference section 6.1).

use std::borrow::Cow;

use percent_encoding::percent_decode;

/// The target leads out, or is none that could lead anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bogus;

/// The path of a target, decoded once; the query is not part of it.
#[inline]
pub(super) fn parse(target: &[u8]) -> Result<Cow<'_, [u8]>, Bogus> {
    let end = memchr::memchr(b'?', target).unwrap_or(target.len());
    let path = target.get(..end).unwrap_or_default();
    let path = match memchr::memchr(b'%', path) {
        None => Cow::Borrowed(path),
        Some(_) => Cow::from(percent_decode(path)),
    };
    if !path.starts_with(b"/") || leads_up(&path) {
        return Err(Bogus);
    }
    Ok(path)
}

/// Whether a component is `..`.
fn leads_up(path: &[u8]) -> bool {
    memchr::memmem::find_iter(path, b"/..").any(|at| matches!(path.get(at + 3), None | Some(b'/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_once_and_cuts_the_query() {
        for (target, path) in [
            ("/", "/"),
            ("/a/b.html?x=/../y", "/a/b.html"),
            ("/a%20b+c%2Fd", "/a b+c/d"),
            ("/%2525", "/%25"),
            ("/%zz%4", "/%zz%4"),
            ("/a%3Fb?c", "/a?b"),
            ("/a..b/..c/d../...", "/a..b/..c/d../..."),
        ] {
            assert_eq!(parse(target.as_bytes()), Ok(path.as_bytes().into()), "{target}");
        }
    }

    #[test]
    fn refuses_what_leads_up() {
        for target in [
            "/..",
            "/../",
            "/../a",
            "/a/../b",
            "/a/..",
            "/%2e%2e/a",
            "/a/.%2E",
            "/a%2f..%2fb",
            "*",
            "",
            "a",
        ] {
            assert_eq!(parse(target.as_bytes()), Err(Bogus), "{target}");
        }
    }
}
