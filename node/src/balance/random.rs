//! `random`: each usable backend with the same probability. Where a connection is idle none is picked at all.

use rand::Rng;

/// Picks one of `count` backends among those that are usable.
pub fn pick(count: usize, usable: impl Fn(usize) -> bool, rng: &mut impl Rng) -> Option<usize> {
    let candidates = || (0..count).filter(|at| usable(*at));
    match candidates().count() {
        0 => None,
        // Whether one is usable may change between the two counts; then any that still is will do.
        usable => candidates()
            .nth(rng.random_range(0..usable))
            .or_else(|| candidates().next()),
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn is_even_over_the_usable() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut seen = [0; 5];
        for _ in 0..4000 {
            seen[pick(5, |at| at != 2, &mut rng).unwrap()] += 1;
        }
        assert_eq!(seen[2], 0);
        for at in [0, 1, 3, 4] {
            assert!((800..1200).contains(&seen[at]), "{seen:?}");
        }
        assert_eq!(pick(5, |_| false, &mut rng), None);
        assert_eq!(pick(0, |_| true, &mut rng), None);
    }
}
