//! What was asked of the fleet and what it answered, in the order in which it happened.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Something that one typist asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Operation {
    /// A pool of this name, which nobody else asks for.
    Create(String),
    /// Sets a register to a value, which nobody else writes.
    Write { register: u64, value: String },
    /// Reads a register after `sync`.
    Read { register: u64 },
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was done.
    Done,
    /// The register held this; nothing at first.
    Value(Option<String>),
    /// It was not done, and will not be.
    Refused(String),
    /// Nobody said, or it was said to be unknown, perhaps with an id to ask for.
    Unknown { request: Option<String> },
}

/// An operation from its call to its end.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) operation: Operation,
    /// The place of its call among all calls and ends.
    pub(super) called: usize,
    /// Its end; none where nobody was there any more to hear of it.
    pub(super) ended: Option<(usize, Outcome)>,
}

/// Clones write into the same one.
#[derive(Debug, Clone, Default)]
pub(super) struct Journal(Arc<Mutex<Written>>);

#[derive(Debug, Default)]
struct Written {
    events: usize,
    records: Vec<Record>,
    /// Each fault of P2 that a look at a node's status showed.
    differing: Vec<String>,
}

impl Journal {
    fn written(&self) -> MutexGuard<'_, Written> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be said before anything is sent; which one it is.
    pub(super) fn call(&self, operation: Operation) -> usize {
        let mut written = self.written();
        let called = written.events;
        written.events += 1;
        written.records.push(Record {
            operation,
            called,
            ended: None,
        });
        written.records.len() - 1
    }

    /// To be said after the answer was read.
    pub(super) fn end(&self, which: usize, outcome: Outcome) {
        let mut written = self.written();
        let at = written.events;
        written.events += 1;
        if let Some(record) = written.records.get_mut(which) {
            record.ended = Some((at, outcome));
        }
    }

    pub(super) fn differ(&self, what: String) {
        self.written().differing.push(what);
    }

    pub(super) fn differing(&self) -> Vec<String> {
        self.written().differing.clone()
    }

    pub(super) fn records(&self) -> Vec<Record> {
        self.written().records.clone()
    }
}

/// The pool whose `health_host` is a register.
pub(super) fn register_name(register: u64) -> String {
    format!("register{register}")
}
