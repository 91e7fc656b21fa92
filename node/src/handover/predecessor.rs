//! The new process's view of the old one.

use std::fs::File;
use std::os::fd::AsFd;
use std::time::Duration;

use fleetbal_proto::v1;
use fleetbal_proto::v1::handover::Message;

use super::link::{Link, LinkError};
use crate::sockets::Passed;

/// How long the old process may take to stop what has to be stopped, the leadership's transfer included.
const INHERIT_WITHIN: Duration = Duration::from_mins(1);

/// How long it may take to say that this process is the node.
const GO_WITHIN: Duration = Duration::from_secs(10);

/// The process whose place this one takes.
#[derive(Debug)]
pub struct Predecessor(Link);

/// What one process leaves to the next, and to itself where that one fails.
#[derive(Debug, Default)]
pub struct Inheritance {
    /// Its listening sockets.
    pub sockets: Vec<Passed>,
    /// All that was replicated, where the node stands alone; else it is in the data directory.
    pub state: Option<Vec<u8>>,
    /// Whether the node should get traffic.
    pub ready: bool,
    /// Whether an operator drains it.
    pub draining: bool,
}

impl Predecessor {
    /// The one at the other end of standard input, which is empty from then on; none where there is something else.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn at_stdin() -> std::io::Result<Option<Self>> {
        let stdin = std::io::stdin().as_fd().try_clone_to_owned()?;
        nix::unistd::dup2_stdin(File::open("/dev/null")?)?;
        Ok(Link::of(stdin).map(Self))
    }

    /// Says that this process is prepared, and waits for all that the old one passes. Blocks.
    ///
    /// # Errors
    /// When the old one changed its mind, or ended.
    pub fn inherit(&self) -> Result<Inheritance, LinkError> {
        let release = env!("CARGO_PKG_VERSION").to_owned();
        self.0.send(Message::Prepared(v1::Prepared { release }))?;
        let mut inheritance = Inheritance::default();
        let mut state = Vec::new();
        loop {
            let (message, sockets) = self.0.receive(INHERIT_WITHIN)?;
            inheritance.sockets.extend(sockets);
            match message {
                Message::Sockets(_) => {}
                Message::State(piece) => state.extend_from_slice(&piece),
                Message::Open(open) => {
                    inheritance.state = open.alone.then_some(state);
                    inheritance.ready = open.ready;
                    inheritance.draining = open.draining;
                    return Ok(inheritance);
                }
                Message::Prepared(_) | Message::Opened(_) | Message::Go(_) => return Err(LinkError::Unknown),
            }
        }
    }

    /// Says that this process serves, and waits until it is the node. Blocks.
    ///
    /// # Errors
    /// When the old one ended meanwhile: then this one is the node all the same.
    pub fn opened(&self) -> Result<(), LinkError> {
        self.0.send(Message::Opened(v1::Opened {}))?;
        let (message, _) = self.0.receive(GO_WITHIN)?;
        matches!(message, Message::Go(_))
            .then_some(())
            .ok_or(LinkError::Unknown)
    }
}
