//! The power of two choices: of two backends drawn at random, the better one. Figures that are a little old would
//! make everybody run to the best of all; with two choices they only keep away from the worst.

use rand::Rng;

use super::weights::Weights;

/// Draws two usable backends by weight, and picks the second if it is better than the first.
pub fn pick(
    weights: &Weights,
    usable: impl Fn(usize) -> bool,
    rng: &mut impl Rng,
    is_better: impl Fn(usize, usize) -> bool,
) -> Option<usize> {
    let first = weights.draw(&usable, rng)?;
    let second = weights.draw(|at| at != first && usable(at), rng);
    Some(second.filter(|second| is_better(*second, first)).unwrap_or(first))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::super::distribution::{assert_follows, count};
    use super::*;

    #[test]
    fn the_better_of_two_different_ones() {
        let mut rng = StdRng::seed_from_u64(1);
        let even = Weights::new([1; 4]);
        // The first is better than all, the last is never better than the other one.
        let seen = count(4, 24_000, || pick(&even, |_| true, &mut rng, |a, b| a < b));
        assert_follows(&seen, &[3.0, 2.0, 1.0, 0.0]);
        let seen = count(4, 24_000, || pick(&even, |at| at != 1, &mut rng, |a, b| a < b));
        assert_follows(&seen, &[2.0, 0.0, 1.0, 0.0]);
        assert_eq!(pick(&even, |at| at == 3, &mut rng, |a, b| a < b), Some(3));
        assert_eq!(pick(&even, |_| false, &mut rng, |a, b| a < b), None);
    }

    #[test]
    fn among_equals_the_weights_decide() {
        let mut rng = StdRng::seed_from_u64(2);
        let weights = Weights::new([1, 2, 5]);
        let seen = count(3, 20_000, || pick(&weights, |_| true, &mut rng, |_, _| false));
        assert_follows(&seen, &[1.0, 2.0, 5.0]);
    }
}
