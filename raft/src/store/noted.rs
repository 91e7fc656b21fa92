//! Remembers what a medium failed with first: the consensus stops at it, and what it says of it later is for
//! programmers.

use std::io;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use super::records::{Key, Records, WhenDurable};

/// The first failure, in the system's or the store's own words.
#[derive(Debug, Clone, Default)]
pub(crate) struct FirstFailure(Arc<OnceLock<String>>);

impl FirstFailure {
    /// What it was, if there was one.
    pub(crate) fn get(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }

    fn note<T>(&self, outcome: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &outcome {
            self.0.get_or_init(|| error.to_string());
        }
        outcome
    }
}

/// A medium whose failures are noted.
#[derive(Debug)]
pub(super) struct Noted<R> {
    pub(super) records: R,
    pub(super) failure: FirstFailure,
}

impl<R: Records> Records for Noted<R> {
    fn append(&self, records: Vec<(u64, Vec<u8>)>) -> io::Result<()> {
        self.failure.note(self.records.append(records))
    }

    fn read(&self, indexes: Range<u64>, limit: usize) -> io::Result<Vec<Vec<u8>>> {
        self.failure.note(self.records.read(indexes, limit))
    }

    fn last(&self) -> io::Result<Option<Vec<u8>>> {
        self.failure.note(self.records.last())
    }

    fn remove_from(&self, index: u64) -> io::Result<()> {
        self.failure.note(self.records.remove_from(index))
    }

    fn purge(&self, index: u64, purged: Vec<u8>) -> io::Result<()> {
        self.failure.note(self.records.purge(index, purged))
    }

    fn get(&self, key: Key) -> io::Result<Option<Vec<u8>>> {
        self.failure.note(self.records.get(key))
    }

    fn put(&self, key: Key, value: Option<Vec<u8>>) -> io::Result<()> {
        self.failure.note(self.records.put(key, value))
    }

    fn when_durable(&self, then: WhenDurable) {
        let failure = self.failure.clone();
        self.records
            .when_durable(Box::new(move |outcome| then(failure.note(outcome))));
    }

    fn note_committed(&self, index: u64, note: Vec<u8>) -> io::Result<()> {
        self.failure.note(self.records.note_committed(index, note))
    }

    fn committed(&self) -> io::Result<Option<Vec<u8>>> {
        self.failure.note(self.records.committed())
    }
}
