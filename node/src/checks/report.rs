//! What can be asked about backends' health.

use std::time::Duration;

use fleetbal_raft::model::PoolName;

use crate::health::{Key, Observation, Rule};

/// The health of one backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendHealth {
    /// Which.
    pub key: Key,
    /// In one word.
    pub standing: Standing,
    /// This node's verdict.
    pub is_up: bool,
    /// Whether so much of its pool is down that verdicts are set aside.
    pub is_panic: bool,
    /// Whether this node has taken it out by the outcome of its requests.
    pub is_ejected: bool,
    /// How often it did.
    pub ejections: u64,
    /// What it has of its requests while that grows after its return, in thousandths; none: all.
    pub part: Option<u64>,
    /// For how long the verdict has been what it is.
    pub since: Duration,
    /// Why it is down.
    pub reason: Option<String>,
}

/// A backend in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It gets requests.
    Up,
    /// It gets none as long as there are others.
    Down,
    /// It gets none, for somebody wants it so.
    Draining,
}

impl Standing {
    /// As `health` prints it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Draining => "draining",
        }
    }
}

/// Why a backend is judged as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    /// The verdict.
    pub health: BackendHealth,
    /// The rule that decided.
    pub rule: Rule,
    /// What each live node says, by name.
    pub evidence: Vec<Evidence>,
}

/// What a node says of a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The node.
    pub node: String,
    /// Whether it is one of those who check.
    pub is_checker: bool,
    /// What it says; none: nothing.
    pub observation: Option<Observation>,
    /// How old that is: of this node since it looked last, of others since they began to say so.
    pub age: Option<Duration>,
}

/// A pool of which no backend is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreachable {
    /// Its name.
    pub name: PoolName,
    /// For how long.
    pub since: Duration,
    /// Whether this node has seen that of each itself a moment ago.
    pub is_seen_here: bool,
    /// How long it takes at most until the others know whether that is so for them.
    pub patience: Duration,
}
