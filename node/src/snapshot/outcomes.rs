//! What came of the requests that a backend got: errors in a row, and times.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Counters that all workers write to.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    errors: AtomicU64,
    in_a_row: AtomicU32,
    /// After so many in a row it is told; 0: never.
    tell_after: AtomicU32,
    timed: AtomicU64,
    micros: AtomicU64,
}

/// How many answers were timed, and how long they took together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timed {
    /// How many.
    pub count: u64,
    /// Microseconds.
    pub micros: u64,
}

impl Timed {
    /// What was added since.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            count: self.count.saturating_sub(before.count),
            micros: self.micros.saturating_sub(before.micros),
        }
    }

    /// The mean time of one, where there is one.
    pub fn mean(self) -> Option<Duration> {
        self.micros.checked_div(self.count).map(Duration::from_micros)
    }
}

impl Outcomes {
    /// A request went well. Mostly the one before did, and nothing is written.
    #[inline]
    pub(super) fn well(&self) {
        if self.in_a_row.load(Ordering::Relaxed) != 0 {
            self.in_a_row.store(0, Ordering::Relaxed);
        }
    }

    /// A request went wrong. How many have in a row, if that is to be told.
    #[cold]
    pub(super) fn erred(&self) -> Option<u32> {
        self.errors.fetch_add(1, Ordering::Relaxed);
        let in_a_row = self.in_a_row.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let after = self.tell_after.load(Ordering::Relaxed);
        // Again and again: nobody may have listened, or have been allowed to do anything about it.
        (in_a_row.checked_rem(after) == Some(0)).then_some(in_a_row)
    }

    pub(super) fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    pub(super) fn tell_after(&self, errors: Option<u32>) {
        self.tell_after.store(errors.unwrap_or(0), Ordering::Relaxed);
    }

    /// An answer took so long.
    pub(super) fn took(&self, time: Duration) {
        let micros = time.as_micros().try_into().unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Ordering::Relaxed);
        self.timed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn timed(&self) -> Timed {
        Timed {
            count: self.timed.load(Ordering::Relaxed),
            micros: self.micros.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_in_a_row_alone() {
        let outcomes = Outcomes::default();
        assert_eq!((0..9).find_map(|_| outcomes.erred()), None, "nobody asked");
        outcomes.well();
        outcomes.tell_after(Some(3));
        let told: Vec<_> = (0..7).map(|_| outcomes.erred()).collect();
        assert_eq!(told, [None, None, Some(3), None, None, Some(6), None]);
        outcomes.well();
        let told: Vec<_> = (0..3).map(|_| outcomes.erred()).collect();
        assert_eq!(told, [None, None, Some(3)]);
        assert_eq!(outcomes.errors(), 19);
    }

    #[test]
    fn times_have_a_mean() {
        let outcomes = Outcomes::default();
        assert_eq!(outcomes.timed().mean(), None);
        outcomes.took(Duration::from_millis(1));
        let before = outcomes.timed();
        outcomes.took(Duration::from_millis(3));
        outcomes.took(Duration::from_millis(5));
        assert_eq!(outcomes.timed().mean(), Some(Duration::from_millis(3)));
        let since = outcomes.timed().since(before);
        assert_eq!((since.count, since.mean()), (2, Some(Duration::from_millis(4))));
    }
}
