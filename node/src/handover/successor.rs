//! The old process's view of the new one.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fleetbal_proto::v1;
use fleetbal_proto::v1::handover::Message;

use super::link::{Link, LinkError};
use super::predecessor::Inheritance;

/// The flag that a new process is started with.
const TAKE_OVER: &str = "--take-over";

/// How long a new process may take to read and check its settings, and then to open and serve.
const PREPARED_WITHIN: Duration = Duration::from_secs(10);
const OPENED_WITHIN: Duration = Duration::from_secs(10);

/// How long a process may take to end that has closed its end, for its status to be told; and how often to look.
const ENDS_WITHIN: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(5);

/// Why no other process took this one's place.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// It could not be started.
    #[error("cannot start {path}: {source}")]
    Start {
        /// What was to be started.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It did not say that it is prepared.
    #[error("the new process was not prepared: {0}{1}")]
    NotPrepared(LinkError, Ended),
    /// It did not open what it was passed.
    #[error("the new process did not open: {0}{1}")]
    NotOpened(LinkError, Ended),
    /// A descriptor could not be copied.
    #[error("cannot copy the listening sockets: {0}")]
    Sockets(io::Error),
}

/// How a process ended that did so by itself, in words.
#[derive(Debug)]
pub struct Ended(String);

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// How this process was started: the way in which its successor will be.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// This process's. To be asked at the start: a file that is replaced later keeps its name.
    pub fn current() -> Self {
        let mut words = std::env::args_os();
        let called = words.next().unwrap_or_default();
        Self {
            // The system does not tell where there is no /proc.
            path: std::env::current_exe().unwrap_or_else(|_| PathBuf::from(called)),
            arguments: words.filter(|word| word != OsStr::new(TAKE_OVER)).collect(),
        }
    }
}

/// The process that takes the place of this one. Dropped before [`Successor::go`], it is killed.
#[derive(Debug)]
pub struct Successor {
    child: Child,
    link: Link,
    lives_on: bool,
}

impl Successor {
    /// Starts it, and waits until it is prepared. Blocks.
    ///
    /// # Errors
    /// When it does not start, ends, or takes too long; then it is gone.
    pub fn start(program: &Program) -> Result<Self, HandoverError> {
        let failed = |source| HandoverError::Start {
            path: program.path.clone(),
            source,
        };
        let (link, other) = Link::pair().map_err(failed)?;
        let mut command = Command::new(&program.path);
        command.arg(TAKE_OVER).args(&program.arguments);
        // The service manager's watchdog was told of this process's id.
        command.env_remove("WATCHDOG_PID").stdin(Stdio::from(other));
        let mut successor = Self {
            child: command.spawn().map_err(failed)?,
            link,
            lives_on: false,
        };
        // It holds the other end too, and would hide that the new process ended.
        drop(command);
        match successor.expect(PREPARED_WITHIN, |message| matches!(message, Message::Prepared(_))) {
            Ok(()) => Ok(successor),
            Err(error) => {
                let ended = successor.ended(&error);
                Err(HandoverError::NotPrepared(error, ended))
            }
        }
    }

    /// Passes everything to it, and waits until it serves. Blocks.
    ///
    /// # Errors
    /// When it ends, or takes too long.
    pub fn hand_over(&mut self, inheritance: &Inheritance) -> Result<(), HandoverError> {
        self.pass(inheritance)
            .and_then(|()| self.expect(OPENED_WITHIN, |message| matches!(message, Message::Opened(_))))
            .map_err(|error| {
                let ended = self.ended(&error);
                HandoverError::NotOpened(error, ended)
            })
    }

    fn pass(&self, inheritance: &Inheritance) -> Result<(), LinkError> {
        self.link.send_sockets(&inheritance.sockets)?;
        self.link
            .send_state(inheritance.state.as_deref().unwrap_or_default())?;
        self.link.send(Message::Open(v1::Open {
            alone: inheritance.state.is_some(),
            ready: inheritance.ready,
            draining: inheritance.draining,
        }))
    }

    fn expect(&self, within: Duration, is_right: impl Fn(&Message) -> bool) -> Result<(), LinkError> {
        let (message, _) = self.link.receive(within)?;
        is_right(&message).then_some(()).ok_or(LinkError::Unknown)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// It is the node from now on.
    pub fn go(mut self) {
        self.lives_on = true;
        if let Err(error) = self.link.send(Message::Go(v1::Go {})) {
            tracing::warn!(%error, "the new process serves, and was not told that it is alone");
        }
    }

    fn ended(&mut self, error: &LinkError) -> Ended {
        let mut status = None;
        let give_up = Instant::now() + ENDS_WITHIN;
        while matches!(error, LinkError::Ended) && status.is_none() && Instant::now() < give_up {
            std::thread::sleep(LOOK);
            status = self.child.try_wait().ok().flatten();
        }
        Ended(status.map(|status| format!(" ({status})")).unwrap_or_default())
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        if !self.lives_on {
            // It may have ended by itself.
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}
