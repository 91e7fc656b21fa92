//! One URL: a request to its target, and the head of the answer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::targets::{IDLE, Lease, Targets};
use super::url::Url;
use super::{ExpectedSize, number};
use crate::http::{Body, Framing, Head, Method, ResponseHead, ResponseRules, announced_timeout, response};

/// A connection is not used again so shortly before the target closes it (Perlbal's value).
const BEFORE_CLOSE: Duration = Duration::from_secs(2);

/// What is asked of a target.
#[derive(Debug, Clone, Copy)]
pub(super) struct Query<'a> {
    /// GET or HEAD, whatever the client said.
    pub(super) method: Method,
    /// Whether the client speaks HTTP/1.1; only then may the answer be chunks.
    pub(super) http11: bool,
    /// The client's `Host`.
    pub(super) host: Option<&'a [u8]>,
    /// The client's `Range`, of one range.
    pub(super) range: Option<&'a [u8]>,
    /// The size that all of it must have: X-REPROXY-EXPECTED-SIZE.
    pub(super) expected: Option<ExpectedSize>,
}

/// Where connections come from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) targets: &'a Arc<Targets>,
    /// The most connections to the target; none: any number.
    pub(super) limit: Option<usize>,
    /// The client's descriptor.
    pub(super) client: i32,
}

/// A target's answer, but for most of its body.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) lease: Lease,
    pub(super) head: ResponseHead,
    /// The head in canonical form.
    fields: Vec<u8>,
    /// What has come behind it.
    pub(super) after: Vec<u8>,
    /// How long the connection can be idle.
    idle_for: Duration,
}

/// Why a URL is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error(transparent)]
    Target(#[from] super::targets::TargetError),
    #[error("no answer")]
    Io(#[from] io::Error),
    #[error("the answer is not valid")]
    Invalid,
    #[error("the answer is a {0}")]
    Status(u16),
    #[error("it has another size than expected")]
    Size,
}

/// Asks a target. A connection that was kept may have been closed meanwhile: then there is another.
pub(super) async fn fetch(url: &Url, query: Query<'_>, place: Place<'_>) -> Result<Fetched, FetchError> {
    let request = query.request(&url.path);
    loop {
        let lease = place
            .targets
            .lease(&url.target, place.limit, place.client)
            .await?;
        let is_used = lease.is_used;
        let mut input = Vec::new();
        match ask(lease, &request, query, &mut input).await {
            Err(FetchError::Io(_)) if is_used && input.is_empty() => {}
            Err(error) => return Err(error),
            Ok(fetched) => {
                let Err(error) = fetched.check(query) else {
                    return Ok(fetched);
                };
                fetched.give_up();
                return Err(error);
            }
        }
    }
}

async fn ask(
    mut lease: Lease,
    request: &[u8],
    query: Query<'_>,
    input: &mut Vec<u8>,
) -> Result<Fetched, FetchError> {
    lease.io.write_all(request).await?;
    let rules = ResponseRules {
        method: query.method,
        http11: query.http11,
        keep_alive: None,
        reproxy: false,
    };
    let mut fields = Vec::new();
    loop {
        if lease.io.read_buf(input).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        while let Some(head) = response::read(input, rules, &mut fields).map_err(|_| FetchError::Invalid)? {
            let after = input.split_off(head.length.min(input.len()));
            let raw = std::mem::replace(input, after);
            if head.is_interim() {
                continue;
            }
            lease.is_answered();
            return Ok(Fetched {
                lease,
                head,
                fields,
                after: std::mem::take(input),
                idle_for: idle_for(response::field(&raw, "Keep-Alive")),
            });
        }
    }
}

/// How long a connection may be idle, by what its target announced.
fn idle_for(keep_alive: Option<&[u8]>) -> Duration {
    match keep_alive.and_then(announced_timeout) {
        Some(seconds) => Duration::from_secs(seconds)
            .saturating_sub(BEFORE_CLOSE)
            .min(IDLE),
        None => IDLE,
    }
}

impl Query<'_> {
    /// Nothing of the client goes to a target but its `Host` and `Range`: no cookies, no addresses.
    fn request(&self, path: &str) -> Vec<u8> {
        let method = if self.method == Method::Head {
            "HEAD "
        } else {
            "GET "
        };
        // A request without a host is none of HTTP/1.1.
        let version = if self.host.is_some() {
            " HTTP/1.1"
        } else {
            " HTTP/1.0"
        };
        let mut request = [method, path, version, "\r\nConnection: keep-alive\r\n"]
            .concat()
            .into_bytes();
        for (name, value) in [("Range: ", self.range), ("Host: ", self.host)] {
            if let Some(value) = value {
                request.extend_from_slice(&[name.as_bytes(), value, b"\r\n"].concat());
            }
        }
        request.extend_from_slice(b"\r\n");
        request
    }
}

impl Fetched {
    /// The target's head, in canonical form.
    pub(super) fn fields(&self) -> &[u8] {
        &self.fields
    }

    /// A field of the target's.
    pub(super) fn field(&self, name: &str) -> Option<&[u8]> {
        Head::new(&self.fields).field(name)
    }

    /// Whether it is a part, or says that there is none.
    pub(super) fn is_part(&self) -> bool {
        matches!(self.head.status, 206 | 416)
    }

    /// How the body ends that the client gets, and whether it gets the content of chunks in place of them.
    pub(super) fn framing(&self, method: Method) -> (Framing, bool) {
        let length = self.field("Content-Length").and_then(number);
        match self.head.framing {
            Framing::Chunked if self.head.dechunk => (Framing::UntilClose, true),
            Framing::Empty if method == Method::Head => {
                (length.map_or(Framing::UntilClose, Framing::Length), false)
            }
            framing @ (Framing::Empty | Framing::Length(_) | Framing::Chunked | Framing::UntilClose) => {
                (framing, false)
            }
        }
    }

    fn check(&self, query: Query<'_>) -> Result<(), FetchError> {
        match self.head.status {
            206 | 416 if query.range.is_none() => return Err(FetchError::Status(self.head.status)),
            206 if self.field("Content-Range").is_none() => return Err(FetchError::Invalid),
            200..=299 | 416 => {}
            status => return Err(FetchError::Status(status)),
        }
        let Some(expected) = query.expected else {
            return Ok(());
        };
        let whole = if self.is_part() {
            let of = self
                .field("Content-Range")
                .and_then(|range| range.rsplit(|byte| *byte == b'/').next());
            of.and_then(number)
        } else {
            self.field("Content-Length").and_then(number)
        };
        // A target need not say the size of what it has no part of.
        match whole {
            Some(whole) if expected.is(whole) => Ok(()),
            None if self.head.status == 416 => Ok(()),
            Some(_) | None => Err(FetchError::Size),
        }
    }

    /// The connection, where the answer is of no use. Mostly it is short, and there in whole: then the connection is
    /// still good.
    fn give_up(self) {
        let mut body = Body::new(self.head.framing);
        let is_whole = body
            .take(&self.after)
            .is_ok_and(|taken| taken == self.after.len());
        let is_clean = is_whole && body.is_done();
        self.release(is_clean);
    }

    /// The connection, once all of the body was read and nothing came after it.
    pub(super) fn release(self, is_clean: bool) {
        if is_clean && self.head.backend_persists {
            self.lease.release(self.idle_for);
        }
    }
}
