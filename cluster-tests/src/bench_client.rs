//! A client's connection, as the load programs have them: it asks, and sees that the answer is the right one.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, socket_with};

use crate::Result;

/// What is read at once, in bytes.
pub const BUFFER: usize = 64 << 10;
/// More fields than anybody sends.
const FIELDS: usize = 32;

/// Events taken from the kernel at once.
const EVENTS: usize = 256;

/// Where something happened.
#[expect(
    missing_debug_implementations,
    reason = "the kernel's events have nothing to show"
)]
pub struct Events {
    epoll: OwnedFd,
    taken: Vec<Event>,
}

impl Events {
    /// Of no client yet.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub fn new() -> Result<Self> {
        let (epoll, taken) = (epoll::create(CreateFlags::CLOEXEC)?, Vec::with_capacity(EVENTS));
        Ok(Self { epoll, taken })
    }

    /// The numbers of clients that have something to go on with; waits for one that long at most, in milliseconds.
    ///
    /// # Errors
    /// Of the kernel.
    pub fn wait(&mut self, at_most: Duration) -> Result<impl Iterator<Item = usize>> {
        self.taken.clear();
        let at_most = Timespec::try_from(at_most)?;
        epoll::wait(&self.epoll, spare_capacity(&mut self.taken), Some(&at_most))?;
        // There is no client of a number that is too large.
        let number = |event: &Event| usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
        Ok(self.taken.iter().map(number))
    }
}

/// What all clients ask for.
#[derive(Debug)]
pub struct Question {
    address: SocketAddrV4,
    request: Vec<u8>,
    body: usize,
}

impl Question {
    /// For `path` at `address`, where the body of each answer has `body` bytes.
    #[must_use]
    pub fn new(address: SocketAddrV4, path: &str, body: usize) -> Self {
        let request = format!("GET {path} HTTP/1.1\r\nHost: bench.example\r\n\r\n").into_bytes();
        Self {
            address,
            request,
            body,
        }
    }
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    socket: TcpStream,
    /// Whether it waits for an answer, or to send the rest of its request.
    asks: bool,
    /// Bytes of the request.
    sent: usize,
    /// What is there of an answer that is not whole.
    heard: Vec<u8>,
}

impl Client {
    /// Connects, and has `events` tell by `number` of what happens there. Where a queue is full, the others go on.
    ///
    /// # Errors
    /// When there is no socket left, or nobody listens.
    pub fn connect(question: &Question, events: &Events, number: usize) -> Result<Self> {
        let (family, kind) = (AddressFamily::INET, SocketType::STREAM);
        let socket = socket_with(family, kind, SocketFlags::NONBLOCK, None)?;
        match net::connect(&socket, &question.address) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error).context("connect"),
        }
        let socket = TcpStream::from(socket);
        socket.set_nodelay(true)?;
        let both = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
        epoll::add(&events.epoll, &socket, EventData::new_u64(number as u64), both)?;
        Ok(Self {
            socket,
            asks: false,
            sent: 0,
            heard: Vec::new(),
        })
    }

    /// Asks, unless it waits for an answer still.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn ask(&mut self, question: &Question) -> Result {
        self.asks = true;
        while let Some(rest) = question.request.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match self.socket.write(rest) {
                Ok(sent) => self.sent += sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("request"),
            }
        }
        Ok(())
    }

    /// Goes on after an event, as far as it can: whether its answer is there now, whole.
    ///
    /// # Errors
    /// When the answer is another than it should be, or the connection was closed.
    pub fn go_on(&mut self, question: &Question, buffer: &mut [u8]) -> Result<bool> {
        if self.asks && self.sent < question.request.len() {
            self.ask(question)?;
            return Ok(false);
        }
        let mut is_answered = false;
        loop {
            let length = match self.socket.read(buffer) {
                Ok(0) => bail!("the connection was closed"),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(is_answered),
                Err(error) => return Err(error).context("answer"),
            };
            ensure!(self.asks, "more came than an answer");
            is_answered = self.hear(question, buffer.get(..length).unwrap_or_default())?;
            // Less than there was room for: the next byte makes an event.
            if length < buffer.len() {
                return Ok(is_answered);
            }
        }
    }

    fn hear(&mut self, question: &Question, bytes: &[u8]) -> Result<bool> {
        let mut whole = std::mem::take(&mut self.heard);
        let bytes = if whole.is_empty() {
            bytes
        } else {
            whole.extend_from_slice(bytes);
            &whole
        };
        let wanted = head(bytes, question.body)?.map(|length| length + question.body);
        ensure!(
            wanted.is_none_or(|wanted| bytes.len() <= wanted),
            "more came than an answer"
        );
        let is_whole = wanted == Some(bytes.len());
        if is_whole {
            (self.asks, self.sent) = (false, 0);
        } else {
            self.heard = bytes.to_vec();
        }
        Ok(is_whole)
    }
}

/// The length of an answer's head, once it is whole.
fn head(bytes: &[u8], body: usize) -> Result<Option<usize>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut answer = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(length) = answer.parse(bytes)? else {
        return Ok(None);
    };
    ensure!(answer.code == Some(200), "the status was {:?}", answer.code);
    let is_length = |field: &&httparse::Header<'_>| field.name.eq_ignore_ascii_case("content-length");
    let value = answer.headers.iter().find(is_length).map(|field| field.value);
    let announced = value.and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
    ensure!(
        announced == Some(body),
        "a body of {announced:?} bytes, not {body}"
    );
    Ok(Some(length))
}
