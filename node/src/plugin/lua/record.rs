//! How it goes on this node with one version of a plugin on one service.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::super::hook::Trouble;

/// What went wrong so far.
#[derive(Debug, Default)]
pub(super) struct Record {
    failed: AtomicUsize,
    troubles: Mutex<Troubles>,
}

#[derive(Debug, Default)]
struct Troubles {
    off: Option<Trouble>,
    refused: Option<Trouble>,
}

impl Record {
    /// That of a version which does not run here.
    pub(super) fn refused(reason: &str) -> Self {
        let record = Self::default();
        record.has_refused(reason);
        record
    }

    /// A call failed; the how many-th this was.
    pub(super) fn has_failed(&self) -> usize {
        self.failed.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// How many calls failed.
    pub(super) fn failed(&self) -> usize {
        self.failed.load(Ordering::Relaxed)
    }

    /// It is not asked any more.
    pub(super) fn is_off_because(&self, reason: &str) {
        self.troubles().off.get_or_insert_with(|| trouble(reason));
    }

    /// A later version does not run here, so that this one goes on.
    pub(super) fn has_refused(&self, reason: &str) {
        let known = &mut self.troubles().refused;
        if known.as_ref().is_none_or(|known| known.reason != reason) {
            *known = Some(trouble(reason));
        }
    }

    /// Why it is off, and why a later version is not in its place.
    pub(super) fn both(&self) -> (Option<Trouble>, Option<Trouble>) {
        let troubles = self.troubles();
        (troubles.off.clone(), troubles.refused.clone())
    }

    fn troubles(&self) -> MutexGuard<'_, Troubles> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn trouble(reason: &str) -> Trouble {
    Trouble {
        since: Instant::now(),
        reason: reason.to_owned(),
    }
}
