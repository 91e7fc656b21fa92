//! What a request target means below a docroot (Perlbal, reference section 6.1).

use std::borrow::Cow;

use percent_encoding::percent_decode;

/// A target that is no path of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Other<'a> {
    /// It leads out, or is none that could lead anywhere.
    Bogus,
    /// It names several files (section 6.3).
    Several(Several<'a>),
}

/// `/base/??one,other?query`: several files of one directory. Nothing of it is decoded yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Several<'a> {
    base: &'a [u8],
    names: &'a [u8],
}

/// The path of a target, decoded once; the query is not part of it.
#[inline]
pub(super) fn parse(target: &[u8]) -> Result<Cow<'_, [u8]>, Other<'_>> {
    let end = memchr::memchr(b'?', target).unwrap_or(target.len());
    let path = target.get(..end).unwrap_or_default();
    if let Some([b'?', b'?', names @ ..]) = target.get(end..) {
        let end = memchr::memchr(b'?', names).unwrap_or(names.len());
        let names = names.get(..end).unwrap_or_default();
        return Err(Other::Several(Several { base: path, names }));
    }
    let path = decode(path);
    if leads_somewhere(&path) {
        Ok(path)
    } else {
        Err(Other::Bogus)
    }
}

/// Whether a decoded path can lead anywhere.
#[inline]
pub(super) fn leads_somewhere(path: &[u8]) -> bool {
    path.starts_with(b"/") && !leads_up(path)
}

impl<'a> Several<'a> {
    /// The path of their directory; none if it is none that could lead anywhere.
    pub(super) fn base(self) -> Option<Cow<'a, [u8]>> {
        parse(self.base).ok()
    }

    /// Their paths below it, in order.
    pub(super) fn names(self) -> impl Iterator<Item = Cow<'a, [u8]>> {
        self.names.split(|byte| *byte == b',').map(decode)
    }
}

fn decode(path: &[u8]) -> Cow<'_, [u8]> {
    match memchr::memchr(b'%', path) {
        None => Cow::Borrowed(path),
        Some(_) => Cow::from(percent_decode(path)),
    }
}

/// Whether a component behind a slash is `..`.
pub(super) fn leads_up(path: &[u8]) -> bool {
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
            assert_eq!(parse(target.as_bytes()), Err(Other::Bogus), "{target}");
        }
    }

    #[test]
    fn several_files_have_one_base() {
        let parts = |target: &str| {
            let Err(Other::Several(several)) = parse(target.as_bytes()) else {
                return None;
            };
            let text = |bytes: Cow<'_, [u8]>| String::from_utf8(bytes.into_owned()).unwrap();
            Some((
                several.base().map(text),
                several.names().map(text).collect::<Vec<_>>(),
            ))
        };
        let some = |base: &str, names: &[&str]| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            Some((Some(base.to_owned()), names))
        };
        assert_eq!(parts("/a/??b,c/d"), some("/a/", &["b", "c/d"]));
        assert_eq!(parts("/??b?x??y"), some("/", &["b"]));
        assert_eq!(parts("/a%20/??b%2C,c"), some("/a /", &["b,", "c"]));
        assert_eq!(parts("/??"), some("/", &[""]));
        assert_eq!(parts("/../??a"), Some((None, vec!["a".to_owned()])));
        for one in ["/a?b??c", "/a%3F%3Fb", "/a?"] {
            assert_eq!(parts(one), None, "{one}");
        }
    }
}
