//! The fields of a head: which of them matter on the way, and how the others are copied.

use httparse::Header;

/// What a field is to a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing: it goes through.
    Other,
    /// `Connection`.
    Connection,
    /// `Content-Length`.
    ContentLength,
    /// `Transfer-Encoding`.
    TransferEncoding,
    /// `Host`.
    Host,
    /// `Expect`.
    Expect,
    /// `X-Forwarded-For`.
    ForwardedFor,
    /// `X-Forwarded-Host` and `X-Host`, which say what only a trusted peer may say.
    ForwardedHost,
    /// `X-Forwarded-Proto`.
    ForwardedProto,
    /// `Keep-Alive`, which goes no further either.
    KeepAlive,
    /// Belongs to the connection, not to the message (RFC 9110, section 7.6.1).
    HopByHop,
    /// `Trailer`, which announces what follows the last chunk.
    Trailer,
    /// Not one of those that matter here, but one to whoever takes `_` for `-`, as CGI does (RFC 3875, section
    /// 4.1.18): what only this node may say would be said by the client.
    Lookalike,
}

impl Kind {
    /// By length and first letter: for most names they decide alone.
    #[inline]
    pub(super) fn of(name: &str) -> Self {
        let bytes = name.as_bytes();
        let first = bytes.first().map_or(0, |byte| byte | 0x20);
        match (name.len(), first) {
            (2, b't') if is(bytes, b"te") => Self::HopByHop,
            (4, b'h') if is(bytes, b"host") => Self::Host,
            (6, b'e') if is(bytes, b"expect") => Self::Expect,
            (6, b'x') if is(bytes, b"x-host") => Self::ForwardedHost,
            (7, b't') if is(bytes, b"trailer") => Self::Trailer,
            (7, b'u') if is(bytes, b"upgrade") => Self::HopByHop,
            (10, b'c') if is(bytes, b"connection") => Self::Connection,
            (10, b'k') if is(bytes, b"keep-alive") => Self::KeepAlive,
            (14, b'c') if is(bytes, b"content-length") => Self::ContentLength,
            (15, b'x') if is(bytes, b"x-forwarded-for") => Self::ForwardedFor,
            (16, b'x') if is(bytes, b"x-forwarded-host") => Self::ForwardedHost,
            (16, b'p') if is(bytes, b"proxy-connection") => Self::HopByHop,
            (17, b't') if is(bytes, b"transfer-encoding") => Self::TransferEncoding,
            (6 | 15..=17, b'x') | (14, b'c') | (17, b't') => Self::of_other(name),
            _ => Self::Other,
        }
    }

    /// The kind of a name that hardly anybody sends.
    #[cold]
    fn of_other(name: &str) -> Self {
        if is(name.as_bytes(), b"x-forwarded-proto") {
            return Self::ForwardedProto;
        }
        let known = [
            "x-host",
            "content-length",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
            "transfer-encoding",
        ];
        let name = name.replace('_', "-");
        if known.iter().any(|known| name.eq_ignore_ascii_case(known)) {
            Self::Lookalike
        } else {
            Self::Other
        }
    }
}

/// Whether a field name is this known one, which is in lower case. Of the bytes that a name may have, only letters
/// become those of a known one by a bit; all are looked at together.
#[inline]
fn is<const N: usize>(name: &[u8], known: &[u8; N]) -> bool {
    <&[u8; N]>::try_from(name).is_ok_and(|name| {
        let differences = name.iter().zip(known).map(|(byte, known)| (byte | 0x20) ^ known);
        differences.fold(0, |all, one| all | one) == 0
    })
}

/// After how many idle seconds a connection is closed, as its `Keep-Alive` says.
pub fn announced_timeout(keep_alive: &[u8]) -> Option<u64> {
    let parameters = keep_alive.split(|byte| *byte == b',');
    let seconds = parameters.filter_map(|parameter| parameter.trim_ascii().strip_prefix(b"timeout="));
    seconds
        .filter_map(|seconds| std::str::from_utf8(seconds).ok()?.parse().ok())
        .min()
}

/// Bytes of a field name (RFC 9110, section 5.6.2).
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// What all `Connection` fields of a head say.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ConnectionOptions {
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    /// Whether an option names anything else: fields of that name go no further.
    names_others: bool,
}

impl ConnectionOptions {
    pub(super) fn add(&mut self, value: &[u8]) {
        if value.eq_ignore_ascii_case(b"keep-alive") {
            // What most say, and all that they say.
            self.keep_alive = true;
            return;
        }
        for option in options(value) {
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if !option.is_empty() && !option.eq_ignore_ascii_case(b"upgrade") {
                self.names_others = true;
            }
        }
    }

    /// Whether a `Connection` field of this head names the field.
    #[inline]
    pub(super) fn names(self, name: &str, fields: &[Header<'_>]) -> bool {
        self.names_others
            && fields
                .iter()
                .filter(|field| Kind::of(field.name) == Kind::Connection)
                .flat_map(|field| options(field.value))
                .any(|option| option.eq_ignore_ascii_case(name.as_bytes()))
    }

    /// Whether the connection stays open, by the version of the message.
    pub(super) fn keeps(self, http11: bool) -> bool {
        !self.close && (http11 || self.keep_alive)
    }
}

/// The elements of a list, which may be empty.
pub(super) fn options(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// All transfer codings of a head, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Codings {
    /// No such field.
    #[default]
    None,
    /// `chunked` alone.
    Chunked,
    /// Others, `chunked` not among them.
    Unframed,
    /// Others, then `chunked`.
    CodedAndChunked,
    /// An empty one, or `chunked` where it may not be.
    Invalid,
}

impl Codings {
    pub(super) fn add(&mut self, value: &[u8]) {
        for coding in options(value) {
            let chunked = coding.eq_ignore_ascii_case(b"chunked");
            *self = match self {
                _ if coding.is_empty() => Self::Invalid,
                Self::None if chunked => Self::Chunked,
                Self::Unframed if chunked => Self::CodedAndChunked,
                Self::None | Self::Unframed => Self::Unframed,
                Self::Chunked | Self::CodedAndChunked | Self::Invalid => Self::Invalid,
            };
        }
    }
}

/// Reads one `Content-Length`: digits alone.
pub(super) fn content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Copies fields to an output; neighbours whose bytes are canonical already go in one piece.
#[derive(Debug)]
pub(super) struct Copier<'a> {
    input: &'a [u8],
    start: usize,
    end: usize,
}

impl<'a> Copier<'a> {
    /// Copies from `input`, which the fields must have been parsed from.
    pub(super) fn new(input: &'a [u8]) -> Self {
        Self {
            input,
            start: 0,
            end: 0,
        }
    }

    /// Copies a field, as `Name: value` and CRLF.
    #[inline]
    pub(super) fn copy(&mut self, field: &Header<'a>, out: &mut Vec<u8>) {
        let base = self.input.as_ptr().addr();
        let name_start = field.name.as_ptr().addr().wrapping_sub(base);
        let name_end = name_start.wrapping_add(field.name.len());
        let value_start = field.value.as_ptr().addr().wrapping_sub(base);
        let value_end = value_start.wrapping_add(field.value.len());
        let line_end = value_end.wrapping_add(2);
        let canonical = value_start == name_end.wrapping_add(2)
            && self.input.get(name_end..value_start) == Some(b": ")
            && self.input.get(value_end..line_end) == Some(b"\r\n");
        if !canonical {
            self.flush(out);
            write_field(field.name.as_bytes(), field.value, out);
            return;
        }
        if self.end != name_start {
            self.flush(out);
            self.start = name_start;
        }
        self.end = line_end;
    }

    /// Writes what is still to be written. Before anything else goes to the output, and at the end.
    #[inline]
    pub(super) fn flush(&mut self, out: &mut Vec<u8>) {
        if let Some(run) = self.input.get(self.start..self.end) {
            out.extend_from_slice(run);
        }
        self.start = self.end;
    }
}

pub(super) fn write_field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts() {
        let told = |value: &str| announced_timeout(value.as_bytes());
        assert_eq!(told("timeout=5, max=100"), Some(5));
        assert_eq!(told("max=100,timeout=7,timeout=6"), Some(6));
        for other in ["", "max=5", "timeout", "timeout=", "timeout=x", "timeout=-1"] {
            assert_eq!(told(other), None, "{other}");
        }
    }

    #[test]
    fn kinds_by_name_in_any_case() {
        let known = [
            ("TE", Kind::HopByHop),
            ("Host", Kind::Host),
            ("Expect", Kind::Expect),
            ("X-Host", Kind::ForwardedHost),
            ("Trailer", Kind::Trailer),
            ("Upgrade", Kind::HopByHop),
            ("Connection", Kind::Connection),
            ("Keep-Alive", Kind::KeepAlive),
            ("Content-Length", Kind::ContentLength),
            ("X-Forwarded-For", Kind::ForwardedFor),
            ("X-Forwarded-Host", Kind::ForwardedHost),
            ("X-Forwarded-Proto", Kind::ForwardedProto),
            ("Proxy-Connection", Kind::HopByHop),
            ("Transfer-Encoding", Kind::TransferEncoding),
        ];
        for (name, kind) in known {
            for same in [name.to_owned(), name.to_lowercase(), name.to_uppercase()] {
                assert_eq!(Kind::of(&same), kind, "{same}");
            }
            // Any other byte at any place makes another name of it.
            for at in 0..name.len() {
                for byte in (0..=127_u8).filter(|byte| is_token(*byte)) {
                    let mut other = name.to_owned().into_bytes();
                    let same = other[at].eq_ignore_ascii_case(&byte);
                    other[at] = byte;
                    let other = String::from_utf8(other).unwrap();
                    let got = Kind::of(&other);
                    assert_eq!(got == kind, same, "{other}");
                    assert!(same || matches!(got, Kind::Other | Kind::Lookalike), "{other}");
                }
            }
        }
        assert_eq!(Kind::of(""), Kind::Other);
    }

    #[test]
    fn transfer_codings() {
        let read = |values: &[&str]| {
            let mut codings = Codings::default();
            for value in values {
                codings.add(value.as_bytes());
            }
            codings
        };
        assert_eq!(read(&[]), Codings::None);
        assert_eq!(read(&["Chunked"]), Codings::Chunked);
        assert_eq!(read(&["gzip, chunked"]), Codings::CodedAndChunked);
        assert_eq!(read(&["gzip", "chunked"]), Codings::CodedAndChunked);
        assert_eq!(read(&["gzip"]), Codings::Unframed);
        assert_eq!(read(&["identity"]), Codings::Unframed);
        assert_eq!(read(&["chunked;q=1"]), Codings::Unframed);
        for bad in [
            &["chunked, chunked"][..],
            &["chunked", "gzip"],
            &[""],
            &[",chunked"],
        ] {
            assert_eq!(read(bad), Codings::Invalid, "{bad:?}");
        }
    }

    #[test]
    fn lengths() {
        assert_eq!(content_length(b"0"), Some(0));
        assert_eq!(content_length(b"18446744073709551615"), Some(u64::MAX));
        for bad in ["", "+1", "-1", "1 ", "1,1", "0x1", "18446744073709551616"] {
            assert_eq!(content_length(bad.as_bytes()), None, "{bad}");
        }
    }
}
