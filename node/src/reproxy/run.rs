//! Answers a client's request with what a backend named: a file, or the first of several URLs that is there.

use std::borrow::Cow;
use std::error::Error;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fleetbal_raft::model::ReproxyLimits;

use super::ExpectedSize;
use super::cache::{Cache, CacheFor, Entry};
use super::fetch::{self, Fetched, Place, Query};
use super::file::{self, Source};
use super::pump::{self, Pump};
use super::targets::Targets;
use super::url::{Url, parse_list};
use crate::clock;
use crate::http::range::{self, Selected};
use crate::http::response::{self, Replacements, ReproxyFields};
use crate::http::{Body, Framing, Head, Method, ProxyError, RequestHead};
use crate::plugin::{self, Answer, Asked, Point};
use crate::snapshot::{CacheRules, ReproxySettings};
use crate::tls::Stream;

/// A client's request that waits for its answer.
#[derive(Debug)]
pub struct Exchange<'a> {
    /// The client.
    pub client: &'a mut Stream,
    /// What its head says.
    pub request: RequestHead,
    /// The head, as a backend gets it.
    pub head: Head<'a>,
    /// The lines that announce that its connection stays open; none: it will be closed.
    pub keep_alive: Option<&'a [u8]>,
    /// How long nothing may move; none: for ever.
    pub idle_timeout: Option<Duration>,
    /// The service's settings.
    pub settings: &'a ReproxySettings,
    /// How many connections a target may have.
    pub limits: &'a ReproxyLimits,
    /// The connections.
    pub targets: &'a Arc<Targets>,
    /// The service's cache.
    pub cache: &'a Cache,
    /// The plugins that are asked on the way; none: there are none.
    pub plugins: Option<Asked<'a>>,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered with this status.
    Sent {
        /// The status code.
        status: u16,
        /// The length that the client was told; 0 where it was told none.
        length: u64,
        /// Whether the client was told that its connection stays open.
        keeps: bool,
    },
    /// The answer was broken off; its connection must be as well.
    Cut {
        /// Whether a plain close shows the client that something is missing; else it has to be a reset.
        shows: bool,
    },
    /// Nothing was sent yet: the client is to be told.
    Failed(ProxyError),
    /// Nothing was sent yet: a plugin answers instead.
    Said(Box<Answer>),
    /// Nothing was sent yet, and a plugin has the connection closed.
    Closed,
}

const NO_FILE: ProxyError = ProxyError::NotFound("The file is not there.");
const NO_URL: ProxyError = ProxyError::Unavailable("None of the places where this should be has it.");
const TOLD_NONSENSE: ProxyError = ProxyError::BadGateway("The backend's answer is not valid.");

/// What is known of a request, where there is a cache.
pub fn look_up(
    cache: &Cache,
    rules: CacheRules,
    request: &RequestHead,
    head: Head<'_>,
) -> Option<Arc<Entry>> {
    if !is_cacheable(request) {
        return None;
    }
    cache.look_up(rules, &key(head), Instant::now())
}

/// Only what changes nothing may be answered without the backend.
fn is_cacheable(request: &RequestHead) -> bool {
    matches!(request.method, Method::Get | Method::Head) && request.framing == Framing::Empty
}

fn key(head: Head<'_>) -> Vec<u8> {
    [head.field("Host").unwrap_or_default(), b"|", head.target()].concat()
}

/// Answers with what a backend's head, as it was written for the client, names. Dropping the future breaks the answer
/// off.
pub async fn answer(mut exchange: Exchange<'_>, first: &[u8]) -> Outcome {
    let Some(asked) = response::reproxy_fields(first) else {
        return Outcome::Failed(TOLD_NONSENSE);
    };
    // It says that nothing follows; bytes that follow all the same would be taken for another answer.
    if asked.status == 304 {
        return exchange.send_head(first, Some(304), &[]).await;
    }
    let expected = asked.expected_size.map(ExpectedSize::parse);
    if let Some(path) = asked.file {
        return exchange.send_file(first, path, expected).await;
    }
    let urls = parse_list(asked.url.unwrap_or_default());
    exchange.store(first, asked, &urls);
    exchange.send_url(first, &urls, expected).await
}

/// Answers from the cache.
pub async fn answer_cached(mut exchange: Exchange<'_>, entry: &Entry) -> Outcome {
    let now = std::time::UNIX_EPOCH + Duration::from_millis(clock::now().0);
    let date = format!("Date: {}\r\n", httpdate::fmt_http_date(now));
    let first = [b"HTTP/1.1 200 OK\r\n", date.as_bytes(), &entry.fields, b"\r\n"].concat();
    let since = exchange.head.field("If-Modified-Since").map(|since| {
        let end = memchr::memchr(b';', since).unwrap_or(since.len());
        since.get(..end).unwrap_or_default().trim_ascii()
    });
    if since.is_some() && since == entry.last_modified.as_deref() {
        return exchange.send_head(&first, Some(304), &[]).await;
    }
    let outcome = exchange.send_url(&first, &entry.urls, None).await;
    if let (Outcome::Failed(_), Some(rules)) = (&outcome, exchange.settings.cache()) {
        // The backend may know a better place.
        exchange.cache.forget(rules, &key(exchange.head));
    }
    outcome
}

impl Exchange<'_> {
    /// The range that the client asks for, if this answer may be a part.
    fn range(&self, first: &[u8]) -> Option<&[u8]> {
        let status = response::reproxy_fields(first).map_or(0, |asked| asked.status);
        let is_whole = matches!(status, 200 | 204) && self.request.method != Method::Other;
        let range = self
            .head
            .field("Range")
            .filter(|range| is_whole && range::is_single(range))?;
        let Some(condition) = self.head.field("If-Range") else {
            return Some(range);
        };
        // Compared strongly (RFC 9110, section 13.1.5).
        let validators = ["ETag", "Last-Modified"].map(|name| response::field(first, name));
        let holds = !condition.starts_with(b"W/") && validators.contains(&Some(condition));
        holds.then_some(range)
    }

    /// The path that plugins make of one.
    async fn ask_path<'p>(&mut self, path: &'p [u8]) -> Result<Cow<'p, [u8]>, Outcome> {
        let Some(plugins) = &mut self.plugins else {
            return Ok(path.into());
        };
        plugins.context.set_path(path);
        go_on(plugins.ask(Point::StartFileReproxy).await)?;
        let path = plugins.context.path().unwrap_or_default();
        Ok(path.to_vec().into())
    }

    /// Has plugins see what a URL answers.
    async fn ask_received(&mut self, fetched: &Fetched) -> Result<(), Outcome> {
        let Some(plugins) = &mut self.plugins else {
            return Ok(());
        };
        let status = fetched.head.status;
        plugins.context.put_response(status, fetched.fields().to_vec());
        let outcome = plugins.ask(Point::ReproxyResponseReceived).await;
        // They look at it: the client gets the first backend's head.
        plugins.context.take_response();
        go_on(outcome)
    }

    /// Keeps what the backend allows to be kept.
    fn store(&self, first: &[u8], asked: ReproxyFields<'_>, urls: &[Url]) {
        let cache_for = asked.cache_for.and_then(CacheFor::parse);
        let (Some(rules), Some(cache_for)) = (self.settings.cache(), cache_for) else {
            return;
        };
        if urls.is_empty() || !matches!(asked.status, 200 | 204) || !is_cacheable(&self.request) {
            return;
        }
        let mut fields = Vec::new();
        for (name, value) in Head::new(first)
            .fields()
            .filter(|(name, _)| cache_for.keeps(name))
        {
            fields.extend_from_slice(&[name, b": ", value, b"\r\n"].concat());
        }
        let last_modified =
            response::field(first, "Last-Modified").filter(|_| cache_for.keeps(b"Last-Modified"));
        let entry = Entry {
            urls: urls.to_vec(),
            fields,
            last_modified: last_modified.map(<[u8]>::to_vec),
        };
        let (key, now) = (key(self.head), Instant::now());
        self.cache.store(rules, &key, entry, now, cache_for.lifetime);
    }

    /// The head for the client. `part` is set where it is not a whole that follows.
    fn compose(
        &self,
        first: &[u8],
        status: Option<u16>,
        body: Framing,
        part: &[(&str, &[u8])],
    ) -> Result<(Vec<u8>, Outcome), ProxyError> {
        let said = response::reproxy_fields(first).map_or(0, |asked| asked.status);
        let status = status.or((said == 204).then_some(200));
        let new = Replacements {
            status,
            body,
            remove: &["Content-Range"],
            set: part,
            keep_alive: self.keep_alive,
        };
        let mut head = Vec::new();
        response::rewrite(first, new, &mut head)?;
        let outcome = Outcome::Sent {
            status: status.unwrap_or(said),
            length: match body {
                Framing::Length(length) => length,
                Framing::Empty | Framing::Chunked | Framing::UntilClose => 0,
            },
            keeps: self.keep_alive.is_some() && body != Framing::UntilClose,
        };
        Ok((head, outcome))
    }

    /// Sends a head that nothing follows.
    async fn send_head(&mut self, first: &[u8], status: Option<u16>, part: &[(&str, &[u8])]) -> Outcome {
        match self.compose(first, status, Framing::Empty, part) {
            Err(error) => Outcome::Failed(error),
            Ok((head, outcome)) => sent(
                pump::write(self.client, &head, self.idle_timeout).await,
                outcome,
                true,
            ),
        }
    }

    async fn send_file(&mut self, first: &[u8], path: &[u8], expected: Option<ExpectedSize>) -> Outcome {
        let path = &match self.ask_path(path).await {
            Ok(path) => path,
            Err(outcome) => return outcome,
        };
        let source = match file::open(&self.settings.file_root, path).await {
            Ok(source) => source,
            Err(error) => {
                let path = String::from_utf8_lossy(path);
                tracing::info!(%path, %error, cause = ?error.source(), "a file is not sent");
                return Outcome::Failed(NO_FILE);
            }
        };
        if expected.is_some_and(|expected| !expected.is(source.size)) {
            return Outcome::Failed(NO_FILE);
        }
        let size = source.size;
        let accepts: (&str, &[u8]) = ("Accept-Ranges", b"bytes");
        match range::select(self.range(first), size) {
            Selected::All => self.send_part(first, &source, 0..size, None, &[accepts]).await,
            Selected::Part { first: start, last } => {
                let part = format!("bytes {start}-{last}/{size}");
                let part = [accepts, ("Content-Range", part.as_bytes())];
                self.send_part(first, &source, start..last + 1, Some(206), &part)
                    .await
            }
            Selected::Nothing => {
                let part = format!("bytes */{size}");
                let part = [accepts, ("Content-Range", part.as_bytes())];
                self.send_head(first, Some(416), &part).await
            }
        }
    }

    async fn send_part(
        &mut self,
        first: &[u8],
        source: &Source,
        bytes: Range<u64>,
        status: Option<u16>,
        part: &[(&str, &[u8])],
    ) -> Outcome {
        let length = bytes.end - bytes.start;
        let (head, outcome) = match self.compose(first, status, Framing::Length(length), part) {
            Ok(composed) => composed,
            Err(error) => return Outcome::Failed(error),
        };
        if self.request.method == Method::Head {
            return sent(
                pump::write(self.client, &head, self.idle_timeout).await,
                outcome,
                true,
            );
        }
        // With the head goes what there is of the file, so that whoever cannot read it has said nothing yet.
        match source.read(bytes.start, length).await {
            Ok(piece) if !piece.is_empty() => {
                let rest = bytes.start + piece.len() as u64..bytes.end;
                let piece = [head, piece].concat();
                let result = self.send_pieces(source, piece, rest).await;
                if let (Ok(()), Some(plugins)) = (&result, &mut self.plugins) {
                    plugins.ask(Point::ReproxyFhFinished).await;
                }
                sent(result, outcome, true)
            }
            Ok(_) | Err(_) => Outcome::Failed(NO_FILE),
        }
    }

    async fn send_pieces(
        &mut self,
        source: &Source,
        mut piece: Vec<u8>,
        mut rest: Range<u64>,
    ) -> io::Result<()> {
        loop {
            pump::write(self.client, &piece, self.idle_timeout).await?;
            if rest.is_empty() {
                return Ok(());
            }
            piece = source.read(rest.start, rest.end - rest.start).await?;
            if piece.is_empty() {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the file has become shorter",
                ));
            }
            rest.start += piece.len() as u64;
        }
    }

    async fn send_url(&mut self, first: &[u8], urls: &[Url], expected: Option<ExpectedSize>) -> Outcome {
        let query = Query {
            method: if self.request.method == Method::Head {
                Method::Head
            } else {
                Method::Get
            },
            http11: self.request.http11,
            host: self.head.field("Host"),
            range: self.range(first),
            expected,
        };
        for url in urls {
            let place = Place {
                targets: self.targets,
                limit: self
                    .limits
                    .of(&url.target.to_string())
                    .and_then(|limit| usize::try_from(limit).ok()),
                client: self.client.as_raw_fd(),
            };
            match pump::within(self.idle_timeout, fetch::fetch(url, query, place)).await {
                Ok(fetched) => return self.pass_on(first, fetched).await,
                Err(error) => {
                    tracing::debug!(target = %url.target, %error, cause = ?error.source(), "a URL is not used");
                }
            }
        }
        Outcome::Failed(NO_URL)
    }

    /// Sends what a target answered behind the first backend's head.
    async fn pass_on(&mut self, first: &[u8], mut fetched: Fetched) -> Outcome {
        if let Err(outcome) = self.ask_received(&fetched).await {
            return outcome;
        }
        let (framing, dechunk) = fetched.framing(self.request.method);
        let status = fetched.is_part().then_some(fetched.head.status);
        let names = ["Accept-Ranges", "Content-Range"]
            .into_iter()
            .filter(|_| status.is_some());
        let part: Vec<_> = names
            .filter_map(|name| Some((name, fetched.field(name)?)))
            .collect();
        let (head, outcome) = match self.compose(first, status, framing, &part) {
            Ok(composed) => composed,
            Err(error) => return Outcome::Failed(error),
        };
        let body = Body::new(fetched.head.framing);
        let mut pump = Pump::new(head, body, dechunk, self.settings.buffer_size);
        if pump.take(&fetched.after).is_err() {
            return Outcome::Failed(NO_URL);
        }
        let result = pump
            .run(&mut fetched.lease.io, self.client, self.idle_timeout)
            .await;
        if result.is_ok() {
            fetched.release(!pump.excess);
        } else if !pump.has_begun {
            // It ended too early, and nobody knows yet.
            return Outcome::Failed(NO_URL);
        }
        sent(result, outcome, framing != Framing::UntilClose)
    }
}

/// Whether it goes on behind a plugin; else what becomes of the request.
fn go_on(said: plugin::Outcome) -> Result<(), Outcome> {
    match said {
        plugin::Outcome::Next
        | plugin::Outcome::Wait(_)
        | plugin::Outcome::Fetch(_)
        | plugin::Outcome::Collect(_)
        | plugin::Outcome::Stream(_) => Ok(()),
        plugin::Outcome::Answer(answer) => Err(Outcome::Said(answer)),
        plugin::Outcome::Close => Err(Outcome::Closed),
        plugin::Outcome::Service(_) => Err(Outcome::Failed(plugin::TOO_LATE)),
    }
}

/// What became of an answer; of one that ends with its connection a plain close would make a whole one.
fn sent(result: io::Result<()>, outcome: Outcome, is_delimited: bool) -> Outcome {
    match result {
        Ok(()) => outcome,
        Err(error) => {
            tracing::debug!(%error, "an answer was broken off");
            Outcome::Cut { shows: is_delimited }
        }
    }
}
