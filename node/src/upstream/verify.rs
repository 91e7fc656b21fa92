//! Perlbal's verification: a backend that answers OPTIONS on a new connection, and keeps it, has a process free for
//! a client (reference, section 4.6).

use std::io;
use std::sync::Arc;

use fleetbal_raft::model::ServiceName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Lease;
use crate::http::{Body, MAX_HEAD, Method, ResponseHead, ResponseRules, response};
use crate::plugin::{Asked, Facts, Hooks, Outcome, Point, RequestContext};

/// How the connections of a service are verified.
#[derive(Debug, Clone)]
pub struct Verifier {
    /// The request that is sent.
    pub request: Arc<[u8]>,
    /// The service.
    pub service: ServiceName,
    /// Its plugins, if any of them is asked about that.
    pub hooks: Option<Arc<Hooks>>,
}

/// A verification as plugins see it.
struct Seen<'a> {
    hooks: &'a Hooks,
    context: RequestContext,
}

/// What came of a verification.
pub(super) enum Verification {
    /// The connection is good for a request.
    Passed(Lease),
    /// A plugin has it used as it is.
    Spared(Lease),
    /// There was an answer, but the backend does not keep the connection.
    NotKept,
}

/// The longest answer with its body, in bytes.
const MAX_ANSWER: usize = MAX_HEAD + 65_536;

pub(super) async fn verify(mut lease: Lease, verifier: &Verifier) -> io::Result<Verification> {
    let mut seen = verifier.seen(&lease);
    let mut request = &*verifier.request;
    if let Some(seen) = &mut seen {
        if seen.is_good(Point::BackendWriteVerify).await? {
            return Ok(Verification::Spared(lease));
        }
        if seen.context.is_edited() {
            request = seen.context.head_bytes();
        }
    }
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
        let mut fields = Vec::new();
        let read = read(&answer, &mut fields)?;
        if let (Some(seen), Some((head, true))) = (&mut seen, &read) {
            seen.context.put_response(head.status, fields);
            // One that is closed now is none, whoever likes it.
            if seen.is_good(Point::BackendReadableVerify).await? && head.backend_persists {
                return Ok(Verification::Passed(lease));
            }
        }
        match read {
            Some((head, _)) if !head.backend_persists => return Ok(Verification::NotKept),
            Some((_, true)) => return Ok(Verification::Passed(lease)),
            _ if ended => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ => {}
        }
    }
}

impl Verifier {
    fn seen(&self, lease: &Lease) -> Option<Seen<'_>> {
        let hooks = self.hooks.as_deref()?;
        let facts = Facts {
            service: Some(self.service.clone()),
            ..Facts::default()
        };
        let mut context = RequestContext::new(facts, &self.request, None);
        context.assign(lease.backend().address());
        Some(Seen { hooks, context })
    }
}

impl Seen<'_> {
    /// Whether a plugin says at this point that the connection is good; else nobody has said anything.
    ///
    /// # Errors
    /// When a plugin says that it is not.
    async fn is_good(&mut self, point: Point) -> io::Result<bool> {
        let (hooks, context) = (self.hooks, &mut self.context);
        match (Asked { hooks, context }).ask(point).await {
            Outcome::Next
            | Outcome::Wait(_)
            | Outcome::Fetch(_)
            | Outcome::Collect(_)
            | Outcome::Stream(_)
            | Outcome::Service(_) => Ok(false),
            Outcome::Answer(answer) if answer.status < 400 => Ok(true),
            Outcome::Answer(_) | Outcome::Close => Err(io::Error::other("a plugin refuses it")),
        }
    }
}

/// The head of the final answer, and whether its body is there as well.
fn read(mut answer: &[u8], fields: &mut Vec<u8>) -> io::Result<Option<(ResponseHead, bool)>> {
    let rules = ResponseRules {
        method: Method::Options,
        http11: true,
        keep_alive: None,
        reproxy: false,
    };
    let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    loop {
        fields.clear();
        let head = response::read(answer, rules, fields);
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
            let read = read(text.replace('|', "\r\n").as_bytes(), &mut Vec::new()).ok()?;
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
        assert!(read(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nx", &mut Vec::new()).is_err());
        assert!(read(b"garbage", &mut Vec::new()).is_err());
        assert!(read(b"HTTP/1.1 200", &mut Vec::new()).unwrap().is_none());
    }
}
