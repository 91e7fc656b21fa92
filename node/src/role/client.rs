//! A client's connection: reads its requests, has their services begin to answer, and sends pages of this node's own.

mod hooks;
mod select;

use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::AsyncWrite;

use super::access::Logged;
use super::connection::Next;
use super::deadline::Timed;
use super::held::{Ahead, Held, poll_read};
use super::hooked::{Hooked, Resumed};
use super::local::{Counted, Current, Local, Served};
use super::record::Record;
use super::reverse_proxy::Request;
use super::web_server::WebRequest;
use crate::http::answer::{Page, PageRules, write_page};
use crate::http::{ForwardedFor, Forwarding, Framing, MAX_HEAD, Method, ProxyError, RequestHead, request};
use crate::monitor::sockets::ClientState;
use crate::plugin::{Answer, Fetch, Subscription};
use crate::snapshot::{ProxySettings, Trust};
use crate::tls::Stream;

/// How long a client that is still sending may take to read the answer.
const LINGER: Duration = Duration::from_secs(2);

pub(super) struct Client {
    pub(super) io: Stream,
    pub(super) counted: Counted,
    /// The service that answers now: the connection's, or one that it handed the request over to.
    pub(super) serving: Rc<Served>,
    pub(super) record: Rc<Record>,
    /// Read, but not used yet: part of a head, or what was sent ahead.
    pub(super) input: Ahead,
    /// How long it may be idle now.
    idle_limit: Option<Duration>,
    /// Through how many selectors the request has come.
    hops: u8,
    /// Whether the request has waited as long as its selector says.
    has_waited: bool,
    /// What is kept of a request that somebody logs.
    pub(super) logged: Option<Box<Logged>>,
    peer: IpAddr,
    peer_text: Box<[u8]>,
    /// What plugins know of the request that is being answered.
    pub(super) hooked: Option<Box<Hooked>>,
    /// A request that was begun with, and goes on now.
    resumed: Option<Box<Resumed>>,
    /// This end of the connection, once a plugin could ask for it.
    local_address: Option<SocketAddr>,
}

/// What a client sent, and what is to be done with it.
pub(super) enum Incoming {
    /// A request that a backend answers.
    Proxied(Box<Request>),
    /// A request that was answered already.
    Answered(Next),
    /// A request that this node answers, when it has what it needs for it.
    Web(Box<WebRequest>),
    /// It cannot be served; the client is told.
    Refused(ProxyError),
    /// No other service answers it; the client is told, and may ask again.
    Unrouted(ProxyError, RequestHead),
    /// A plugin answers it.
    Said(Box<Answer>, RequestHead),
    /// What a plugin streams answers it.
    Stream(Box<Subscription>),
    /// It is to be looked at again after this time.
    Wait(Duration),
    /// It is to be looked at again when this was answered.
    Fetch(Box<Fetch>),
    /// It asks how far the upload of that name is, which this node answers.
    AsksStatus(Box<str>, RequestHead),
    /// The client has left, or said nothing for too long.
    Ended,
}

/// A request whose head was read, and which nobody has begun to answer.
pub(super) struct Begun<'a> {
    /// The service that answers it.
    pub(super) current: Rc<Current>,
    /// The connection's service, if that has handed the request over to this one.
    pub(super) outer: Option<Rc<Current>>,
    /// What the client sent, from the head on.
    pub(super) input: &'a [u8],
    /// What the head says.
    pub(super) head: RequestHead,
    /// The head in canonical form, by the rules of the service.
    pub(super) output: &'a [u8],
}

impl<'a> Begun<'a> {
    /// What came behind the head.
    pub(super) fn after(&self) -> &'a [u8] {
        self.input.get(self.head.length..).unwrap_or_default()
    }
}

impl Client {
    pub(super) fn new(counted: Counted, io: Stream, from: SocketAddr) -> Self {
        let peer = from.ip().to_canonical();
        let current = counted.served.current(&counted.local);
        let (deadlines, role) = (
            &counted.local.deadlines,
            current.as_ref().and_then(|current| current.view.role),
        );
        let record = Record::new(&counted.served, role, io.as_raw_fd(), from, deadlines.now());
        Self {
            io,
            record: deadlines.add(record),
            input: Ahead::default(),
            idle_limit: current.and_then(|current| current.view.settings.idle_timeout),
            hops: 0,
            has_waited: false,
            logged: None,
            serving: Rc::clone(&counted.served),
            counted,
            peer,
            peer_text: peer.to_string().into_bytes().into(),
            hooked: None,
            resumed: None,
            local_address: None,
        }
    }

    /// Tells the sweeper whom to wake.
    pub(super) async fn set_up(&self) {
        poll_fn(|cx| {
            self.record.deadline().wakes(cx.waker());
            Poll::Ready(())
        })
        .await;
    }

    /// The client's address, as text.
    pub(super) fn peer_text(&self) -> &[u8] {
        &self.peer_text
    }

    pub(super) fn local(&self) -> &Local {
        &self.counted.local
    }

    pub(super) fn served(&self) -> &Served {
        &self.serving
    }

    pub(super) fn arm(&self, length: Option<Duration>) {
        self.local().deadlines.arm(self.record.deadline(), length);
    }

    pub(super) fn timed_out(&self) -> bool {
        self.local().deadlines.has_passed(self.record.deadline())
    }

    /// Reads the next head and sends it on, if a connection is idle. Dropping the future loses what it read.
    pub(super) async fn next_request(&mut self) -> Incoming {
        if !Rc::ptr_eq(&self.serving, &self.counted.served) && self.resumed.is_none() {
            // A selector decides anew for each request.
            self.serving = Rc::clone(&self.counted.served);
        }
        self.arm(self.idle_limit);
        self.record.rest();
        // Whether there is something in `input` that was not looked at.
        let mut unread = !self.input.is_empty() || self.resumed.is_some();
        poll_fn(|cx| self.poll_request(cx, &mut unread)).await
    }

    fn poll_request(&mut self, cx: &mut Context<'_>, unread: &mut bool) -> Poll<Incoming> {
        loop {
            if self.timed_out() {
                // Whoever has not begun a request waits for no answer.
                return Poll::Ready(if self.input.is_empty() {
                    Incoming::Ended
                } else {
                    Incoming::Refused(ProxyError::RequestTimeout)
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
                Ok(0) | Err(_) => return Poll::Ready(Incoming::Ended),
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
        self.record.enter(ClientState::ReadingHeaders);
        let current = self.served().current(self.local());
        self.arm(current.and_then(|current| current.view.settings.idle_timeout));
    }

    /// Reads a head at the start of `input`, and has its service begin to answer. How many bytes are used; what
    /// follows them is another request. None: it is not complete yet.
    fn begin(&mut self, input: &[u8], cx: &mut Context<'_>) -> Option<(usize, Incoming)> {
        if self.resumed.is_some() {
            return self.resume(input, cx);
        }
        self.hops = 0;
        match self.served().current(self.local()) {
            Some(current) => self.begin_for(current, None, input, cx),
            None => Some(refused(DISABLED)),
        }
    }

    /// The same by the rules of this service; the connection is that of `outer`, if there is one.
    fn begin_for(
        &mut self,
        current: Rc<Current>,
        outer: Option<Rc<Current>>,
        input: &[u8],
        cx: &mut Context<'_>,
    ) -> Option<(usize, Incoming)> {
        if current.view.hooks.as_ref().is_some_and(|hooks| hooks.are_asked()) {
            return self.begin_hooked(current, outer, input, cx);
        }
        self.begin_plain(current, outer, input, cx)
    }

    /// The same, past what its plugins do to the head.
    fn begin_plain(
        &mut self,
        current: Rc<Current>,
        outer: Option<Rc<Current>>,
        input: &[u8],
        cx: &mut Context<'_>,
    ) -> Option<(usize, Incoming)> {
        if current.view.routes.is_some() {
            return self.select(&current, outer.as_ref(), input, cx);
        }
        let settings = &current.view.settings;
        let mut output = self.local().take_output();
        let incoming = match request::read(input, self.forwarding(settings), &mut output) {
            Ok(None) => None,
            Ok(Some(_)) if !current.view.enabled && outer.is_none() => Some(refused(DISABLED)),
            Ok(Some(head)) => {
                self.arm(settings.idle_timeout);
                self.record.begin(current.view.role, head.high_priority);
                let sent = input.get(..head.length).unwrap_or_default();
                self.log_for(&Rc::clone(&self.serving), &current.view, sent);
                if outer.is_none() {
                    self.idle_limit = settings.persist_client_idle_timeout;
                }
                let begun = Begun {
                    current,
                    outer,
                    input,
                    head,
                    output: &output,
                };
                Some(super::begin(self, begun, cx))
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
            secure: self.io.is_tls(),
        }
    }

    /// Answers a request that could not be read, or not be served, and ends the connection.
    pub(super) async fn refuse(&mut self, error: ProxyError) -> Next {
        self.answer(error.into(), Method::Other, false).await;
        Next::Linger
    }

    /// The service whose the connection is, whoever answers; none, if it is no more.
    fn owner(&self) -> Option<Rc<Current>> {
        self.counted.served.current(self.local())
    }

    /// Whether the connection can stay open behind the answer to a request of which nothing but the head was read.
    pub(super) fn keeps_behind(&self, head: &RequestHead) -> bool {
        let persists = self
            .owner()
            .is_some_and(|owner| owner.view.settings.persist_client);
        persists && head.framing == Framing::Empty && head.keep_alive && !self.local().is_draining()
    }

    /// Sends a page. Whether the connection is still good.
    pub(super) async fn answer(&mut self, page: Page<'_>, method: Method, keep: bool) -> bool {
        let owner = self.owner();
        let mut text = Vec::new();
        let length = write_page(&page, page_rules(owner.as_deref(), method, keep), &mut text);
        self.answered(page.status, Some(length as u64));
        self.say(text).await
    }

    /// An answer was begun with.
    #[inline]
    pub(super) fn answered(&mut self, status: u16, length: Option<u64>) {
        self.served().shard().answered(status);
        if let Some(hooked) = &mut self.hooked {
            hooked.context.answered(status, length);
        }
        self.log_answer(status, length);
    }

    /// All that was said went out. What was said before an answer is none.
    #[inline]
    pub(super) fn is_answered(&mut self) {
        if let Some(hooked) = &mut self.hooked {
            hooked.context.is_whole();
        }
        self.log_whole();
    }

    /// Sends what this node says itself. Whether the connection is still good.
    pub(super) async fn say(&mut self, text: Vec<u8>) -> bool {
        self.say_held(Held::new(text)).await
    }

    /// Sends what is left of what this node says itself. Whether the connection is still good.
    pub(super) async fn say_held(&mut self, mut text: Held) -> bool {
        let current = self.served().current(self.local());
        self.arm(current.map_or(Some(LINGER), |current| current.view.settings.idle_timeout));
        let is_said = poll_fn(|cx| {
            if self.timed_out() {
                return Poll::Ready(false);
            }
            let buffers = &self.counted.local.buffers;
            text.poll_write(&mut self.io, cx, buffers)
                .map(|result| result.is_ok())
        })
        .await;
        if is_said {
            self.is_answered();
        }
        is_said
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
    pub(super) fn abort(&mut self) {
        if let Err(error) = self.io.reset_on_close() {
            tracing::debug!(%error, "cannot reset a client's connection");
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.io.say_goodbye();
    }
}

pub(super) fn refused(error: ProxyError) -> (usize, Incoming) {
    (0, Incoming::Refused(error))
}

const DISABLED: ProxyError = ProxyError::Unavailable("The service is disabled.");

/// What becomes of the connection behind an answer to a request of which nothing but the head was read: nobody reads its
/// body, which would be taken for the next request.
pub(super) fn behind_unread(head: &RequestHead, is_sent: bool, keeps: bool) -> Next {
    match (is_sent, keeps) {
        (true, true) => Next::Keep,
        (true, false) if head.framing != Framing::Empty => Next::Linger,
        (true | false, _) => Next::Close,
    }
}

/// How what this node says itself is framed and signed, by the rules of the connection's service.
fn page_rules(owner: Option<&Current>, method: Method, keep: bool) -> PageRules<'_> {
    let settings = owner.map(|owner| &owner.view.settings);
    PageRules {
        server_tokens: settings.is_none_or(|settings| settings.server_tokens),
        is_head: method == Method::Head,
        keep_alive: settings
            .filter(|_| keep)
            .map(|settings| &settings.keep_alive_lines[..]),
    }
}

#[inline]
fn forwarded_for(trust: &Trust, peer: IpAddr) -> ForwardedFor {
    match (trust.trusts(peer), trust.blind) {
        (false, _) => ForwardedFor::Replace,
        (true, false) => ForwardedFor::Append,
        (true, true) => ForwardedFor::Keep,
    }
}
