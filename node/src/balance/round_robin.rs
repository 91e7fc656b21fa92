//! `round_robin`: each backend in turn; one of twice the weight has two turns, spread over the round.
//!
//! The turns of a round are worked out once a version, and a counter that all workers share goes through them: what
//! all of them do together is as even as what one of them does alone, with no lock and no state a backend.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rand::Rng;

use super::weights::Weights;

/// The longest round: weights that have no smaller common measure are rounded to it.
const LONGEST: u64 = 65_536;

/// The order of turns in a round.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Round {
    /// Backends by their places; empty where all weights are the same, and the order is that of the backends.
    turns: Box<[u32]>,
}

impl Round {
    /// The round for these weights.
    pub fn new(weights: &Weights) -> Self {
        if weights.are_even() {
            return Self::default();
        }
        let turns = turns(weights.each());
        // The k-th of a backend's n turns is due at (2k + 1) / 2n of the round: each has its turns at even distances.
        let due = |k: u64, n: u64| ((2 * k + 1) << 32) / (2 * n);
        let places = (0_u32..).zip(&turns).filter(|(_, n)| **n > 0);
        let mut next: BinaryHeap<_> = places.map(|(at, n)| Reverse((due(0, *n), at, 0, *n))).collect();
        let mut order = Vec::new();
        while let Some(Reverse((_, at, k, n))) = next.pop() {
            order.push(at);
            if k + 1 < n {
                next.push(Reverse((due(k + 1, n), at, k + 1, n)));
            }
        }
        Self {
            turns: order.into_boxed_slice(),
        }
    }

    /// Picks the usable backend whose turn it is. What would go to one that is not usable is spread over the others
    /// by weight, at random: the next one alone would get twice its part.
    pub fn pick(
        &self,
        weights: &Weights,
        turn: usize,
        usable: impl Fn(usize) -> bool,
        rng: &mut impl Rng,
    ) -> Option<usize> {
        let at = if self.turns.is_empty() {
            turn.checked_rem(weights.count())?
        } else {
            let at = self.turns.get(turn % self.turns.len())?;
            usize::try_from(*at).ok()?
        };
        if usable(at) {
            return Some(at);
        }
        weights.draw(usable, rng)
    }
}

/// How many turns each has: its weight by the greatest common measure, or its part of the longest round.
fn turns(weights: &[u32]) -> Vec<u64> {
    let wide = || weights.iter().map(|weight| u64::from(*weight));
    let (total, measure) = (wide().sum::<u64>(), wide().fold(0, greatest_common).max(1));
    if total / measure <= LONGEST {
        return wide().map(|weight| weight / measure).collect();
    }
    wide()
        .map(|weight| match weight {
            0 => 0,
            // Nobody is left out for being small.
            weight => ((weight * LONGEST + total / 2) / total).max(1),
        })
        .collect()
}

fn greatest_common(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common(b, a % b) }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::super::distribution::{assert_follows, count};
    use super::*;

    fn picks(weights: &[u32], turns: std::ops::Range<usize>) -> Vec<usize> {
        let (weights, mut rng) = (Weights::new(weights.iter().copied()), StdRng::seed_from_u64(1));
        let round = Round::new(&weights);
        turns
            .map(|turn| round.pick(&weights, turn, |_| true, &mut rng).unwrap())
            .collect()
    }

    #[test]
    fn goes_round() {
        assert_eq!(picks(&[1, 1, 1], 5..10), [2, 0, 1, 2, 0]);
        assert_eq!(picks(&[4, 4, 4], 0..4), [0, 1, 2, 0]);
    }

    #[test]
    fn weights_are_turns_spread_over_the_round() {
        assert_eq!(picks(&[1, 2, 5], 0..8), [2, 1, 2, 0, 2, 2, 1, 2]);
        assert_eq!(picks(&[10, 20, 50], 8..16), [2, 1, 2, 0, 2, 2, 1, 2]);
        assert_eq!(picks(&[0, 1], 0..3), [1; 3]);
        // However long the round, in any part of it nobody is more than a turn ahead of its weight.
        let weights: [i64; 4] = [97, 31, 7, 1];
        let mut seen = [0_i64; 4];
        for (turn, at) in (1..).zip(picks(&[97, 31, 7, 1], 0..136)) {
            seen[at] += 1;
            for (seen, weight) in seen.iter().zip(weights) {
                assert!(
                    (seen * 136 - turn * weight).abs() <= 136 * 3 / 2,
                    "turn {turn}: {seen}"
                );
            }
        }
        assert_eq!(seen, weights);
    }

    #[test]
    fn a_long_round_is_rounded_and_leaves_nobody_out() {
        let weights = [1, 1_000_003, 2_000_003];
        let round = turns(&weights);
        assert_eq!(round[0], 1);
        assert!(round.iter().sum::<u64>() <= LONGEST + 3);
        assert!(
            (round[2] * 1_000_003).abs_diff(round[1] * 2_000_003) < 3_000_000,
            "{round:?}"
        );
    }

    #[test]
    fn the_part_of_one_that_is_out_is_spread_by_weight() {
        let (weights, mut rng) = (Weights::new([1, 2, 5, 4]), StdRng::seed_from_u64(2));
        let round = Round::new(&weights);
        let mut turn = 0;
        let seen = count(4, 24_000, || {
            turn += 1;
            round.pick(&weights, turn, |at| at != 2, &mut rng)
        });
        assert_follows(&seen, &[1.0, 2.0, 0.0, 4.0]);
        assert_eq!(round.pick(&weights, 0, |_| false, &mut rng), None);
        let none = Weights::new([]);
        assert_eq!(Round::new(&none).pick(&none, 7, |_| true, &mut rng), None);
    }

    #[test]
    fn workers_that_share_the_counter_are_as_even_as_one() {
        let weights = Weights::new([1, 2, 5]);
        let round = Round::new(&weights);
        let shared = std::sync::atomic::AtomicUsize::new(0);
        let worker = |seed| {
            let mut rng = StdRng::seed_from_u64(seed);
            count(3, 4_000, || {
                let turn = shared.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                round.pick(&weights, turn, |_| true, &mut rng)
            })
        };
        let both = std::thread::scope(|scope| {
            let workers = [scope.spawn(|| worker(1)), scope.spawn(|| worker(2))];
            workers.map(|worker| worker.join().unwrap())
        });
        let sum: Vec<_> = both[0].iter().zip(&both[1]).map(|(a, b)| a + b).collect();
        assert_eq!(sum, [1_000, 2_000, 5_000]);
    }
}
