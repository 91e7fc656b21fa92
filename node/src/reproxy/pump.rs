//! Bytes to a client: as fast as it takes them, for as long as it takes any.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::http::Body;
use crate::tls::Stream;

/// How much is read from a target at once, in bytes.
const READ: usize = 32 * 1024;

/// Waits for one step of something, at most for so long (none: without limit).
///
/// # Errors
/// Its own, or that the time is over.
pub(super) async fn within<T, E: From<io::Error>>(
    limit: Option<Duration>,
    step: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    match limit {
        None => step.await,
        Some(limit) => timeout(limit, step)
            .await
            .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into())),
    }
}

/// Writes all of it; each step may take `limit`.
pub(super) async fn write(client: &mut Stream, mut bytes: &[u8], limit: Option<Duration>) -> io::Result<()> {
    while !bytes.is_empty() {
        match within(limit, client.write(bytes)).await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => bytes = bytes.get(written..).unwrap_or_default(),
        }
    }
    within(limit, client.flush()).await
}

/// A body on its way from a target to a client. No more than `limit` bytes and a read wait for the client.
#[derive(Debug)]
pub(super) struct Pump {
    pub(super) body: Body,
    /// Whether the client gets the content of chunks instead of the chunks.
    pub(super) dechunk: bool,
    /// How many bytes may wait for the client before no more is read.
    pub(super) limit: usize,
    waiting: Vec<u8>,
    sent: usize,
    buffer: Vec<u8>,
    /// Whether the target sent more than the body.
    pub(super) excess: bool,
    /// Whether the client was sent anything.
    pub(super) has_begun: bool,
}

impl Pump {
    /// A body behind a head that is to be sent before it.
    pub(super) fn new(head: Vec<u8>, body: Body, dechunk: bool, limit: usize) -> Self {
        Self {
            body,
            dechunk,
            limit,
            waiting: head,
            sent: 0,
            buffer: Vec::new(),
            excess: false,
            has_begun: false,
        }
    }

    /// Takes bytes of the target.
    ///
    /// # Errors
    /// When they are no such body.
    pub(super) fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        let taken = if self.dechunk {
            self.body.take_content(bytes, &mut self.waiting)
        } else {
            let taken = self.body.take(bytes);
            let verbatim = taken.ok().and_then(|taken| bytes.get(..taken));
            self.waiting.extend_from_slice(verbatim.unwrap_or_default());
            taken
        };
        let taken = taken.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        self.excess |= taken < bytes.len();
        Ok(())
    }

    /// Sends everything; each step may take `limit`.
    ///
    /// # Errors
    /// When the client takes no more, or the body ends too early or is none.
    pub(super) async fn run(
        &mut self,
        target: &mut TcpStream,
        client: &mut Stream,
        limit: Option<Duration>,
    ) -> io::Result<()> {
        while !(self.body.is_done() && self.waiting.is_empty()) {
            within(limit, poll_fn(|cx| self.poll_step(target, client, cx))).await?;
        }
        within(limit, client.flush()).await
    }

    /// Ready when anything moved.
    fn poll_step(
        &mut self,
        target: &mut TcpStream,
        client: &mut Stream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let mut moved = false;
        if !self.body.is_done() && self.waiting.len() - self.sent < self.limit {
            let mut buffer = std::mem::take(&mut self.buffer);
            buffer.resize(READ, 0);
            let mut read = ReadBuf::new(&mut buffer);
            if let Poll::Ready(result) = Pin::new(target).poll_read(cx, &mut read) {
                result?;
                moved = true;
                match read.filled() {
                    [] => self
                        .body
                        .end_of_input()
                        .map_err(|error| io::Error::new(io::ErrorKind::UnexpectedEof, error))?,
                    bytes => self.take(bytes)?,
                }
            }
            self.buffer = buffer;
        }
        while let Some(rest) = self.waiting.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match Pin::new(&mut *client).poll_write(cx, rest)? {
                Poll::Pending => break,
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(written) => {
                    self.sent += written;
                    self.has_begun = true;
                    moved = true;
                }
            }
        }
        // What was sent is let go of now and then, so that what is kept stays about as small as the limit.
        if self.sent == self.waiting.len() || self.sent > self.limit {
            self.waiting.drain(..self.sent);
            self.sent = 0;
        }
        if moved { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}
