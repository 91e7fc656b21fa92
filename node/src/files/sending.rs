//! Sends a part of a file to a connection without copying it (sendfile) where nothing has to be encrypted, and without making the worker wait for a disk:
//! what the kernel does not have in memory is first read on another thread.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::io::{ReadWriteFlags, preadv2};
use tokio::io::{AsyncWrite, Interest};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::cache::OpenFile;
use crate::tls::Stream;

/// So much is looked for in memory in one step, at most, in bytes.
const LOOK: u64 = 512 * 1024;

/// So much is sent in one step, at most, in bytes.
const STEP: u64 = 2 * 1024 * 1024;

/// A part of no more than this is on its way so shortly that all of it is in memory still, if it was a moment ago.
const SHORT: u64 = 8 * 1024 * 1024;

/// So much is read and encrypted at once, at most, in bytes.
const ENCRYPTED: usize = 64 * 1024;

/// Whether a part of a file is in memory is asked for one byte of so many: the kernel reads ahead in pieces of this size.
const PROBE: usize = 64 * 1024;

/// A part of a file on its way.
#[derive(Debug)]
pub struct Sending {
    file: Rc<OpenFile>,
    at: u64,
    end: u64,
    /// Up to here it is in memory.
    known: u64,
    /// Whether all so far was in memory.
    is_resident: bool,
    reading: Option<JoinHandle<io::Result<()>>>,
}

impl Sending {
    /// A part of which nothing was sent yet.
    pub fn new(file: Rc<OpenFile>, part: Range<u64>) -> Self {
        let is_known = part.end - part.start <= SHORT && file.is_resident();
        Self {
            is_resident: part == (0..file.stamp.size),
            file,
            at: part.start,
            end: part.end,
            known: if is_known { part.end } else { part.start },
            reading: None,
        }
    }

    /// Whether all of it was sent.
    pub fn is_done(&self) -> bool {
        self.at >= self.end
    }

    /// Ready when some more was sent.
    ///
    /// # Errors
    /// When the client takes no more, or the file has become shorter.
    pub fn poll_step(&mut self, io: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if let Some(reading) = &mut self.reading {
                let read = ready!(std::pin::Pin::new(reading).poll(cx));
                self.reading = None;
                read??;
            }
            if self.known <= self.at {
                let next = self.at..self.end.min(self.at + LOOK);
                self.known = next.end;
                let is_there = is_in_memory(&self.file.file, next.clone());
                self.is_resident &= is_there;
                if self.is_resident && self.known == self.end {
                    self.file.was_resident();
                }
                if !is_there {
                    let file = Arc::clone(&self.file.file);
                    self.reading = Some(tokio::task::spawn_blocking(move || bring_in(&file, next)));
                    continue;
                }
            }
            let length = usize::try_from((self.known - self.at).min(STEP)).unwrap_or(usize::MAX);
            let sent = ready!(match &mut *io {
                Stream::Plain(io) => self.poll_sendfile(io, length, cx),
                tls @ Stream::Tls(_) => self.poll_copy(tls, length, cx),
            })?;
            if sent == 0 {
                return Poll::Ready(Err(shorter()));
            }
            self.at += sent as u64;
            return Poll::Ready(Ok(()));
        }
    }

    fn poll_sendfile(&self, io: &TcpStream, length: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            ready!(io.poll_write_ready(cx))?;
            let mut at = self.at;
            let sent = io.try_io(Interest::WRITABLE, || {
                Ok(rustix::fs::sendfile(io, &*self.file.file, Some(&mut at), length)?)
            });
            match sent {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return Poll::Ready(sent),
            }
        }
    }

    /// Reads only what can be encrypted and taken at once.
    fn poll_copy(&self, io: &mut Stream, length: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut *io).poll_flush(cx))?;
        let mut bytes = vec![0; length.min(ENCRYPTED)];
        let read = self.file.file.read_at(&mut bytes, self.at)?;
        match bytes.get(..read).filter(|bytes| !bytes.is_empty()) {
            Some(bytes) => Pin::new(io).poll_write(cx, bytes),
            None => Poll::Ready(Ok(0)),
        }
    }
}

fn shorter() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the file has become shorter")
}

fn is_in_memory(file: &File, part: Range<u64>) -> bool {
    let mut byte = [0];
    let mut probed = part.clone().step_by(PROBE).chain(std::iter::once(part.end - 1));
    probed.all(|at| {
        let read = preadv2(
            file,
            &mut [io::IoSliceMut::new(&mut byte)],
            at,
            ReadWriteFlags::NOWAIT,
        );
        // An end that has moved is found out by whoever sends.
        read.is_ok()
    })
}

fn bring_in(file: &File, part: Range<u64>) -> io::Result<()> {
    let mut piece = vec![0; PROBE];
    let mut at = part.start;
    while at < part.end {
        match file.read_at(&mut piece, at)? {
            0 => return Err(shorter()),
            read => at += read as u64,
        }
    }
    Ok(())
}
