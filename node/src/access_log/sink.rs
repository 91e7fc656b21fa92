//! One log: a file, a pipe or a program, and what waits to be written to it.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use super::{Batch, Trouble};
use crate::os_error;
use crate::snapshot::LogTarget;

/// So many bytes may wait for a pipe or a program; more are dropped.
const MOST_WAITING: usize = 1 << 20;

/// The first pause before something is opened or started again, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// A program or a pipe that has gone well for so long is well again; and trouble with slowness lasts so long.
const STEADY: Duration = Duration::from_secs(5);

const SLOW: &str = "it takes lines too slowly; lines are lost";

/// Where bytes go.
#[derive(Debug)]
enum Output {
    /// A regular file takes all of them, or says why not.
    File(File),
    /// A pipe or a device may take some, and may go.
    Stream(File),
    Program(Child, ChildStdin),
}

/// One log.
#[derive(Debug)]
pub(super) struct Sink {
    target: Arc<LogTarget>,
    output: Option<Output>,
    opened: Instant,
    waiting: VecDeque<Batch>,
    /// How many bytes wait.
    held: usize,
    /// How many bytes of the first batch were written.
    at: usize,
    /// Whether the file ends in the middle of a line.
    torn: bool,
    trouble: Option<Trouble>,
    /// Whether the file is to be opened in place of the one that is.
    moved: bool,
    retry: Instant,
    pause: Duration,
}

/// Opens a file for lines. A pipe that nobody reads is an error, as waiting for a reader would stop everything.
///
/// # Errors
/// Why it cannot be had.
pub fn open_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    options.custom_flags(flags.bits().cast_signed());
    options.open(path)
}

impl Sink {
    /// Opens a log, or finds out why that does not work.
    pub(super) fn open(target: Arc<LogTarget>, now: Instant) -> Self {
        let mut sink = Self {
            target,
            output: None,
            opened: now,
            waiting: VecDeque::new(),
            held: 0,
            at: 0,
            torn: false,
            trouble: None,
            moved: false,
            retry: now,
            pause: RETRY.0,
        };
        sink.try_open(now);
        sink
    }

    /// What is wrong with it.
    pub(super) fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref()
    }

    /// Whether it has to be looked at soon, though nobody writes.
    pub(super) fn is_restless(&self) -> bool {
        self.output.is_none() || self.moved || !self.waiting.is_empty()
    }

    /// Whether it has to be looked at now and then.
    pub(super) fn is_watched(&self) -> bool {
        self.trouble.is_some() || matches!(self.output, Some(Output::Program(..)))
    }

    /// Whether something waits for it.
    pub(super) fn is_behind(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes lines in, and writes what it can.
    pub(super) fn take(&mut self, batch: Batch, now: Instant) {
        if self.held + batch.bytes.len() > MOST_WAITING && !self.waiting.is_empty() {
            batch.stats.log_lines_dropped(batch.lines);
            if self.output.is_some() {
                self.complain(SLOW.to_owned(), now);
            }
        } else {
            self.held += batch.bytes.len();
            self.waiting.push_back(batch);
        }
        self.advance(now);
    }

    /// The file may have been moved.
    pub(super) fn reopen(&mut self, now: Instant) {
        self.moved = matches!(self.output, Some(Output::File(_) | Output::Stream(_)));
        self.retry = now;
        self.advance(now);
    }

    /// Opens what is to be opened, and writes what it can.
    pub(super) fn advance(&mut self, now: Instant) {
        if (self.output.is_none() || self.moved) && now >= self.retry {
            self.try_open(now);
        }
        self.look_at_program(now);
        while self.write_some(now) {}
        let is_steady = now.duration_since(self.opened) >= STEADY
            && self
                .trouble
                .as_ref()
                .is_none_or(|trouble| now.duration_since(trouble.since) >= STEADY);
        let is_stream = matches!(self.output, Some(Output::Stream(_) | Output::Program(..)));
        if is_stream && is_steady && self.waiting.is_empty() {
            self.is_well();
        }
    }

    fn try_open(&mut self, now: Instant) {
        let opened = match &*self.target {
            LogTarget::File(path) => open_file(path).and_then(|file| {
                let kind = file.metadata()?.file_type();
                let streams = kind.is_fifo() || kind.is_char_device() || kind.is_socket();
                Ok(if streams {
                    Output::Stream(file)
                } else {
                    Output::File(file)
                })
            }),
            LogTarget::Command(command) => start(command),
        };
        match opened {
            Ok(output) => {
                let is_file = matches!(output, Output::File(_));
                self.output = Some(output);
                self.opened = now;
                self.moved = false;
                self.torn = false;
                self.rewind_to_line();
                // Whether a program or a pipe is any good shows later.
                if is_file {
                    self.is_well();
                }
            }
            Err(error) => {
                let words = match error.raw_os_error() {
                    Some(code) if code == rustix::io::Errno::NXIO.raw_os_error() => {
                        "nobody reads it".to_owned()
                    }
                    _ => os_error::words(&error),
                };
                self.complain(format!("cannot be opened: {words}"), now);
                self.try_later(now);
            }
        }
    }

    /// A program that has ended is noticed though nobody writes to it.
    fn look_at_program(&mut self, now: Instant) {
        let Some(Output::Program(child, _)) = &mut self.output else {
            return;
        };
        let ended = match child.try_wait() {
            Ok(None) => return,
            Ok(Some(status)) => status.to_string(),
            Err(error) => os_error::words(&error),
        };
        self.output = None;
        self.complain(format!("the command ended ({ended}); it is started again"), now);
        self.try_later(now);
    }

    /// Writes a piece of what waits; whether there may be more to write now.
    fn write_some(&mut self, now: Instant) -> bool {
        let (Some(batch), Some(output)) = (self.waiting.front(), &mut self.output) else {
            return false;
        };
        let rest = batch.bytes.get(self.at..).unwrap_or_default();
        let written = match output {
            // The line that was begun ends, so that the next one can be read.
            Output::File(file) if self.torn => file.write(b"\n").map(|_| {
                self.torn = false;
                0
            }),
            Output::File(file) | Output::Stream(file) => file.write(rest),
            Output::Program(_, stdin) => stdin.write(rest),
        };
        match written {
            Ok(written) => {
                self.at += written;
                if self.at >= batch.bytes.len() {
                    batch.stats.log_lines_written(batch.lines);
                    self.drop_first();
                }
                if matches!(self.output, Some(Output::File(_))) {
                    self.is_well();
                }
                true
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => true,
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => self.failed(&error, now),
        }
    }

    /// Whether there may be more to write now.
    fn failed(&mut self, error: &io::Error, now: Instant) -> bool {
        if matches!(self.output, Some(Output::Program(..))) {
            // Why it went is known when it has ended.
            self.look_at_program(now);
            return false;
        }
        let words = os_error::words(error);
        self.complain(format!("cannot be written to: {words}; lines are lost"), now);
        let is_gone = matches!(self.output, Some(Output::Stream(_))) && error.kind() == ErrorKind::BrokenPipe;
        if is_gone {
            self.output = None;
            self.try_later(now);
            return false;
        }
        let Some(batch) = self.waiting.front() else {
            return false;
        };
        let (done, rest) = batch.bytes.split_at_checked(self.at).unwrap_or_default();
        let lost = memchr::memchr_iter(b'\n', rest).count() as u64;
        batch.stats.log_lines_dropped(lost);
        batch.stats.log_lines_written(batch.lines.saturating_sub(lost));
        self.torn |= !done.is_empty() && !done.ends_with(b"\n");
        self.drop_first();
        true
    }

    fn drop_first(&mut self) {
        if let Some(batch) = self.waiting.pop_front() {
            self.held -= batch.bytes.len();
        }
        self.at = 0;
    }

    /// Whoever reads next gets whole lines.
    fn rewind_to_line(&mut self) {
        let done = self
            .waiting
            .front()
            .and_then(|batch| batch.bytes.get(..self.at))
            .unwrap_or_default();
        self.at = memchr::memrchr(b'\n', done).map_or(0, |end| end + 1);
    }

    fn try_later(&mut self, now: Instant) {
        let lived = now.duration_since(self.opened);
        self.pause = if lived >= STEADY {
            RETRY.0
        } else {
            (self.pause * 2).min(RETRY.1)
        };
        self.retry = now + self.pause;
    }

    fn complain(&mut self, reason: String, now: Instant) {
        let is_new = self
            .trouble
            .as_ref()
            .is_none_or(|trouble| trouble.reason != reason);
        if is_new {
            tracing::warn!(log = %self.target, %reason, "an access log is in trouble");
            self.trouble = Some(Trouble {
                target: Some(Arc::clone(&self.target)),
                reason,
                since: now,
            });
        }
    }

    fn is_well(&mut self) {
        self.pause = RETRY.0;
        if self.trouble.take().is_some() {
            tracing::info!(log = %self.target, "an access log is written again");
        }
    }

    /// Closes it; a program that it leaves behind ends when it has read all of its input.
    pub(super) fn close(mut self) -> Option<Child> {
        for batch in self.waiting.drain(..) {
            batch.stats.log_lines_dropped(batch.lines);
        }
        match self.output {
            Some(Output::Program(child, stdin)) => {
                drop(stdin);
                Some(child)
            }
            Some(Output::File(_) | Output::Stream(_)) | None => None,
        }
    }
}

/// What this node was told in its environment is not the program's business: secrets are there.
const OWN_VARIABLES: &str = "FLEETBAL_";

fn start(command: &str) -> io::Result<Output> {
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(command).stdin(Stdio::piped());
    let own = std::env::vars_os().map(|(name, _)| name);
    for name in own.filter(|name| name.to_string_lossy().starts_with(OWN_VARIABLES)) {
        shell.env_remove(name);
    }
    let mut child = shell.spawn()?;
    let stdin = child.stdin.take().ok_or(ErrorKind::BrokenPipe)?;
    rustix::io::ioctl_fionbio(&stdin, true)?;
    Ok(Output::Program(child, stdin))
}
