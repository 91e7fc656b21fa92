//! HTTP/1.1 messages, read plainly: enough for honest clients and backends, and strict where the proxy must be.

use std::io::{BufRead, Read};

use anyhow::{Context, bail, ensure};

use crate::Result;

/// A whole message.
#[derive(Debug, Clone, Default)]
pub struct Message {
    /// The request line or the status line.
    pub start: String,
    /// Names as they came, values trimmed.
    pub headers: Vec<(String, String)>,
    /// Decoded.
    pub body: Vec<u8>,
}

/// How a message without a length ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A request has no body then.
    Request,
    /// A response lasts to the end of the connection.
    Response,
    /// A response that has no body whatever its head says: the answer to HEAD.
    Bodyless,
}

impl Message {
    /// Reads one; none where the connection ended before its first byte.
    ///
    /// # Errors
    /// When the connection breaks off in its midst, or it is no HTTP.
    pub fn read(from: &mut impl BufRead, kind: Kind) -> Result<Option<Self>> {
        let Some(start) = read_line(from)? else {
            return Ok(None);
        };
        let mut message = Self {
            start,
            ..Self::default()
        };
        loop {
            let line = read_line(from)?.context("the connection ended within a head")?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').context("a header line without a colon")?;
            message.headers.push((name.to_owned(), value.trim().to_owned()));
        }
        message.body = message.read_body(from, kind)?;
        Ok(Some(message))
    }

    fn read_body(&self, from: &mut impl BufRead, kind: Kind) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        let status = self.start.split(' ').nth(1).unwrap_or_default();
        if kind == Kind::Bodyless || kind == Kind::Response && matches!(status, "204" | "304") {
            return Ok(body);
        }
        if self
            .header("transfer-encoding")
            .is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
        {
            read_chunks(from, &mut body)?;
        } else if let Some(length) = self.header("content-length") {
            let length: u64 = length.parse().context("a content-length that is no number")?;
            let got = from.take(length).read_to_end(&mut body)?;
            ensure!(
                got as u64 == length,
                "the body ended after {got} of {length} bytes"
            );
        } else if kind == Kind::Response {
            from.read_to_end(&mut body)?;
        }
        Ok(body)
    }

    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The name of the node whose health check this request is; none where it is no check.
    pub fn checker(&self) -> Option<&str> {
        let agent = self.header("user-agent")?.strip_prefix("fleetbal-check/")?;
        agent.split_once(" (")?.1.strip_suffix(')')
    }

    /// Whether the other side closes after this message.
    pub fn closes(&self) -> bool {
        self.header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    /// The status of a response.
    ///
    /// # Errors
    /// When this is no response.
    pub fn status(&self) -> Result<u16> {
        let code = self.start.split(' ').nth(1).context("no status line")?;
        code.parse()
            .with_context(|| format!("no status in '{}'", self.start))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

fn read_chunks(from: &mut impl BufRead, body: &mut Vec<u8>) -> Result<()> {
    loop {
        let line = read_line(from)?.context("the connection ended within a chunked body")?;
        let digits = line.split(';').next().unwrap_or_default();
        let size = u64::from_str_radix(digits, 16).with_context(|| format!("no chunk size in '{line}'"))?;
        if size == 0 {
            break;
        }
        let got = from.take(size).read_to_end(body)?;
        ensure!(got as u64 == size, "a chunk ended after {got} of {size} bytes");
        let end = read_line(from)?;
        ensure!(end.as_deref() == Some(""), "a chunk without its line end");
    }
    while read_line(from)?.is_some_and(|trailer| !trailer.is_empty()) {}
    Ok(())
}

/// A line without its end; none at the end of the connection.
///
/// # Errors
/// When the connection fails or breaks off within a line.
pub fn read_line(from: &mut impl BufRead) -> Result<Option<String>> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let Some(stripped) = line.strip_suffix('\n') else {
        bail!("the connection ended within the line '{line}'");
    };
    Ok(Some(stripped.strip_suffix('\r').unwrap_or(stripped).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_lengths_chunks_and_broken_ends() {
        let mut two: &[u8] =
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        let first = Message::read(&mut two, Kind::Response).unwrap().unwrap();
        let second = Message::read(&mut two, Kind::Response).unwrap().unwrap();
        assert_eq!((first.text(), second.text()), ("hi".to_owned(), "abc".to_owned()));
        assert!(Message::read(&mut two, Kind::Response).unwrap().is_none());
        let mut cut: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi";
        assert!(Message::read(&mut cut, Kind::Response).is_err());
    }
}
