//! A client's connection: reads its requests, and sends pages of this node's own.

use std::future::poll_fn;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

use super::Next;
use super::collect::{self, Upload};
use super::dispatch::{self, Found, Turn};
use super::held::{Ahead, Held, poll_read, rest, write_now};
use super::original::{self, Original};
use super::retry::is_repeatable;
use crate::http::answer::{PageRules, write_page};
use crate::http::{Body, ForwardedFor, Forwarding, MAX_HEAD, Method, ProxyError, RequestHead, request};
use crate::role::deadline::Deadline;
use crate::role::local::{Counted, Current, Local, Served};
use crate::snapshot::{BackendState, ProxySettings, Trust};
use crate::upload::tracker;
use crate::upstream::Lease;

/// How long a client that is still sending may take to read the answer.
const LINGER: Duration = Duration::from_secs(2);

/// A head of more than this is not kept for the next request's copy.
const REPLAY_KEPT: usize = 4096;

pub(super) struct Client {
    pub(super) io: TcpStream,
    pub(super) counted: Counted,
    /// The service that answers now: the connection's, or one that it handed the request over to.
    pub(super) serving: Rc<Served>,
    pub(super) deadline: Rc<Deadline>,
    /// Read, but not used yet: part of a head, or what was sent ahead.
    pub(super) input: Ahead,
    /// The head that was sent to the backend, if it may be sent again. It keeps its memory between requests.
    pub(super) replay: Vec<u8>,
    /// How long it may be idle now.
    idle_limit: Option<Duration>,
    peer: IpAddr,
    peer_text: Box<[u8]>,
}

/// A request whose head was read and, mostly, sent.
pub(super) struct Request {
    pub(super) current: Rc<Current>,
    pub(super) head: RequestHead,
    /// What is still to come of its body.
    pub(super) upload: Body,
    /// What is still to be sent of what has come.
    pub(super) to_backend: Held,
    /// The connection that it is sent on, if one was idle.
    pub(super) lease: Option<Lease>,
    /// Whether any of it was written to that connection.
    pub(super) touched: bool,
    pub(super) turn: Turn,
    /// The backend that was picked for it, if none of its connections was idle.
    pub(super) picked: Option<Arc<BackendState>>,
    /// What its body needs beyond being passed on.
    pub(super) upload_plan: Option<Box<Upload>>,
    /// What is kept of it where backends may reproxy.
    pub(super) original: Option<Box<Original>>,
    /// The connection's service, if that has handed the request over to this one.
    pub(super) outer: Option<Rc<Current>>,
}

impl Request {
    /// One for which no connection is looked for yet: its body is collected first, or the cache knows its answer.
    fn to_wait(
        current: Rc<Current>,
        head: RequestHead,
        upload: Body,
        upload_plan: Option<Box<Upload>>,
        output: &[u8],
        original: Option<Box<Original>>,
    ) -> Self {
        Self {
            turn: Turn::next(&current, head.hash),
            current,
            head,
            upload,
            to_backend: Held::new(output.to_vec()),
            lease: None,
            picked: None,
            touched: false,
            upload_plan,
            original,
            outer: None,
        }
    }

    /// The service whose the client's connection is.
    #[inline]
    pub(super) fn owner(&self) -> &Rc<Current> {
        self.outer.as_ref().unwrap_or(&self.current)
    }

    /// Whether the client's connection can stay open behind the answer.
    #[inline]
    pub(super) fn keeps_client(&self) -> bool {
        self.owner().view.settings.persist_client && self.head.keep_alive && self.upload.is_done()
    }

    /// Whether the cache knows the answer.
    #[inline]
    pub(super) fn is_known(&self) -> bool {
        self.original
            .as_ref()
            .is_some_and(|original| original.known.is_some())
    }

    /// How many bytes may be held for the side that is slower.
    #[inline]
    pub(super) fn buffer_size(&self) -> usize {
        self.current.view.settings.buffer_size
    }

    /// Whether nothing has to be done before it is sent.
    #[inline]
    pub(super) fn is_plain(&self) -> bool {
        !self.collects() && !self.is_known()
    }

    /// Whether its body is to be collected.
    pub(super) fn collects(&self) -> bool {
        self.upload_plan.as_ref().is_some_and(|plan| plan.collects())
    }
}

/// Why there is no request.
pub(super) enum NoRequest {
    /// It cannot be served; the client is told.
    Refused(ProxyError),
    /// It asks how far the upload of that name is, which this node answers.
    AsksStatus(Box<str>, RequestHead),
    /// The client has left, or said nothing for too long.
    Ended,
}

pub(super) type Incoming = Result<Box<Request>, NoRequest>;

impl Client {
    pub(super) fn new(counted: Counted, io: TcpStream, peer: IpAddr) -> Self {
        let peer = peer.to_canonical();
        let current = counted.served.current(&counted.local);
        Self {
            io,
            deadline: counted.local.deadlines.add(),
            input: Ahead::default(),
            replay: Vec::new(),
            idle_limit: current.and_then(|current| current.view.settings.idle_timeout),
            serving: Rc::clone(&counted.served),
            counted,
            peer,
            peer_text: peer.to_string().into_bytes().into(),
        }
    }

    /// Tells the sweeper whom to wake.
    pub(super) async fn set_up(&self) {
        poll_fn(|cx| {
            self.deadline.wakes(cx.waker());
            Poll::Ready(())
        })
        .await;
    }

    pub(super) fn local(&self) -> &Local {
        &self.counted.local
    }

    pub(super) fn served(&self) -> &Served {
        &self.serving
    }

    pub(super) fn arm(&self, length: Option<Duration>) {
        self.local().deadlines.arm(&self.deadline, length);
    }

    pub(super) fn timed_out(&self) -> bool {
        self.local().deadlines.has_passed(&self.deadline)
    }

    /// Reads the next head and sends it on, if a connection is idle. Dropping the future loses what it read.
    pub(super) async fn next_request(&mut self) -> Incoming {
        self.arm(self.idle_limit);
        // Whether there is something in `input` that was not looked at.
        let mut unread = !self.input.is_empty();
        poll_fn(|cx| self.poll_request(cx, &mut unread)).await
    }

    fn poll_request(&mut self, cx: &mut Context<'_>, unread: &mut bool) -> Poll<Incoming> {
        loop {
            if self.timed_out() {
                // Whoever has not begun a request waits for no answer.
                return Poll::Ready(if self.input.is_empty() {
                    Err(NoRequest::Ended)
                } else {
                    Err(NoRequest::Refused(ProxyError::RequestTimeout))
                });
            }
            if std::mem::take(unread) {
                // Set aside, and not copied: many short requests may be in it.
                let mut input = std::mem::take(&mut self.input);
                let begun = self.begin(input.bytes(), cx);
                input.advance(begun.as_ref().map_or(0, |(used, _)| *used));
                self.input = input;
                if let Some((_, incoming)) = begun {
                    return Poll::Ready(incoming);
                }
            }
            let mut buffer = self.counted.local.buffers.take();
            let read = poll_read(&mut self.io, cx, &mut buffer);
            let bytes = match &read {
                Poll::Ready(Ok(length)) => buffer.get(..*length).unwrap_or_default(),
                Poll::Ready(Err(_)) | Poll::Pending => &[],
            };
            let incoming = self.take_in(bytes, cx, unread);
            self.counted.local.buffers.give(buffer);
            match ready!(read) {
                Ok(0) | Err(_) => return Poll::Ready(Err(NoRequest::Ended)),
                Ok(_) => {}
            }
            if let Some(incoming) = incoming {
                return Poll::Ready(incoming);
            }
        }
    }

    /// Uses bytes that were just read. The whole head is mostly in them; they are kept only if it is not.
    fn take_in(&mut self, bytes: &[u8], cx: &mut Context<'_>, unread: &mut bool) -> Option<Incoming> {
        if bytes.is_empty() {
            return None;
        }
        if self.input.is_empty() {
            let begun = self.begin(bytes, cx);
            let used = begun.as_ref().map_or(0, |(used, _)| *used);
            self.input.append(bytes.get(used..).unwrap_or_default());
            if begun.is_none() {
                // A head that was begun has to be complete in time, however slowly it trickles in.
                self.arm_for_head();
            }
            return begun.map(|(_, incoming)| incoming);
        }
        self.input.append(bytes);
        // A head ends with a line; without a new line there is nothing new to be read.
        *unread = self.input.bytes().len() > MAX_HEAD || memchr::memchr(b'\n', bytes).is_some();
        None
    }

    fn arm_for_head(&self) {
        let current = self.served().current(self.local());
        self.arm(current.and_then(|current| current.view.settings.idle_timeout));
    }

    /// Reads a head at the start of `input` and sends it on. How many bytes are used; what follows them is another
    /// request. None: it is not complete yet.
    fn begin(&mut self, input: &[u8], cx: &mut Context<'_>) -> Option<(usize, Incoming)> {
        let Some(current) = self.served().current(self.local()) else {
            return Some(refused(DISABLED));
        };
        let settings = &current.view.settings;
        let mut output = self.local().take_output();
        let incoming = match request::read(input, self.forwarding(settings), &mut output) {
            Ok(None) => None,
            Ok(Some(_)) if !current.view.enabled => Some(refused(DISABLED)),
            Ok(Some(head)) => {
                self.arm(settings.idle_timeout);
                self.idle_limit = settings.persist_client_idle_timeout;
                if !settings.uploads.status_listeners.is_empty()
                    && let Some(session) = tracker::status_session(&output)
                {
                    Some((head.length, Err(NoRequest::AsksStatus(session.into(), head))))
                } else {
                    Some(self.send(input, head, current, &output, cx))
                }
            }
            Err(error) => Some(refused(error)),
        };
        self.local().give_output(output);
        incoming
    }

    /// How a service edits this client's requests.
    #[inline]
    pub(super) fn forwarding<'a>(&'a self, settings: &'a ProxySettings) -> Forwarding<'a> {
        Forwarding {
            peer: &self.peer_text,
            forwarded_for: forwarded_for(&settings.trust, self.peer),
            persist_backend: settings.persist_backend,
            special: settings.special.as_ref(),
        }
    }

    /// Sends a head, and what is there of the body, on an idle connection, if there is one.
    fn send(
        &mut self,
        input: &[u8],
        head: RequestHead,
        current: Rc<Current>,
        output: &[u8],
        cx: &mut Context<'_>,
    ) -> (usize, Incoming) {
        self.served().shard().request_started();
        let uploads = &current.view.settings.uploads;
        let mut upload = Body::limited(head.framing, uploads.max_chunked);
        let after = input.get(head.length..).unwrap_or_default();
        let mut upload_plan = collect::plan(&head, after.len(), output, uploads);
        let original = original::keep(self.local(), &current, input, &head, output);
        let is_known = original.as_ref().is_some_and(|original| original.known.is_some());
        if is_known || upload_plan.as_ref().is_some_and(|plan| plan.collects()) {
            let request = Request::to_wait(current, head, upload, upload_plan, output, original);
            return (head.length, Ok(Box::new(request)));
        }
        let body = match upload.take(after) {
            Ok(taken) => after.get(..taken).unwrap_or_default(),
            Err(error) => {
                self.served().shard().request_ended();
                return refused(error.into());
            }
        };
        if let Some(plan) = &mut upload_plan {
            plan.came(body.len(), self.local(), uploads);
        }
        let turn = Turn::next(&current, head.hash);
        let total = output.len() + body.len();
        let (found, to_backend) = self.send_on_idle(&current, turn, output, body, cx);
        let (lease, picked) = found.parts();
        self.replay.clear();
        if is_repeatable(&head) {
            self.replay.extend_from_slice(output);
        }
        let request = Box::new(Request {
            current,
            head,
            upload,
            touched: lease.is_some() && to_backend.len() < total,
            to_backend,
            lease,
            turn,
            picked,
            upload_plan,
            original,
            outer: None,
        });
        (head.length + body.len(), Ok(request))
    }

    fn send_on_idle(
        &mut self,
        current: &Current,
        turn: Turn,
        output: &[u8],
        body: &[u8],
        cx: &mut Context<'_>,
    ) -> (Found, Held) {
        let total = output.len() + body.len();
        loop {
            match dispatch::reuse(self.local(), self.served(), current, turn) {
                Found::Idle(mut lease) => match write_now(&mut lease.io, cx, output, body) {
                    (written, Ok(())) if written == total => return (Found::Idle(lease), Held::default()),
                    // The backend is gone and has got nothing: the next one will do.
                    (0, Err(_)) => {}
                    (written, _) => return (Found::Idle(lease), Held::new(rest(written, output, body))),
                },
                nothing @ Found::Nothing(_) => return (nothing, Held::new([output, body].concat())),
            }
        }
    }

    /// Answers a request that could not be read, or not be served, and ends the connection.
    pub(super) async fn refuse(&mut self, error: ProxyError) -> Next {
        self.answer(error, Method::Other, false).await;
        Next::Linger
    }

    /// Sends a page. Whether the connection is still good.
    pub(super) async fn answer(&mut self, error: ProxyError, method: Method, keep: bool) -> bool {
        // That of the connection, whoever answers.
        let current = self.counted.served.current(self.local());
        let settings = current.as_deref().map(|current| &current.view.settings);
        let rules = PageRules {
            server_tokens: settings.is_none_or(|settings| settings.server_tokens),
            is_head: method == Method::Head,
            keep_alive: settings
                .filter(|_| keep)
                .map(|settings| &settings.keep_alive_lines[..]),
        };
        let mut page = Vec::new();
        write_page(error, rules, &mut page);
        self.served().shard().answered(error.status());
        self.say(page).await
    }

    /// Sends what this node says itself. Whether the connection is still good.
    pub(super) async fn say(&mut self, text: Vec<u8>) -> bool {
        let current = self.served().current(self.local());
        self.arm(current.map_or(Some(LINGER), |current| current.view.settings.idle_timeout));
        let mut text = Held::new(text);
        poll_fn(|cx| {
            if self.timed_out() {
                return Poll::Ready(false);
            }
            let buffers = &self.counted.local.buffers;
            text.poll_write(&mut self.io, cx, buffers)
                .map(|result| result.is_ok())
        })
        .await
    }

    /// Closes the sending side, and reads on for a moment: a connection closed with unread bytes is reset, and the
    /// client might not see the answer.
    pub(super) async fn linger(&mut self) {
        self.arm(Some(LINGER));
        poll_fn(|cx| std::pin::Pin::new(&mut self.io).poll_shutdown(cx))
            .await
            .unwrap_or_default();
        poll_fn(|cx| {
            loop {
                if self.timed_out() {
                    return Poll::Ready(());
                }
                let mut buffer = self.counted.local.buffers.take();
                let read = poll_read(&mut self.io, cx, &mut buffer);
                self.counted.local.buffers.give(buffer);
                if matches!(ready!(read), Ok(0) | Err(_)) {
                    return Poll::Ready(());
                }
            }
        })
        .await;
    }

    /// Resets the connection, so that the client does not take what it got for a whole answer.
    pub(super) fn abort(&self) {
        if let Err(error) = self.io.set_zero_linger() {
            tracing::debug!(%error, "cannot reset a client's connection");
        }
    }

    /// Lets go of what only a large request needed.
    pub(super) fn trim(&mut self) {
        if self.replay.capacity() > REPLAY_KEPT {
            self.replay = Vec::new();
        }
    }
}

fn refused(error: ProxyError) -> (usize, Incoming) {
    (0, Err(NoRequest::Refused(error)))
}

const DISABLED: ProxyError = ProxyError::Unavailable("The service is disabled.");

#[inline]
fn forwarded_for(trust: &Trust, peer: IpAddr) -> ForwardedFor {
    match (trust.trusts(peer), trust.blind) {
        (false, _) => ForwardedFor::Replace,
        (true, false) => ForwardedFor::Append,
        (true, true) => ForwardedFor::Keep,
    }
}
