//! One check of a backend: a connection of its own, a question where there is one, and what came of it.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fleetbal_raft::model::{BackendAddress, Expect, HealthRules};
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::health::{Failure, Seen};
use crate::http::{Body, MAX_HEAD, Method, ResponseHead, ResponseRules, response};
use crate::snapshot::BackendState;

/// How much of a body is looked through for a text.
const SEARCHED: usize = 64 * 1024;

/// A check to be made.
#[derive(Debug, Clone)]
pub(super) struct Check {
    pub(super) address: BackendAddress,
    /// The very backends, one for each pool that asks the same of this address: one that was removed and added again is
    /// another.
    pub(super) of: Vec<Arc<BackendState>>,
    pub(super) how: How,
    pub(super) timeout: Duration,
    /// Who asks.
    pub(super) node: Arc<str>,
}

/// What is asked.
#[derive(Debug, Clone)]
pub(super) enum How {
    /// Nothing: that it accepts a connection is enough.
    Connect,
    /// What verifies a connection: any proper answer will do.
    Verify(Arc<[u8]>),
    /// By the pool's rules.
    Http(HealthRules),
}

/// Makes it. None: what went wrong says nothing about the backend.
pub(super) async fn probe(check: &Check) -> Option<Seen> {
    let started = Instant::now();
    match timeout(check.timeout, ask(check)).await {
        Err(_) => {
            let seconds = check.timeout.as_secs_f64();
            Some(Seen::Down(Failure::other(format!(
                "no answer to the check within {seconds} s"
            ))))
        }
        Ok(Ok(())) => Some(Seen::Up(Some(started.elapsed()))),
        Ok(Err(Trouble::Backend(failure))) => Some(Seen::Down(failure)),
        Ok(Err(Trouble::Here)) => None,
    }
}

enum Trouble {
    /// The backend failed.
    Backend(Failure),
    /// This machine did.
    Here,
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Failure::of_connect(&error).map_or(Self::Here, Self::Backend)
    }
}

fn bad(reason: impl Into<String>) -> Trouble {
    Trouble::Backend(Failure::other(reason))
}

async fn ask(check: &Check) -> Result<(), Trouble> {
    let address = check.address.socket();
    let io = TcpStream::connect(address).await?;
    match &check.how {
        How::Connect => Ok(()),
        How::Verify(request) => {
            let mut answer = Answer::of(io, request, Method::Options).await?;
            answer.head().await.map(drop)
        }
        How::Http(rules) => {
            let method = match rules.method.as_str() {
                "GET" => Method::Get,
                "HEAD" => Method::Head,
                "OPTIONS" => Method::Options,
                _ => Method::Other,
            };
            let request = request(rules, check);
            let mut answer = Answer::of(io, request.as_bytes(), method).await?;
            let head = answer.head().await?;
            match &rules.expect {
                Expect::Text(text) => answer.find(head, text.as_bytes()).await,
                expect @ Expect::Status(_) if expect.accepts(head.status) => Ok(()),
                Expect::Status(_) => Err(bad(format!("the check was answered {}", head.status))),
            }
        }
    }
}

fn request(rules: &HealthRules, check: &Check) -> String {
    let path = rules.path.as_deref().unwrap_or("/");
    let address = check.address.to_string();
    let host = rules.host.as_deref().unwrap_or(&address);
    let method = &rules.method;
    let (release, node) = (env!("CARGO_PKG_VERSION"), &check.node);
    format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: fleetbal-check/{release} ({node})\r\nConnection: close\r\n\r\n"
    )
}

/// An answer as it comes.
struct Answer {
    io: TcpStream,
    method: Method,
    input: Vec<u8>,
}

impl Answer {
    /// Asks.
    async fn of(mut io: TcpStream, request: &[u8], method: Method) -> Result<Self, Trouble> {
        io.write_all(request)
            .await
            .map_err(|_| bad("it closed the connection of the check"))?;
        let input = Vec::with_capacity(1024);
        Ok(Self { io, method, input })
    }

    /// The head of the final answer; what followed it is left in the input.
    async fn head(&mut self) -> Result<ResponseHead, Trouble> {
        let rules = ResponseRules {
            method: self.method,
            http11: true,
            keep_alive: None,
            reproxy: false,
        };
        loop {
            let head = response::read(&self.input, rules, &mut Vec::new());
            match head.map_err(|error| bad(error.to_string()))? {
                Some(head) => {
                    self.input.drain(..head.length.min(self.input.len()));
                    if !head.is_interim() {
                        return Ok(head);
                    }
                }
                None if self.input.len() > 2 * MAX_HEAD => return Err(bad("the check's answer is too long")),
                None if self.more().await? == 0 => {
                    return Err(bad("it closed the connection without an answer to the check"));
                }
                None => {}
            }
        }
    }

    async fn more(&mut self) -> Result<usize, Trouble> {
        let read = self.io.read_buf(&mut self.input).await;
        read.map_err(|_| bad("it broke the connection of the check"))
    }

    /// Looks for a text in the body's first bytes.
    async fn find(&mut self, head: ResponseHead, text: &[u8]) -> Result<(), Trouble> {
        let mut body = Body::new(head.framing);
        let mut content = Vec::new();
        loop {
            // Where a match may begin that was not all there the last time.
            let from = content.len().saturating_sub(text.len());
            let taken = body.take_content(&self.input, &mut content);
            let taken = taken.map_err(|error| bad(error.to_string()))?;
            self.input.drain(..taken.min(self.input.len()));
            content.truncate(SEARCHED);
            if memmem::find(content.get(from..).unwrap_or_default(), text).is_some() {
                return Ok(());
            }
            if body.is_done() || content.len() >= SEARCHED || self.more().await? == 0 {
                return Err(bad("the text that is expected is not in the check's answer"));
            }
        }
    }
}

#[cfg(test)]
#[path = "probe_tests.rs"]
mod tests;
