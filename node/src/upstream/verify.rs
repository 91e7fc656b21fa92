//! Perlbal's verification: a backend that answers OPTIONS on a new connection, and keeps it, has a process free for
//! a client (reference, section 4.6).

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Lease;
use crate::http::{Body, MAX_HEAD, Method, ResponseHead, ResponseRules, response};

/// What came of a verification.
pub(super) enum Verification {
    /// The connection is good for a request.
    Passed(Lease),
    /// There was an answer, but the backend does not keep the connection.
    NotKept,
}

/// The longest answer with its body, in bytes.
const MAX_ANSWER: usize = MAX_HEAD + 65_536;

pub(super) async fn verify(mut lease: Lease, request: &[u8]) -> io::Result<Verification> {
    lease.io.write_all(request).await?;
    let mut answer = Vec::with_capacity(1024);
    loop {
        if answer.len() > MAX_ANSWER {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the answer is too long",
            ));
        }
        let ended = lease.io.read_buf(&mut answer).await? == 0;
        match read(&answer)? {
            Some((head, _)) if !head.backend_persists => return Ok(Verification::NotKept),
            Some((_, true)) => return Ok(Verification::Passed(lease)),
            _ if ended => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ => {}
        }
    }
}

/// The head of the final answer, and whether its body is there as well.
fn read(mut answer: &[u8]) -> io::Result<Option<(ResponseHead, bool)>> {
    let rules = ResponseRules {
        method: Method::Options,
        http11: true,
        keep_alive: None,
        reproxy: false,
    };
    let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    loop {
        let head = response::read(answer, rules, &mut Vec::new());
        let Some(head) = head.map_err(|error| invalid(error.to_string()))? else {
            return Ok(None);
        };
        answer = answer.get(head.length..).unwrap_or_default();
        if head.is_interim() {
            continue;
        }
        let mut body = Body::new(head.framing);
        let taken = body.take(answer).map_err(|error| invalid(error.to_string()))?;
        if taken < answer.len() {
            return Err(invalid("the backend said more than was asked".to_owned()));
        }
        return Ok(Some((head, body.is_done())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_answers() {
        let kept = |text: &str| {
            let read = read(text.replace('|', "\r\n").as_bytes()).ok()?;
            read.map(|(head, done)| (head.backend_persists, done))
        };
        assert_eq!(kept("HTTP/1.1 501 No|Content-Length: 2||ab"), Some((true, true)));
        assert_eq!(kept("HTTP/1.1 200 OK|Content-Length: 2||a"), Some((true, false)));
        assert_eq!(kept("HTTP/1.0 200 OK|Content-Length: 0||"), Some((false, true)));
        assert_eq!(
            kept("HTTP/1.0 200 OK|Connection: keep-alive|Content-Length: 0||"),
            Some((true, true))
        );
        assert_eq!(
            kept("HTTP/1.1 200 OK|Connection: close|Content-Length: 0||"),
            Some((false, true))
        );
        assert!(read(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nx").is_err());
        assert!(read(b"garbage").is_err());
        assert!(read(b"HTTP/1.1 200").unwrap().is_none());
    }
}
