//! What this node makes of a backend by the outcome of its own requests, which may be bad though it can be reached and
//! answers checks well. That is this node's business alone: others have outcomes of their own.

use std::time::{Duration, Instant};

use fleetbal_raft::model::OutlierRules;

use crate::snapshot::Timed;

/// A backend is slow once it was in so many looks in a row.
const SLOW_LOOKS: u32 = 3;

/// Of fewer answers in one look nothing is concluded.
const ENOUGH_ANSWERS: u64 = 5;

/// Among fewer backends that answered there is none that is normal.
const ENOUGH_BACKENDS: usize = 3;

/// So much longer than the others an answer has to take at least: less is noise, however fast the others are.
const NOISE: Duration = Duration::from_millis(1);

/// How often the time for which it is out grows.
const MOST_GROWTH: u32 = 10;

/// What is known of one backend.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    ejected: Option<Ejected>,
    /// How often it was taken out since it was last well for as long as that took.
    in_a_row: u32,
    /// For how long last, and until when.
    last: Option<(Duration, Instant)>,
    total: u64,
    timed: Timed,
    slow_looks: u32,
}

#[derive(Debug)]
struct Ejected {
    reason: String,
    until: Instant,
}

impl Outcome {
    /// Of a backend whose answers were timed so far.
    pub(super) fn new(timed: Timed) -> Self {
        Self {
            timed,
            ..Self::default()
        }
    }

    pub(super) fn is_ejected(&self) -> bool {
        self.ejected.is_some()
    }

    /// Why it is out.
    pub(super) fn reason(&self) -> Option<&str> {
        self.ejected.as_ref().map(|ejected| ejected.reason.as_str())
    }

    /// When it comes back.
    pub(super) fn until(&self) -> Option<Instant> {
        self.ejected.as_ref().map(|ejected| ejected.until)
    }

    /// How often it was taken out.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Takes it out: each time that it was not well for as long as it was out, for longer than the last time.
    pub(super) fn eject(&mut self, rules: &OutlierRules, reason: String, now: Instant) {
        let is_well_again =
            |(length, until): (Duration, Instant)| now.saturating_duration_since(until) >= length;
        if self.last.is_some_and(is_well_again) {
            self.in_a_row = 0;
        }
        self.in_a_row = (self.in_a_row + 1).min(MOST_GROWTH);
        self.total += 1;
        self.slow_looks = 0;
        let length = rules.eject_time * self.in_a_row;
        let until = now + length;
        self.last = Some((length, until));
        self.ejected = Some(Ejected { reason, until });
    }

    /// Lets it back when its time has come, or where nobody would take it out any more.
    pub(super) fn expire(&mut self, rules: &OutlierRules, now: Instant) {
        let is_off = rules.errors.is_none() && rules.latency.is_none();
        if self.until().is_some_and(|until| until <= now || is_off) {
            self.ejected = None;
        }
    }

    /// How long its answers took since the last look, where there were enough.
    pub(super) fn look(&mut self, timed: Timed) -> Option<Duration> {
        let since = timed.since(std::mem::replace(&mut self.timed, timed));
        since.mean().filter(|_| since.count >= ENOUGH_ANSWERS)
    }

    /// Whether it is to be taken out for having been slow again, or was not.
    pub(super) fn was_slow(&mut self, is_slow: bool) -> bool {
        self.slow_looks = if is_slow { self.slow_looks + 1 } else { 0 };
        self.slow_looks >= SLOW_LOOKS
    }
}

/// What is normal: the median, the lower one of two.
pub(super) fn normal(times: &[Duration]) -> Option<Duration> {
    let mut times = times.to_vec();
    times.sort_unstable();
    let middle = times.len().checked_sub(1)? / 2;
    times
        .get(middle)
        .copied()
        .filter(|_| times.len() >= ENOUGH_BACKENDS)
}

/// Whether a time is so many thousandths of what is normal, or more.
pub(super) fn is_slow(time: Duration, normal: Duration, thousandths: u32) -> bool {
    time >= normal + NOISE && time * 1000 >= normal.saturating_mul(thousandths)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn rules() -> OutlierRules {
        OutlierRules {
            errors: Some(5),
            eject_time: SECOND * 10,
            ..OutlierRules::default()
        }
    }

    #[test]
    fn the_time_grows_until_it_was_well_for_as_long() {
        let mut outcome = Outcome::default();
        let mut now = Instant::now();
        let mut lengths = Vec::new();
        for pause in [0, 1, 1, 30, 1] {
            now += SECOND * pause;
            outcome.eject(&rules(), "errors".to_owned(), now);
            let until = outcome.until().unwrap();
            lengths.push((until - now).as_secs());
            outcome.expire(&rules(), until.checked_sub(SECOND).unwrap());
            assert!(outcome.is_ejected());
            outcome.expire(&rules(), until);
            assert!(!outcome.is_ejected());
            now = until;
        }
        assert_eq!(lengths, [10, 20, 30, 10, 20]);
        for _ in 0..20 {
            outcome.eject(&rules(), "errors".to_owned(), now);
        }
        assert_eq!(outcome.until().unwrap() - now, SECOND * 100);
        outcome.expire(&OutlierRules::default(), now);
        assert!(!outcome.is_ejected(), "nobody takes it out any more");
    }

    #[test]
    fn slow_is_beside_the_others_and_for_a_while() {
        let millis =
            |times: &[u64]| -> Vec<_> { times.iter().map(|ms| Duration::from_millis(*ms)).collect() };
        assert_eq!(normal(&millis(&[10, 90])), None);
        assert_eq!(normal(&millis(&[90, 10, 12])), Some(Duration::from_millis(12)));
        assert_eq!(
            normal(&millis(&[90, 10, 12, 99])),
            Some(Duration::from_millis(12))
        );
        let slow = |time, beside| is_slow(Duration::from_micros(time), Duration::from_micros(beside), 3000);
        assert!(slow(30_000, 10_000) && !slow(29_000, 10_000));
        assert!(!slow(900, 100), "that is noise");
        let mut outcome = Outcome::default();
        let looks: Vec<_> = [true, true, false, true, true, true]
            .into_iter()
            .map(|is_slow| outcome.was_slow(is_slow))
            .collect();
        assert_eq!(looks, [false, false, false, false, false, true]);
    }

    #[test]
    fn few_answers_say_nothing() {
        let mut outcome = Outcome::new(Timed {
            count: 7,
            micros: 7_000,
        });
        assert_eq!(
            outcome.look(Timed {
                count: 11,
                micros: 11_000
            }),
            None
        );
        let mean = outcome.look(Timed {
            count: 16,
            micros: 21_000,
        });
        assert_eq!(mean, Some(Duration::from_millis(2)));
        assert_eq!(
            outcome.look(Timed {
                count: 16,
                micros: 21_000
            }),
            None
        );
    }

    proptest! {
        /// However fast and even the others are, the normal ones are never slow.
        #[test]
        fn half_of_them_at_least_are_normal(times in prop::collection::vec(1_u64..1_000_000, 3..20), factor in 1_500_u32..100_000) {
            let times: Vec<_> = times.into_iter().map(Duration::from_micros).collect();
            let normal = normal(&times).unwrap();
            let slow = times.iter().filter(|time| is_slow(**time, normal, factor)).count();
            prop_assert!(slow * 2 <= times.len());
        }
    }
}
