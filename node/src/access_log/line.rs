//! Lines of access logs.

use std::io::Write;
use std::time::Duration;

use crate::clock;
use crate::snapshot::LogFormat;

/// A request that was answered.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// The client's address, as text.
    pub peer: &'a [u8],
    /// The head of the request, as the client sent it.
    pub head: &'a [u8],
    /// When the answer was through.
    pub time: &'a Stamp,
    /// The status code.
    pub status: u16,
    /// The Content-Length of the answer, 0 where it has none.
    pub length: u64,
    /// From the head of the request to the end of the answer.
    pub took: Duration,
    /// The service.
    pub service: &'a str,
    /// Its role.
    pub role: &'static str,
}

/// A second of local time, written down once.
#[derive(Debug, Default)]
pub struct Stamp {
    second: Option<u64>,
    /// As in Apache's logs: `23/Nov/2026:01:29:25 +0000`.
    apache: String,
    /// RFC 3339.
    rfc3339: String,
}

impl Stamp {
    /// Makes it this second, counted from 1970.
    pub fn set(&mut self, second: u64) {
        if self.second == Some(second) {
            return;
        }
        self.second = Some(second);
        self.apache = clock::local(second, "%d/%b/%Y:%H:%M:%S %z");
        self.rfc3339 = clock::local(second, "%Y-%m-%dT%H:%M:%S%:z");
    }
}

/// What a log tells of the head of a request.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked<'a> {
    request: &'a [u8],
    host: Option<&'a [u8]>,
    referer: Option<&'a [u8]>,
    agent: Option<&'a [u8]>,
    user: Option<Vec<u8>>,
}

impl<'a> Asked<'a> {
    /// Of a head that was found to be one.
    fn of(head: &'a [u8]) -> Self {
        // Empty lines before the request line do not count (RFC 9112, section 2.2).
        let start = head.iter().position(|byte| !matches!(byte, b'\r' | b'\n'));
        let mut rest = start.and_then(|start| head.get(start..)).unwrap_or_default();
        let mut asked = Self {
            request: next_line(&mut rest),
            ..Self::default()
        };
        while !rest.is_empty() {
            let line = next_line(&mut rest);
            let (place, name): (_, &[u8]) = match line.first() {
                Some(b'h' | b'H') => (&mut asked.host, b"host"),
                Some(b'r' | b'R') => (&mut asked.referer, b"referer"),
                Some(b'u' | b'U') => (&mut asked.agent, b"user-agent"),
                Some(b'a' | b'A') => {
                    if let Some(value) = value(line, b"authorization") {
                        asked.user = user(value);
                    }
                    continue;
                }
                _ => continue,
            };
            if place.is_none() {
                *place = value(line, name);
            }
        }
        asked
    }
}

fn next_line<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
    let line = rest.get(..end).unwrap_or_default();
    *rest = rest.get(end + 1..).unwrap_or_default();
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The value of a line with that name, if it has one.
fn value<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (is, value) = line.split_at_checked(name.len())?;
    let value = value.strip_prefix(b":")?.trim_ascii();
    (is.eq_ignore_ascii_case(name) && !value.is_empty()).then_some(value)
}

/// Who says to be who, by `Authorization: Basic`.
fn user(value: &[u8]) -> Option<Vec<u8>> {
    let (scheme, secret) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"Basic ") {
        return None;
    }
    let mut user = data_encoding::BASE64.decode(secret.trim_ascii()).ok()?;
    let end = memchr::memchr(b':', &user).unwrap_or(user.len());
    user.truncate(end);
    (!user.is_empty()).then_some(user)
}

impl Line<'_> {
    /// Appends the line, with its end.
    pub fn write(&self, format: LogFormat, out: &mut Vec<u8>) {
        let asked = Asked::of(self.head);
        match format {
            LogFormat::Perlbal => self.write_perlbal(&asked, out),
            LogFormat::Combined => {
                self.write_common(&asked, Quoted::Apache, out);
                write_client(&asked, Quoted::Apache, out);
            }
            LogFormat::Json => self.write_json(&asked, out),
        }
        out.push(b'\n');
    }

    fn write_perlbal(&self, asked: &Asked<'_>, out: &mut Vec<u8>) {
        // The request line is as it was sent; what stands in other quotes loses none.
        self.write_common(asked, Quoted::Raw, out);
        write_client(asked, Quoted::Marks, out);
        out.push(b' ');
        out.extend_from_slice(asked.host.unwrap_or(b"-"));
        out.push(b' ');
        self.write_seconds(out);
        for word in [self.service, self.role] {
            out.push(b' ');
            out.extend_from_slice(word.as_bytes());
        }
    }

    /// Up to the length.
    fn write_common(&self, asked: &Asked<'_>, quoted: Quoted, out: &mut Vec<u8>) {
        out.extend_from_slice(self.peer);
        out.extend_from_slice(b" - ");
        match &asked.user {
            Some(user) => write_word(user, out),
            None => out.push(b'-'),
        }
        out.extend_from_slice(b" [");
        out.extend_from_slice(self.time.apache.as_bytes());
        out.extend_from_slice(b"] ");
        quoted.write(asked.request, out);
        let mut digits = itoa::Buffer::new();
        out.push(b' ');
        out.extend_from_slice(digits.format(self.status).as_bytes());
        out.push(b' ');
        out.extend_from_slice(digits.format(self.length).as_bytes());
    }

    /// Three decimals.
    fn write_seconds(&self, out: &mut Vec<u8>) {
        let millis = (self.took.as_micros() + 500) / 1000;
        let mut digits = itoa::Buffer::new();
        out.extend_from_slice(digits.format(millis / 1000).as_bytes());
        out.push(b'.');
        let part = millis % 1000;
        for ten in [100, 10, 1] {
            out.push(b'0' + u8::try_from(part / ten % 10).unwrap_or_default());
        }
    }

    fn write_json(&self, asked: &Asked<'_>, out: &mut Vec<u8>) {
        let texts: [(&str, Option<&[u8]>); 6] = [
            ("peer", Some(self.peer)),
            ("user", asked.user.as_deref()),
            ("request", Some(asked.request)),
            ("referer", asked.referer),
            ("agent", asked.agent),
            ("host", asked.host),
        ];
        out.extend_from_slice(b"{\"time\":\"");
        out.extend_from_slice(self.time.rfc3339.as_bytes());
        out.push(b'"');
        for (name, text) in texts {
            out.extend_from_slice(b",\"");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":");
            let text = text.map(String::from_utf8_lossy);
            let written = serde_json::to_writer(&mut *out, &text);
            debug_assert!(written.is_ok(), "a vector takes everything");
        }
        let (status, length) = (self.status, self.length);
        let written = write!(out, ",\"status\":{status},\"length\":{length},\"seconds\":");
        debug_assert!(written.is_ok(), "a vector takes everything");
        self.write_seconds(out);
        let (service, role) = (self.service, self.role);
        let written = write!(out, ",\"service\":\"{service}\",\"role\":\"{role}\"}}");
        debug_assert!(written.is_ok(), "a vector takes everything");
    }
}

/// What the client says of itself.
fn write_client(asked: &Asked<'_>, quoted: Quoted, out: &mut Vec<u8>) {
    for value in [asked.referer, asked.agent] {
        out.push(b' ');
        quoted.write(value.unwrap_or(b"-"), out);
    }
}

/// How text stands between quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quoted {
    /// As it is.
    Raw,
    /// With `\"` for a quote.
    Marks,
    /// The same, with `\\` for a backslash, and what is not printable in hexadecimal digits.
    Apache,
}

impl Quoted {
    fn write(self, text: &[u8], out: &mut Vec<u8>) {
        out.push(b'"');
        let is_special = |byte: u8| match self {
            Self::Raw => false,
            Self::Marks => byte == b'"',
            Self::Apache => matches!(byte, b'"' | b'\\') || !(b' '..=b'~').contains(&byte),
        };
        if text.iter().any(|byte| is_special(*byte)) {
            for byte in text {
                match byte {
                    b'"' | b'\\' if is_special(*byte) => out.extend([b'\\', *byte]),
                    byte if is_special(*byte) => write_hex(*byte, out),
                    byte => out.push(*byte),
                }
            }
        } else {
            out.extend_from_slice(text);
        }
        out.push(b'"');
    }
}

/// Text that stands without quotes: nothing in it can look like the end of the field, or of the line.
fn write_word(text: &[u8], out: &mut Vec<u8>) {
    for byte in text {
        match byte {
            b'!'..=b'~' | 0x80.. => out.push(*byte),
            byte => write_hex(*byte, out),
        }
    }
}

fn write_hex(byte: u8, out: &mut Vec<u8>) {
    let written = write!(out, "\\x{byte:02x}");
    debug_assert!(written.is_ok(), "a vector takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 23 Nov 2026 01:29:25 in UTC.
    const SECOND: u64 = 1_795_397_365;

    fn written(format: LogFormat, head: &str) -> String {
        let mut time = Stamp::default();
        time.set(SECOND);
        // Whatever the zone of this machine is.
        time.apache = "23/Nov/2026:01:29:25 +0000".to_owned();
        time.rfc3339 = "2026-11-23T01:29:25+00:00".to_owned();
        let line = Line {
            peer: b"127.0.0.1",
            head: head.as_bytes(),
            time: &time,
            status: 200,
            length: 26,
            took: Duration::from_micros(1_499),
            service: "ws",
            role: "web_server",
        };
        let mut out = Vec::new();
        line.write(format, &mut out);
        String::from_utf8(out).unwrap()
    }

    const FULL: &str = "GET /hello.txt HTTP/1.1\r\nhOST: h:1\r\nAccept: a\r\nAuthorization: Basic dXNlcjpzM2NyZXQ=\r\n\
        Referer: http://r/\"x\r\nUser-Agent:  my \"ua\"\r\nReferer: 2\r\n\r\n";
    const LEAST: &str = "\r\nGET /nope?q=1 HTTP/1.0\r\n\r\n";

    /// The lines of the reference, section 8.3.
    #[test]
    fn the_line_of_the_talk() {
        assert_eq!(
            written(LogFormat::Perlbal, FULL),
            "127.0.0.1 - user [23/Nov/2026:01:29:25 +0000] \"GET /hello.txt HTTP/1.1\" 200 26 \"http://r/\\\"x\" \
             \"my \\\"ua\\\"\" h:1 0.001 ws web_server\n"
        );
        assert_eq!(
            written(LogFormat::Perlbal, LEAST),
            "127.0.0.1 - - [23/Nov/2026:01:29:25 +0000] \"GET /nope?q=1 HTTP/1.0\" 200 26 \"-\" \"-\" - 0.001 ws \
             web_server\n"
        );
    }

    #[test]
    fn other_formats() {
        let hostile = "GET /\\x\" HTTP/1.1\r\nHost: h\r\nUser-Agent: a\\\u{e9}\r\nReferer: \r\n\r\n";
        assert_eq!(
            written(LogFormat::Combined, hostile),
            "127.0.0.1 - - [23/Nov/2026:01:29:25 +0000] \"GET /\\\\x\\\" HTTP/1.1\" 200 26 \"-\" \"a\\\\\\xc3\\xa9\"\n"
        );
        assert_eq!(
            written(LogFormat::Combined, FULL),
            "127.0.0.1 - user [23/Nov/2026:01:29:25 +0000] \"GET /hello.txt HTTP/1.1\" 200 26 \"http://r/\\\"x\" \
             \"my \\\"ua\\\"\"\n"
        );
        assert_eq!(
            written(LogFormat::Json, FULL),
            "{\"time\":\"2026-11-23T01:29:25+00:00\",\"peer\":\"127.0.0.1\",\"user\":\"user\",\
             \"request\":\"GET /hello.txt HTTP/1.1\",\"referer\":\"http://r/\\\"x\",\"agent\":\"my \\\"ua\\\"\",\
             \"host\":\"h:1\",\"status\":200,\"length\":26,\"seconds\":0.001,\"service\":\"ws\",\
             \"role\":\"web_server\"}\n"
        );
        let line = written(LogFormat::Json, hostile);
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["agent"], "a\\\u{e9}");
        assert!(read["referer"].is_null() && read["user"].is_null());
    }

    #[test]
    fn a_user_cannot_forge_lines() {
        for (plain, shown) in [("a b\nc:x", "a\\x20b\\x0ac"), (":x", "-"), ("name", "name")] {
            let secret = data_encoding::BASE64.encode(plain.as_bytes());
            let head = format!("GET / HTTP/1.1\r\nAuthorization: basic {secret}\r\n\r\n");
            let line = written(LogFormat::Perlbal, &head);
            assert!(line.starts_with(&format!("127.0.0.1 - {shown} [")), "{line}");
            assert_eq!(line.matches('\n').count(), 1);
        }
        let head = "GET / HTTP/1.1\r\nAuthorization: Basic !\r\n\r\n";
        assert!(written(LogFormat::Perlbal, head).starts_with("127.0.0.1 - - ["));
    }

    #[test]
    fn a_second_is_written_in_local_time() {
        let mut time = Stamp::default();
        time.set(SECOND);
        let offset = time.apache.get(21..).unwrap();
        assert!(
            time.apache.len() == 26 && offset.starts_with(['+', '-']),
            "{time:?}"
        );
        // Both say the same.
        assert_eq!(time.apache.get(12..20), time.rfc3339.get(11..19));
        assert_eq!(offset, time.rfc3339.get(19..).unwrap().replace(':', ""));
    }
}
