//! One HTTP call to a node's management port, for what does not fit into lines.

use std::io::{self, Read, Write};
use std::time::Duration;

use super::{ANSWER, CONNECT, ClientError, Server, connect};

/// Room for the fields of an answer.
const FIELDS: usize = 64;

/// The most that an answer may have, in bytes: a backup is a change, and those are smaller.
const MOST: u64 = 64 * 1024 * 1024;

/// How long a body of 16 MiB may take to be taken.
const SEND: Duration = Duration::from_mins(1);

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
        let secret = self.secret()?;
        let authorization = secret
            .map(|secret| format!("Authorization: Bearer {secret}\r\n"))
            .unwrap_or_default();
        self.exchange_http((method, target), &authorization, body, (CONNECT, ANSWER))
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
