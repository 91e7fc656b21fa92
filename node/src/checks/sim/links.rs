//! What is broken between nodes, and how what they tell travels.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;

use crate::health::Told;

/// What a node tells, on its way.
#[derive(Debug, Clone)]
pub(super) struct Letter {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) arrives: Duration,
    /// Which life of the sender, and which of its letters.
    pub(super) number: (u32, u64),
    pub(super) told: Arc<Told>,
}

#[derive(Debug, Default)]
pub(super) struct Links {
    /// Nothing gets from the first node to the second.
    pub(super) cut: BTreeSet<(usize, usize)>,
    /// Of a hundred letters.
    pub(super) lost: u32,
    on_their_way: Vec<Letter>,
}

/// The longest that a letter takes.
pub(super) const LATEST: Duration = Duration::from_millis(500);

impl Links {
    /// Sends a letter: it may be lost, late, or come twice.
    pub(super) fn send(&mut self, letter: &Letter, now: Duration, rng: &mut StdRng) {
        let copies = if rng.random_ratio(1, 10) { 2 } else { 1 };
        for _ in 0..copies {
            let delay = if rng.random_ratio(1, 10) {
                LATEST.mul_f64(rng.random())
            } else {
                Duration::from_millis(rng.random_range(0..60))
            };
            let is_lost = rng.random_range(0..100) < self.lost;
            if !is_lost && !self.cut.contains(&(letter.from, letter.to)) {
                self.on_their_way.push(Letter {
                    arrives: now + delay,
                    ..letter.clone()
                });
            }
        }
    }

    /// The letters that have come by now, in the order in which they come.
    pub(super) fn arrived(&mut self, now: Duration) -> Vec<Letter> {
        let mut arrived: Vec<_> = self
            .on_their_way
            .extract_if(.., |letter| letter.arrives <= now)
            .collect();
        arrived.sort_by_key(|letter| letter.arrives);
        arrived
    }

    pub(super) fn heal(&mut self) {
        self.cut.clear();
        self.lost = 0;
    }
}
