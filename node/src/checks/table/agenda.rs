//! When to think about which backend again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::health::Key;

/// At most one time for each backend.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    by_time: BTreeSet<(Instant, Key)>,
    by_backend: BTreeMap<Key, Instant>,
}

impl Agenda {
    /// In place of whatever time was set.
    pub(super) fn set(&mut self, key: &Key, at: Option<Instant>) {
        if self.by_backend.get(key).copied() == at {
            return;
        }
        self.remove(key);
        if let Some(at) = at {
            self.by_time.insert((at, key.clone()));
            self.by_backend.insert(key.clone(), at);
        }
    }

    pub(super) fn remove(&mut self, key: &Key) {
        if let Some(at) = self.by_backend.remove(key) {
            self.by_time.remove(&(at, key.clone()));
        }
    }

    /// One whose time has come; it is off the agenda then.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Key> {
        if self.next()? > now {
            return None;
        }
        let (_, key) = self.by_time.pop_first()?;
        self.by_backend.remove(&key);
        Some(key)
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }
}
