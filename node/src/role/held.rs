//! Bytes on their way, and the reads and writes that move them.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::buffers::Buffers;

/// Bytes that somebody did not take yet.
#[derive(Debug, Default)]
pub(super) struct Held {
    bytes: Vec<u8>,
    at: usize,
    end: usize,
}

/// Less than this is copied, so that the buffer it lies in can be used by others.
const COPIED: usize = 16 * 1024;

impl Held {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self {
            at: 0,
            end: bytes.len(),
            bytes,
        }
    }

    /// Bytes from `at` to `end` of a worker's buffer; the buffer itself is kept, if they are many and it is no larger
    /// than `limit`.
    pub(super) fn in_buffer(buffer: Vec<u8>, at: usize, end: usize, limit: usize, buffers: &Buffers) -> Self {
        if end - at > COPIED && buffer.len() <= limit {
            return Self {
                bytes: buffer,
                at,
                end,
            };
        }
        let held = Self::new(buffer.get(at..end).unwrap_or_default().to_vec());
        buffers.give(buffer);
        held
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.at == self.end
    }

    pub(super) fn len(&self) -> usize {
        self.end - self.at
    }

    /// Adds bytes behind those that are held.
    pub(super) fn append(&mut self, more: &[u8]) {
        if self.is_empty() {
            *self = Self::default();
        }
        self.bytes.truncate(self.end);
        self.bytes.extend_from_slice(more);
        self.end = self.bytes.len();
    }

    /// All of them, taken out.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let mut taken = std::mem::take(self);
        taken.bytes.truncate(taken.end);
        taken.bytes.drain(..taken.at);
        taken.bytes
    }

    /// What is held of a head, and of what follows it; both are taken out.
    pub(super) fn take_head(&mut self) -> (Vec<u8>, Vec<u8>) {
        let mut head = self.take();
        let body = head.split_off(head_length(&head));
        (head, body)
    }

    /// What is held behind a head.
    pub(super) fn behind_head(&self) -> &[u8] {
        let held = self.bytes.get(self.at..self.end).unwrap_or_default();
        held.get(head_length(held)..).unwrap_or_default()
    }

    /// Writes all of them. Ready when none is left, and the system has them.
    pub(super) fn poll_write(
        &mut self,
        io: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
        buffers: &Buffers,
    ) -> Poll<io::Result<()>> {
        while let Some(rest) = self.bytes.get(self.at..self.end).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut *io).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.at += written,
            }
        }
        if self.end > 0 {
            buffers.give(std::mem::take(self).bytes);
        }
        Pin::new(io).poll_flush(cx)
    }
}

/// The length of the head that bytes begin with; all of them, where none ends.
pub(super) fn head_length(bytes: &[u8]) -> usize {
    memchr::memmem::find(bytes, b"\r\n\r\n").map_or(bytes.len(), |at| at + 4)
}

/// Bytes that a client sent ahead of what can be done with them.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    bytes: Vec<u8>,
    at: usize,
}

impl Ahead {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes().is_empty()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// The first of them are used. With the last, the memory goes.
    pub(super) fn advance(&mut self, used: usize) {
        self.at += used;
        if self.is_empty() {
            *self = Self::default();
        }
    }

    pub(super) fn append(&mut self, more: &[u8]) {
        if !more.is_empty() {
            self.bytes.drain(..self.at);
            self.at = 0;
            self.bytes.extend_from_slice(more);
        }
    }
}

/// Less than this is never read at once, however little may be held.
const LEAST: usize = 4096;

/// The part of a buffer to read into, where `limit` bytes may be held of what is not taken at once.
#[inline]
pub(super) fn window(buffer: &mut [u8], limit: usize) -> &mut [u8] {
    let length = limit.max(LEAST).min(buffer.len());
    buffer.get_mut(..length).unwrap_or_default()
}

/// Reads what is there; 0 bytes are the end.
#[inline]
pub(super) fn poll_read(
    io: &mut (impl AsyncRead + Unpin),
    cx: &mut Context<'_>,
    buffer: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(buffer);
    ready!(Pin::new(io).poll_read(cx, &mut buffer))?;
    Poll::Ready(Ok(buffer.filled().len()))
}

/// Writes as much of `first` and then `second` as is taken now. How much it was, and the error that ended it.
#[inline]
pub(super) fn write_now(
    io: &mut (impl AsyncWrite + Unpin),
    cx: &mut Context<'_>,
    first: &[u8],
    second: &[u8],
) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < first.len() + second.len() {
        let a = first.get(written..).unwrap_or_default();
        let b = second
            .get(written.saturating_sub(first.len())..)
            .unwrap_or_default();
        let io = Pin::new(&mut *io);
        let poll = match (a.is_empty(), b.is_empty()) {
            (_, true) => io.poll_write(cx, a),
            (true, false) => io.poll_write(cx, b),
            (false, false) => io.poll_write_vectored(cx, &[IoSlice::new(a), IoSlice::new(b)]),
        };
        match poll {
            Poll::Pending => break,
            Poll::Ready(Ok(0)) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(Ok(more)) => written += more,
            Poll::Ready(Err(error)) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

/// What is left of `first` and then `second` when so many bytes were written.
pub(super) fn rest(written: usize, first: &[u8], second: &[u8]) -> Vec<u8> {
    let a = first.get(written..).unwrap_or_default();
    let b = second
        .get(written.saturating_sub(first.len())..)
        .unwrap_or_default();
    [a, b].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_no_more_than_it_may() {
        let buffers = Buffers::default();
        let whole = buffers.take().len();
        let held = |limit| {
            let mut buffer = buffers.take();
            let read = window(&mut buffer, limit).len();
            let held = Held::in_buffer(buffer, 1, read, limit, &buffers);
            assert_eq!(held.len(), read - 1);
            held.bytes.capacity()
        };
        assert_eq!(held(usize::MAX), whole);
        assert_eq!(held(whole), whole);
        assert!(held(whole / 2) < whole / 2);
        assert!(held(0) < LEAST);
    }
}
