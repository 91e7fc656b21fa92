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
    /// Belongs to the connection, not to the message (RFC 9110, section 7.6.1).
    HopByHop,
}

impl Kind {
    /// By length first: most names are decided by it alone.
    #[inline]
    pub(super) fn of(name: &str) -> Self {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        match name.len() {
            2 if is("te") => Self::HopByHop,
            4 if is("host") => Self::Host,
            6 if is("expect") => Self::Expect,
            6 if is("x-host") => Self::ForwardedHost,
            7 if is("upgrade") => Self::HopByHop,
            10 if is("connection") => Self::Connection,
            10 if is("keep-alive") => Self::HopByHop,
            14 if is("content-length") => Self::ContentLength,
            15 if is("x-forwarded-for") => Self::ForwardedFor,
            16 if is("x-forwarded-host") => Self::ForwardedHost,
            16 if is("proxy-connection") => Self::HopByHop,
            17 if is("transfer-encoding") => Self::TransferEncoding,
            _ => Self::Other,
        }
    }
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

fn options(value: &[u8]) -> impl Iterator<Item = &[u8]> {
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
