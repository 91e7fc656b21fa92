//! Sends a part of a file to a connection without copying it (sendfile), and without making the worker wait for a disk:
//! what the kernel does not have in memory is first read on another thread.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::io::{ReadWriteFlags, preadv2};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// So much is sent in one step, at most, in bytes.
const STEP: u64 = 512 * 1024;

/// Whether a part of a file is in memory is asked for one byte of so many: the kernel reads ahead in pieces of this size.
const PROBE: usize = 64 * 1024;

/// A part of a file on its way.
#[derive(Debug)]
pub struct Sending {
    file: Arc<File>,
    at: u64,
    end: u64,
    /// Up to here it is in memory.
    known: u64,
    reading: Option<JoinHandle<io::Result<()>>>,
}

impl Sending {
    /// A part of which nothing was sent yet.
    pub fn new(file: Arc<File>, part: Range<u64>) -> Self {
        Self {
            file,
            at: part.start,
            end: part.end,
            known: part.start,
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
    pub fn poll_step(&mut self, io: &TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if let Some(reading) = &mut self.reading {
                let read = ready!(std::pin::Pin::new(reading).poll(cx));
                self.reading = None;
                read??;
            }
            if self.known <= self.at {
                let next = self.at..self.end.min(self.at + STEP);
                self.known = next.end;
                if !is_in_memory(&self.file, next.clone()) {
                    let file = Arc::clone(&self.file);
                    self.reading = Some(tokio::task::spawn_blocking(move || bring_in(&file, next)));
                    continue;
                }
            }
            ready!(io.poll_write_ready(cx))?;
            let mut at = self.at;
            let length = usize::try_from(self.known - self.at).unwrap_or(usize::MAX);
            let sent = io.try_io(Interest::WRITABLE, || {
                Ok(rustix::fs::sendfile(io, &self.file, Some(&mut at), length)?)
            });
            match sent {
                Ok(0) => return Poll::Ready(Err(shorter())),
                Ok(sent) => {
                    self.at += sent as u64;
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
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
