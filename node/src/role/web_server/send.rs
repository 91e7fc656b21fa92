//! Sends answers that are made of several pieces: heads, parts of files, what stands between them.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::net::SendFlags;
use tokio::io::{AsyncWrite, Interest};

use crate::files::Sending;
use crate::role::client::Client;
use crate::tls::Stream;

/// What an answer is made of, in order.
#[derive(Debug, Default)]
pub(super) struct Pieces(VecDeque<Piece>);

#[derive(Debug)]
enum Piece {
    /// Bytes, and how many of them were sent.
    Text(Vec<u8>, usize),
    File(Sending),
}

impl Pieces {
    /// Adds bytes.
    pub(super) fn text(&mut self, text: Vec<u8>) {
        if !text.is_empty() {
            self.0.push_back(Piece::Text(text, 0));
        }
    }

    /// Adds a part of a file.
    pub(super) fn file(&mut self, part: Sending) {
        if !part.is_done() {
            self.0.push_back(Piece::File(part));
        }
    }

    /// Sends all of it; nothing may move for as long as `limit` (none: for ever).
    ///
    /// # Errors
    /// When the client takes no more, or a file has become shorter.
    pub(super) async fn send(mut self, client: &mut Client, limit: Option<Duration>) -> io::Result<()> {
        client.arm(limit);
        poll_fn(|cx| self.poll(client, limit, cx)).await
    }

    /// Sends what can be sent now. Ready when all of it was; whoever begins with it sets the time limit.
    ///
    /// # Errors
    /// When the client takes no more, or a file has become shorter.
    pub(super) fn poll(
        &mut self,
        client: &mut Client,
        limit: Option<Duration>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if client.timed_out() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            let follows = self.0.len() > 1;
            let is_done = match self.0.front_mut() {
                None => return Pin::new(&mut client.io).poll_flush(cx),
                Some(Piece::Text(text, sent)) => {
                    let left = text.get(*sent..).unwrap_or_default();
                    *sent += ready!(poll_text(&mut client.io, left, follows, cx))?;
                    *sent == text.len()
                }
                Some(Piece::File(part)) => {
                    ready!(part.poll_step(&mut client.io, cx))?;
                    part.is_done()
                }
            };
            if is_done {
                self.0.pop_front();
            }
            client.arm(limit);
        }
    }
}

/// Sends what is taken of some bytes; plain ones wait for what follows them, so that a head does not go out alone.
fn poll_text(io: &mut Stream, text: &[u8], follows: bool, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    let io = match io {
        Stream::Plain(io) => io,
        tls @ Stream::Tls(_) => return Pin::new(tls).poll_write(cx, text),
    };
    let more = if follows {
        SendFlags::MORE
    } else {
        SendFlags::empty()
    };
    loop {
        ready!(io.poll_write_ready(cx))?;
        let sent = io.try_io(Interest::WRITABLE, || {
            Ok(rustix::net::send(&*io, text, SendFlags::NOSIGNAL | more)?)
        });
        match sent {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            sent => return Poll::Ready(sent),
        }
    }
}
