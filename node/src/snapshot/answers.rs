//! What a backend answered last: when, and with which codes. All workers write to it.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

/// Of how many answers the codes are kept (Perlbal's number).
const CODES: usize = 500;

/// The last answers of one backend.
#[derive(Debug, Default)]
pub struct LastAnswers {
    /// Seconds since the epoch; 0 is never.
    last: AtomicU64,
    /// Their codes, in a ring; none before the first one.
    codes: OnceLock<Box<[AtomicU16; CODES]>>,
}

fn no_codes() -> Box<[AtomicU16; CODES]> {
    Box::new([const { AtomicU16::new(0) }; CODES])
}

impl LastAnswers {
    /// Counts one: its number among all, its code, and the second in which it came.
    #[inline]
    pub(super) fn count(&self, number: u64, status: u16, epoch: u64) {
        let codes = self.codes.get_or_init(no_codes);
        let at = usize::try_from(number % CODES as u64).unwrap_or_default();
        if let Some(code) = codes.get(at) {
            code.store(status, Ordering::Relaxed);
        }
        self.heard(epoch);
    }

    /// It has said something in that second.
    #[inline]
    pub(super) fn heard(&self, epoch: u64) {
        // Written once a second: the line is shared by all workers.
        if self.last.load(Ordering::Relaxed) < epoch {
            self.last.store(epoch, Ordering::Relaxed);
        }
    }

    /// When it said something last, in seconds since the epoch; 0 is never.
    pub fn last(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }

    /// How often each code was among the last ones.
    pub fn codes(&self) -> BTreeMap<u16, u64> {
        let mut counts = BTreeMap::new();
        for code in self.codes.get().into_iter().flat_map(|codes| codes.iter()) {
            let code = code.load(Ordering::Relaxed);
            if code > 0 {
                *counts.entry(code).or_default() += 1;
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_last_ones() {
        let answers = LastAnswers::default();
        assert!(answers.codes().is_empty());
        for number in 0..=CODES as u64 {
            answers.count(number, if number == 0 { 404 } else { 200 }, number);
        }
        answers.heard(3);
        assert_eq!(answers.codes(), BTreeMap::from([(200, CODES as u64)]));
        assert_eq!(answers.last(), CODES as u64);
    }
}
