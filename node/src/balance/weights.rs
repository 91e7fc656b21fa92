//! The weights of a pool's backends, and drawing by them.

use rand::Rng;

/// The weights of one version of a pool, in the order of its backends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weights {
    each: Box<[u32]>,
    /// The sum of the weights up to and with each; empty where all are the same, and any draw will do.
    sums: Box<[u64]>,
}

impl Weights {
    /// Weights as they were configured. Where none is above zero, all are the same.
    pub fn new(each: impl IntoIterator<Item = u32>) -> Self {
        let each: Box<[u32]> = each.into_iter().collect();
        let differ = each.windows(2).any(|pair| pair.first() != pair.last());
        let mut sum = 0;
        let sums = each.iter().filter(|_| differ).map(|weight| {
            sum += u64::from(*weight);
            sum
        });
        Self {
            sums: sums.collect(),
            each,
        }
    }

    /// How many backends there are.
    pub fn count(&self) -> usize {
        self.each.len()
    }

    /// Whether all are the same.
    pub fn are_even(&self) -> bool {
        self.sums.is_empty()
    }

    /// That of one backend; zero where there is none.
    pub fn of(&self, at: usize) -> u32 {
        self.each.get(at).copied().unwrap_or_default()
    }

    /// All of them.
    pub fn each(&self) -> &[u32] {
        &self.each
    }

    /// How large a backend is beside the average one, which is 1. Never zero.
    pub fn share(&self, at: usize) -> f64 {
        let (Some(total), Ok(count)) = (self.sums.last(), u32::try_from(self.count())) else {
            return 1.0;
        };
        #[expect(
            clippy::cast_precision_loss,
            reason = "a sum that large is no different in its last digits"
        )]
        let mean = *total as f64 / f64::from(count);
        f64::from(self.of(at).max(1)) / mean
    }

    /// One of the usable backends at random, each as probable as its weight says.
    pub fn draw(&self, usable: impl Fn(usize) -> bool, rng: &mut impl Rng) -> Option<usize> {
        // Mostly all are usable. If this one is not, the second draw is among those that are: together that is as
        // good as one draw among them.
        let first = self.draw_any(rng)?;
        if usable(first) {
            return Some(first);
        }
        let candidates = || (0..self.count()).filter(|at| usable(*at));
        let total: u64 = candidates().map(|at| u64::from(self.of(at))).sum();
        let mut left = rng.random_range(0..total.max(1));
        let drawn = candidates().find(|at| match left.checked_sub(self.of(*at).into()) {
            Some(rest) => {
                left = rest;
                false
            }
            None => true,
        });
        // Who is usable may have changed between the two looks; then any that still is will do.
        drawn.or_else(|| candidates().next())
    }

    fn draw_any(&self, rng: &mut impl Rng) -> Option<usize> {
        match self.sums.last() {
            Some(total) => {
                let point = rng.random_range(0..*total);
                Some(self.sums.partition_point(|sum| *sum <= point))
            }
            None if self.each.is_empty() => None,
            None => Some(rng.random_range(0..self.count())),
        }
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these numbers are exact")]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::super::distribution::{assert_follows, count};
    use super::*;

    #[test]
    fn draws_by_weight_and_among_the_usable() {
        let mut rng = StdRng::seed_from_u64(1);
        let weights = Weights::new([1, 2, 5]);
        let seen = count(3, 20_000, || weights.draw(|_| true, &mut rng));
        assert_follows(&seen, &[1.0, 2.0, 5.0]);
        let seen = count(3, 20_000, || weights.draw(|at| at != 2, &mut rng));
        assert_follows(&seen, &[1.0, 2.0, 0.0]);
        assert_eq!(weights.draw(|_| false, &mut rng), None);
        assert_eq!(Weights::new([]).draw(|_| true, &mut rng), None);
    }

    #[test]
    fn a_weight_of_zero_is_the_last_resort() {
        let mut rng = StdRng::seed_from_u64(2);
        let weights = Weights::new([0, 3]);
        let seen = count(2, 1_000, || weights.draw(|_| true, &mut rng));
        assert_eq!(seen, [0, 1_000]);
        assert_eq!(weights.draw(|at| at == 0, &mut rng), Some(0));
        let weights = Weights::new([0, 0]);
        let seen = count(2, 10_000, || weights.draw(|_| true, &mut rng));
        assert_follows(&seen, &[1.0, 1.0]);
    }

    #[test]
    fn shares_are_beside_the_average() {
        let weights = Weights::new([1, 2, 5, 0]);
        assert_eq!([0, 1, 2].map(|at| weights.share(at)), [0.5, 1.0, 2.5]);
        assert!(weights.share(3) > 0.0);
        assert_eq!(Weights::new([7, 7]).share(0), 1.0);
        assert!(Weights::new([7, 7]).are_even() && !weights.are_even());
    }
}
