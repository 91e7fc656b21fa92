//! For tests: counts what is picked, compares it with what was to be expected, and plays traffic against backends
//! that serve one request after the other.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts of a test fit into anything"
)]

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// How often each of `backends` came out of so many picks.
pub(crate) fn count(backends: usize, picks: usize, mut pick: impl FnMut() -> Option<usize>) -> Vec<u64> {
    let mut seen = vec![0; backends];
    for _ in 0..picks {
        seen[pick().unwrap()] += 1;
    }
    seen
}

/// Whether counts are what `expected` (in any unit) makes probable: Pearson's chi-squared, of which a fair draw
/// exceeds the bound once in a million times.
pub(crate) fn assert_follows(seen: &[u64], expected: &[f64]) {
    let total: f64 = seen.iter().map(|seen| *seen as f64).sum();
    let whole: f64 = expected.iter().sum();
    let (mut sum, mut freedom) = (0.0, -1.0);
    for (seen, part) in seen.iter().zip(expected) {
        let due = total * part / whole;
        if due == 0.0 {
            assert_eq!(*seen, 0, "one that should get nothing");
            continue;
        }
        sum += (*seen as f64 - due).powi(2) / due;
        freedom += 1.0;
    }
    assert!(
        sum < bound(freedom),
        "{seen:?} for {expected:?}: chi squared is {sum:.1}"
    );
}

/// The quantile of 1 - 10⁻⁶ (Wilson and Hilferty's approximation).
fn bound(freedom: f64) -> f64 {
    let part = 2.0 / (9.0 * freedom.max(1.0));
    freedom.max(1.0) * (1.0 - part + 4.753 * part.sqrt()).powi(3)
}

#[test]
fn the_bound_tells_fair_from_unfair() {
    // For 4 degrees of freedom it is 33.38; so far out, the approximation is a little high.
    assert!((33.0..36.0).contains(&bound(4.0)));
    assert_follows(&[1_020, 980, 1_010], &[1.0, 1.0, 1.0]);
    let unfair = std::panic::catch_unwind(|| assert_follows(&[1_200, 900, 900], &[1.0, 1.0, 1.0]));
    assert!(unfair.is_err());
}

/// What a picker is told of the moment.
pub(crate) struct Moment<'a> {
    /// Seconds since the start.
    pub(crate) now: f64,
    /// Requests at each backend.
    pub(crate) in_flight: &'a [u32],
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Requests that each backend got.
    pub(crate) requests: Vec<u64>,
    /// Seconds from the arrival of each request to its answer, sorted.
    pub(crate) times: Vec<f64>,
}

impl Outcome {
    pub(crate) fn quantile(&self, part: f64) -> f64 {
        self.times[(self.times.len() as f64 * part) as usize]
    }
}

/// Plays `count` requests that come at random, so many a second, against backends that serve so many a second each,
/// one after the other, in times that vary at random. `answered` is told (backend, seconds since the start, seconds).
pub(crate) fn play(
    speeds: &[f64],
    rate: f64,
    count: usize,
    mut pick: impl FnMut(&Moment<'_>, &mut StdRng) -> usize,
    mut answered: impl FnMut(usize, f64, f64),
) -> Outcome {
    let mut rng = StdRng::seed_from_u64(77);
    let mut free_at = vec![0.0_f64; speeds.len()];
    let mut in_flight = vec![0; speeds.len()];
    let mut pending = BinaryHeap::new();
    let (mut requests, mut times) = (vec![0; speeds.len()], Vec::new());
    let mut now = 0.0;
    for _ in 0..count {
        now -= (1.0 - rng.random::<f64>()).ln() / rate;
        while let Some(Reverse((done, began, at))) = pending.pop() {
            if f64::from_bits(done) > now {
                pending.push(Reverse((done, began, at)));
                break;
            }
            in_flight[at] -= 1;
            let (done, began) = (f64::from_bits(done), f64::from_bits(began));
            answered(at, done, done - began);
        }
        let moment = Moment {
            now,
            in_flight: &in_flight,
        };
        let at = pick(&moment, &mut rng);
        free_at[at] = free_at[at].max(now) - (1.0 - rng.random::<f64>()).ln() / speeds[at];
        in_flight[at] += 1;
        requests[at] += 1;
        times.push(free_at[at] - now);
        // The order of positive numbers is that of their bits.
        pending.push(Reverse((free_at[at].to_bits(), now.to_bits(), at)));
    }
    times.sort_by(f64::total_cmp);
    Outcome { requests, times }
}
