//! What is thought of a backend, and by what rules. Pure: time, the other nodes and all that was seen are passed in.
//!
//! A node has its own observation of a backend ([`Tracker`]), from real requests and from checks. Each backend has a few
//! checkers among the live nodes ([`Checkers`]), the same in the eyes of all. A node's verdict ([`judge`]) goes by its own
//! observation, and else by the checkers'.

mod assign;
mod tracker;
mod verdict;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::time::Duration;

use fleetbal_raft::model::{BackendAddress, PoolName};

use crate::os_error;
pub use assign::Checkers;
pub use tracker::{Own, Patience, Tracker};
pub use verdict::{Judgement, Rule, Usable, judge};

/// A backend of a pool.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The pool.
    pub pool: PoolName,
    /// Where the backend listens.
    pub backend: BackendAddress,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.pool, self.backend)
    }
}

/// What was seen of a backend once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// It did what it should, in that time where it was measured.
    Up(Option<Duration>),
    /// It did not.
    Down(Failure),
}

/// How a backend failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// In a few words, one line.
    pub reason: String,
    /// Whether it refused the connection: nobody listens, so there is nothing to wait for.
    pub refused: bool,
}

impl Failure {
    /// A connection that could not be opened; none where that says nothing about the backend (no descriptor is left).
    pub fn of_connect(error: &io::Error) -> Option<Self> {
        let refused = error.kind() == io::ErrorKind::ConnectionRefused;
        let about_backend = matches!(
            error.kind(),
            io::ErrorKind::ConnectionRefused
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::TimedOut
                | io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable
        );
        about_backend.then(|| Self {
            reason: os_error::words(error),
            refused,
        })
    }

    /// Something else.
    pub fn other(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            refused: false,
        }
    }
}

/// What a node tells the others of a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation {
    /// It is up, though somebody says otherwise; how long its last answer took, in whole milliseconds.
    Up(Option<u64>),
    /// It is down, and why.
    Down(String),
    /// It can be reached, but this node's requests come to nothing good, and why it leaves it alone for a while. That is
    /// told, and counts for nobody else.
    Ejected(String),
}

impl Observation {
    /// Whether it says that the backend is up; none: nothing about that.
    pub fn says_up(&self) -> Option<bool> {
        match self {
            Self::Up(_) => Some(true),
            Self::Down(_) => Some(false),
            Self::Ejected(_) => None,
        }
    }

    /// Whether another one says the same, whatever its reason or time.
    pub fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// All that a node tells of backends: of those that somebody is in trouble with, and of no other.
pub type Told = BTreeMap<Key, Observation>;
