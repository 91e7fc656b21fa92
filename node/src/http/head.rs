//! Heads of requests as they go to a backend, read again: for whoever has to know more of one than its framing.

/// A head in canonical form, as [`request::read`](super::request::read) writes it. Reading another one is safe, but
/// may find too little in it.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    first_line: &'a [u8],
    fields: &'a [u8],
}

impl<'a> Head<'a> {
    /// The head at the start of these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        let (first_line, fields) = next_line(bytes);
        Self { first_line, fields }
    }

    /// The request line, without its end.
    pub(super) fn first_line(self) -> &'a [u8] {
        self.first_line
    }

    /// The method, as it was spelled.
    pub fn method(self) -> &'a [u8] {
        let end = memchr::memchr(b' ', self.first_line).unwrap_or_default();
        self.first_line.get(..end).unwrap_or_default()
    }

    /// The request target: path and query, or `*`.
    pub fn target(self) -> &'a [u8] {
        let mut words = self.first_line.split(|byte| *byte == b' ');
        words.nth(1).unwrap_or_default()
    }

    /// All fields in order, as name and value.
    pub fn fields(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let mut rest = self.fields;
        std::iter::from_fn(move || {
            let (line, after) = next_line(rest);
            rest = after;
            let colon = memchr::memchr(b':', line)?;
            let (name, value) = line.split_at_checked(colon)?;
            Some((name, value.strip_prefix(b": ").unwrap_or_default()))
        })
    }

    /// The value of the first field of that name, in any case.
    pub fn field(self, name: &str) -> Option<&'a [u8]> {
        self.all(name).next()
    }

    /// The values of all fields of that name, in any case.
    pub fn all(self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.fields()
            .filter(move |(is, _)| is.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }

    /// All cookies, as name and value; neither is decoded.
    pub fn cookies(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.all("Cookie")
            .flat_map(|value| value.split(|byte| *byte == b';'))
            .filter_map(|cookie| {
                let cookie = cookie.trim_ascii();
                let (name, value) = cookie.split_at_checked(memchr::memchr(b'=', cookie)?)?;
                Some((name, value.get(1..)?))
            })
    }
}

/// The first line, without its end, and what follows it.
fn next_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr::memchr(b'\n', bytes).unwrap_or(bytes.len());
    let line = bytes.get(..end).unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    (line, bytes.get(end + 1..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] =
        b"PUT /a?b HTTP/1.1\r\nHost: h\r\nA: \r\nCookie: a=1; b ; c=d=e;\r\na: 2\r\ncookie:  x=\r\n\
        \r\nT: not a field\r\n";

    #[test]
    fn reads_what_is_in_it() {
        let head = Head::new(HEAD);
        assert_eq!(head.method(), b"PUT");
        assert_eq!(head.target(), b"/a?b");
        assert_eq!(head.field("hOST"), Some(&b"h"[..]));
        assert_eq!(head.all("A").collect::<Vec<_>>(), [&b""[..], b"2"]);
        assert_eq!(head.field("T"), None);
        assert_eq!(head.fields().count(), 5);
        let cookies: Vec<_> = head.cookies().collect();
        assert_eq!(cookies, [(&b"a"[..], &b"1"[..]), (b"c", b"d=e"), (b"x", b"")]);
    }

    #[test]
    fn finds_nothing_in_nothing() {
        for bytes in [&b""[..], b"\r\n", b"x", b"\n\n:"] {
            let head = Head::new(bytes);
            assert_eq!((head.target(), head.field("")), (&b""[..], None), "{bytes:?}");
        }
    }
}
