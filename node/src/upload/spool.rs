//! The file that a body waits in. It is there for as long as somebody holds it; what a crash leaves behind is removed
//! by the next sweep.
//!
//! Whoever uses a file holds its `flock`, so that a sweep, of this process or another one's, tells what is left over.
//! Nothing here makes a worker wait for a disk: files are made, written, read and removed on other threads.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::task::{Context, Poll, ready};

use tokio::runtime::Handle;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::files::blocking;

/// What is written or read in one step, in bytes.
pub const PIECE: usize = 64 * 1024;

/// How often another name is tried, where one is taken.
const TRIES: usize = 16;

/// The names of the files of one service: `SERVICE-LISTEN-client-FD-RANDOM`, as in Perlbal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SpoolName {
    /// Where they are.
    pub directory: PathBuf,
    /// The service's name, which has no `-`.
    pub service: String,
    /// Where the service listens.
    pub listen: String,
}

impl SpoolName {
    fn path(&self, descriptor: i32) -> PathBuf {
        let Self { service, listen, .. } = self;
        let random: u32 = rand::random();
        self.directory
            .join(format!("{service}-{listen}-client-{descriptor}-{random}"))
    }

    /// Whether a file of that name is one of the service's, wherever it listened.
    fn matches(&self, name: &str) -> bool {
        let rest = name
            .strip_prefix(&self.service)
            .and_then(|rest| rest.strip_prefix('-'));
        let mut words = rest.unwrap_or_default().rsplitn(4, '-');
        let is_number = |word: Option<&str>| {
            word.is_some_and(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit()))
        };
        is_number(words.next())
            && is_number(words.next())
            && words.next() == Some("client")
            && words.next().is_some_and(|listen| !listen.is_empty())
    }

    /// Removes the files of the service that nobody holds. Waits for the disk. How many there were.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn sweep(&self) -> io::Result<usize> {
        let mut removed = 0;
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let is_ours = entry.file_name().to_str().is_some_and(|name| self.matches(name));
            if is_ours && entry.file_type()?.is_file() && remove_unused(&entry.path()) {
                removed += 1;
            }
        }
        Ok(removed)
    }
}

fn remove_unused(path: &Path) -> bool {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
        .open(path);
    // Whoever has it open, and whoever it vanishes under, looks after it.
    opened.is_ok_and(|file| file.try_lock().is_ok() && fs::remove_file(path).is_ok())
}

/// The file itself; removed when it is dropped.
#[derive(Debug)]
struct OnDisk {
    file: File,
    path: PathBuf,
}

impl OnDisk {
    fn create(name: &SpoolName, descriptor: i32) -> io::Result<Self> {
        let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
        for _ in 0..TRIES {
            let path = name.path(descriptor);
            let created = OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path);
            let file = match created {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    last = error;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let file = Self { file, path };
            match file.file.try_lock() {
                // A sweep may have found it before it was locked.
                Ok(()) if file.file.metadata()?.nlink() > 0 => return Ok(file),
                Ok(()) | Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        Err(last)
    }
}

impl Drop for OnDisk {
    fn drop(&mut self) {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.path.display(), %error, "cannot remove a buffered upload");
            }
            Ok(()) | Err(_) => {}
        }
    }
}

/// Holds a file, and lets it go on another thread: to remove a large one takes a while.
#[derive(Debug)]
struct Held(Option<OnDisk>);

impl Drop for Held {
    fn drop(&mut self) {
        let Some(file) = self.0.take() else { return };
        // A runtime that is ending drops what it is given, and this thread removes the file after all.
        if let Ok(runtime) = Handle::try_current() {
            drop(runtime.spawn_blocking(move || drop(file)));
        }
    }
}

/// A file that a body is being written to.
#[derive(Debug)]
pub struct Spool {
    file: Held,
    length: u64,
}

impl Spool {
    /// A new file, for the connection with that descriptor. Before the first one, a sweep is due.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn create(name: SpoolName, descriptor: i32, sweep: bool) -> io::Result<Self> {
        let file = blocking(move || {
            if sweep && let Err(error) = name.sweep() {
                tracing::debug!(directory = %name.directory.display(), %error, "cannot look for old uploads");
            }
            OnDisk::create(&name, descriptor).map_err(|error| {
                let directory = name.directory.display();
                tracing::warn!(%directory, %error, "cannot make a file for a buffered upload");
                error
            })
        })
        .await?;
        Ok(Self {
            file: Held(Some(file)),
            length: 0,
        })
    }

    /// Writes a piece; it comes back empty, for the next one.
    ///
    /// # Errors
    /// When it cannot be written; the file is removed then.
    pub async fn append(mut self, mut piece: Vec<u8>) -> io::Result<(Self, Vec<u8>)> {
        let written = piece.len() as u64;
        let Some(mut file) = self.file.0.take() else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let (file, piece) = blocking(move || {
            if let Err(error) = file.file.write_all(&piece) {
                tracing::warn!(path = %file.path.display(), %error, "cannot write a buffered upload");
                return Err(error);
            }
            piece.clear();
            Ok((file, piece))
        })
        .await?;
        self.file.0 = Some(file);
        self.length += written;
        Ok((self, piece))
    }

    /// How many bytes it has.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Reads it from its beginning.
    pub fn replay(mut self) -> Replay {
        Replay {
            left: self.length,
            is_at_start: true,
            state: self
                .file
                .0
                .take()
                .map_or(State::Lost, |file| State::Idle(Held(Some(file)))),
        }
    }
}

/// A file that a body is being read from, once.
#[derive(Debug)]
pub struct Replay {
    left: u64,
    is_at_start: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    Idle(Held),
    Reading(JoinHandle<io::Result<(OnDisk, Vec<u8>)>>),
    Lost,
}

impl Replay {
    /// How many bytes are to come.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// The next piece; an empty one is the end. Nothing is read ahead.
    ///
    /// # Errors
    /// When it cannot be read, or ends too soon.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Vec<u8>>> {
        if self.left == 0 {
            return Poll::Ready(Ok(Vec::new()));
        }
        loop {
            match &mut self.state {
                State::Lost => return Poll::Ready(Err(io::ErrorKind::NotFound.into())),
                State::Idle(held) => {
                    let Some(file) = held.0.take() else {
                        self.state = State::Lost;
                        continue;
                    };
                    let rewind = std::mem::take(&mut self.is_at_start);
                    let length = usize::try_from(self.left).unwrap_or(PIECE).min(PIECE);
                    self.state = State::Reading(spawn_blocking(move || read(file, rewind, length)));
                }
                State::Reading(reading) => {
                    let read = ready!(std::pin::Pin::new(reading).poll(cx));
                    self.state = State::Lost;
                    let (file, piece) = read.map_err(io::Error::other)??;
                    self.left -= piece.len() as u64;
                    self.state = State::Idle(Held(Some(file)));
                    return Poll::Ready(Ok(piece));
                }
            }
        }
    }
}

fn read(mut file: OnDisk, rewind: bool, length: usize) -> io::Result<(OnDisk, Vec<u8>)> {
    let mut piece = vec![0; length];
    let read = (|| {
        if rewind {
            file.file.rewind()?;
        }
        file.file.read_exact(&mut piece)
    })();
    match read {
        Ok(()) => Ok((file, piece)),
        Err(error) => {
            tracing::warn!(path = %file.path.display(), %error, "cannot read a buffered upload");
            Err(error)
        }
    }
}

#[cfg(test)]
#[path = "spool_tests.rs"]
mod tests;
