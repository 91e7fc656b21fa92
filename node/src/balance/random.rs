//! `random` and `weighted`: each usable backend as probable as its weight.
//!
//! With `random` this is for opening connections alone: where one is idle, it is used whoever it leads to (Perlbal,
//! reference section 4). With `weighted` it is for each request. That draws instead of counting, as nodes and workers
//! that each kept a smooth order would fall into step, and send their bursts to the same backend; who wants an order
//! takes `round_robin`.

use rand::Rng;

use super::weights::Weights;

/// Picks one of the usable backends.
pub fn pick(weights: &Weights, usable: impl Fn(usize) -> bool, rng: &mut impl Rng) -> Option<usize> {
    weights.draw(usable, rng)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::super::distribution::{assert_follows, count};
    use super::*;

    #[test]
    fn is_even_over_the_usable() {
        let mut rng = StdRng::seed_from_u64(1);
        let weights = Weights::new([1; 5]);
        let seen = count(5, 20_000, || pick(&weights, |at| at != 2, &mut rng));
        assert_follows(&seen, &[1.0, 1.0, 0.0, 1.0, 1.0]);
    }

    #[test]
    fn two_workers_draw_as_one() {
        let mut workers = [StdRng::seed_from_u64(2), StdRng::seed_from_u64(3)];
        let weights = Weights::new([1, 2, 5]);
        let mut turn = 0;
        let seen = count(3, 20_000, || {
            turn += 1;
            pick(&weights, |_| true, &mut workers[turn % 3 % 2])
        });
        assert_follows(&seen, &[1.0, 2.0, 5.0]);
    }
}
