//! One HTTP call to a node's management port, for what does not fit into lines.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::{ANSWER, CONNECT, ClientError, Server, connect};

/// Room for the fields of an answer.
const FIELDS: usize = 64;

/// The most that an answer may have, in bytes: a backup is a change, and those are smaller.
const MOST: u64 = 64 * 1024 * 1024;

/// How long a body of 16 MiB may take to be taken.
const SEND: Duration = Duration::from_mins(1);

/// How long connecting and answering may take where somebody looks each second. A node that is dying is waited for by
/// the others for two.
const LOOK: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(10));

/// What a node answered to one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HttpAnswer {
    /// 200 and so on.
    pub(crate) status: u16,
    /// All of it.
    pub(crate) body: Vec<u8>,
}

impl HttpAnswer {
    /// What a refusal says.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim_end().to_owned()
    }
}

impl Server {
    /// Makes one call and reads its whole answer.
    pub(crate) fn call(&self, method: &str, target: &str, body: &[u8]) -> Result<HttpAnswer, ClientError> {
        let authorization = self.authorization()?;
        self.exchange_http((method, target), &authorization, body, (CONNECT, ANSWER))
    }

    /// Has command lines carried out, one after the other, by who looks often: it rather asks again than waits for long.
    pub(crate) fn commands(&self, lines: &[&str]) -> Result<HttpAnswer, ClientError> {
        let authorization = self.authorization()?;
        let call = ("POST", "/api/v1/command");
        self.exchange_http(call, &authorization, lines.join("\n").as_bytes(), LOOK)
    }

    /// The events from now on, or from behind the one that was read last; fails after such a silence. As a page of
    /// HTTP/1.0 they come without chunks.
    pub(crate) fn events(&self, last: Option<&str>, silence: Duration) -> io::Result<BufReader<TcpStream>> {
        let authorization = self.authorization().map_err(io::Error::other)?;
        let last = last
            .map(|id| format!("Last-Event-ID: {id}\r\n"))
            .unwrap_or_default();
        let stream = connect(&self.server, LOOK.0)?;
        stream.set_read_timeout(Some(silence))?;
        let host = stream.peer_addr()?;
        let head = format!("GET /api/v1/events HTTP/1.0\r\nHost: {host}\r\n{authorization}{last}\r\n");
        (&stream).write_all(head.as_bytes())?;
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line)?;
        if line.split(' ').nth(1) != Some("200") {
            return Err(io::Error::other(line.trim_end().to_owned()));
        }
        while line != "\r\n" {
            line.clear();
            if stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(stream)
    }

    fn authorization(&self) -> Result<String, ClientError> {
        let field = |secret| format!("Authorization: Bearer {secret}\r\n");
        Ok(self.secret()?.map(field).unwrap_or_default())
    }

    /// Reads a page that anybody may read; connecting and answering may take so long each.
    pub(crate) fn page(&self, target: &str, within: Duration) -> Result<HttpAnswer, ClientError> {
        self.exchange_http(("GET", target), "", b"", (within, within))
    }

    fn exchange_http(
        &self,
        call: (&str, &str),
        authorization: &str,
        body: &[u8],
        within: (Duration, Duration),
    ) -> Result<HttpAnswer, ClientError> {
        self.call_with(call, authorization, body, within)
            .map_err(|source| ClientError::NoAnswer {
                server: self.server.clone(),
                source,
            })
    }

    fn call_with(
        &self,
        (method, target): (&str, &str),
        authorization: &str,
        body: &[u8],
        (to_connect, to_answer): (Duration, Duration),
    ) -> io::Result<HttpAnswer> {
        let mut stream = connect(&self.server, to_connect)?;
        stream.set_read_timeout(Some(to_answer))?;
        stream.set_write_timeout(Some(SEND))?;
        let host = stream.peer_addr()?;
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: {host}\r\n{authorization}Connection: close\r\n\
             Content-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let mut answer = Vec::new();
        stream.take(MOST).read_to_end(&mut answer)?;
        parse(&answer)
    }
}

/// An answer that ends with its connection: whether all of it came, its length tells.
fn parse(bytes: &[u8]) -> io::Result<HttpAnswer> {
    let broken = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let parsed = response.parse(bytes).map_err(io::Error::other)?;
    let httparse::Status::Complete(head) = parsed else {
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    let length = response
        .headers
        .iter()
        .find(|field| field.name.eq_ignore_ascii_case("content-length"))
        .and_then(|field| std::str::from_utf8(field.value).ok()?.parse().ok());
    let body = bytes.get(head..).unwrap_or_default().to_vec();
    if length != Some(body.len()) {
        return Err(broken("the answer did not come in full"));
    }
    Ok(HttpAnswer {
        status: response.code.unwrap_or_default(),
        body,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_only_as_a_whole() {
        let whole = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc";
        let answer = parse(whole).unwrap();
        assert_eq!((answer.status, answer.text()), (200, "abc".to_owned()));
        for cut in 0..whole.len() {
            assert!(parse(&whole[..cut]).is_err(), "cut at {cut}");
        }
        assert!(parse(b"Perlbal\r\n").is_err());
    }
}
