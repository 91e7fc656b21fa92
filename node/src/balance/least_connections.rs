//! `least_connections`: the backend with the fewest requests in flight for its weight.
//!
//! All backends are looked at. The better of two drawn ones would be cheaper in a pool of thousands, but with ten
//! backends at 80 % of what they can do it makes the slowest hundredth of requests take a third longer (the test
//! below holds it to that). Among equals it is chance, by weight: an idle pool gets requests as `weighted` does, and
//! nodes that know nothing of each other do not all begin with the same backend.

use rand::Rng;

use super::weights::Weights;

/// Picks the usable backend with the fewest requests in flight for its weight.
pub fn pick(
    weights: &Weights,
    in_flight: impl Fn(usize) -> u32,
    usable: impl Fn(usize) -> bool,
    rng: &mut impl Rng,
) -> Option<usize> {
    let mut best: Option<(usize, u64, u64)> = None;
    let mut tied = 0;
    for at in (0..weights.count()).filter(|at| usable(*at)) {
        let weight = u64::from(weights.of(at)).max(1);
        let busy = u64::from(in_flight(at));
        let order = best.map(|(_, least, its_weight)| (busy * its_weight).cmp(&(least * weight)));
        match order {
            Some(std::cmp::Ordering::Greater) => continue,
            Some(std::cmp::Ordering::Equal) => tied += weight,
            Some(std::cmp::Ordering::Less) | None => tied = weight,
        }
        // Of all that are tied, each is kept with its part of their weight.
        if tied == weight || rng.random_range(0..tied) < weight {
            best = Some((at, busy, weight));
        }
    }
    best.map(|(at, ..)| at)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::super::distribution::{assert_follows, count, play};
    use super::super::two_choices;
    use super::*;

    #[test]
    fn the_least_for_its_weight() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut least = |weights: [u32; 3], busy: [u32; 3]| {
            pick(&Weights::new(weights), |at| busy[at], |_| true, &mut rng)
        };
        assert_eq!(least([1, 1, 1], [3, 2, 4]), Some(1));
        assert_eq!(least([1, 2, 5], [1, 3, 4]), Some(2));
        assert_eq!(least([1, 2, 5], [1, 1, 5]), Some(1));
        let weights = Weights::new([1, 1]);
        assert_eq!(pick(&weights, |_| 0, |_| false, &mut rng), None);
        assert_eq!(pick(&weights, |at| [0, 9][at], |at| at == 1, &mut rng), Some(1));
    }

    #[test]
    fn equals_are_drawn_by_weight() {
        let mut rng = StdRng::seed_from_u64(2);
        let weights = Weights::new([1, 2, 5]);
        let seen = count(3, 20_000, || pick(&weights, |_| 0, |_| true, &mut rng));
        assert_follows(&seen, &[1.0, 2.0, 5.0]);
        let seen = count(3, 20_000, || pick(&weights, |_| 0, |at| at != 1, &mut rng));
        assert_follows(&seen, &[1.0, 0.0, 5.0]);
        let even = Weights::new([1; 4]);
        let seen = count(4, 20_000, || {
            pick(&even, |at| u32::from(at == 0), |_| true, &mut rng)
        });
        assert_follows(&seen, &[0.0, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn what_is_in_flight_follows_the_weights() {
        // Nothing is ever answered, so requests in flight are requests picked.
        let mut rng = StdRng::seed_from_u64(3);
        let (weights, mut busy) = (Weights::new([1, 2, 5]), [0_u32; 3]);
        for _ in 0..800 {
            let at = pick(&weights, |at| busy[at], |_| true, &mut rng).unwrap();
            busy[at] += 1;
        }
        assert_eq!(busy, [100, 200, 500]);
    }

    #[test]
    fn two_drawn_ones_would_leave_requests_waiting_longer() {
        let weights = Weights::new([1; 10]);
        let speeds = [10.0; 10];
        let all = play(
            &speeds,
            80.0,
            40_000,
            |moment, rng| pick(&weights, |at| moment.in_flight[at], |_| true, rng).unwrap(),
            |_, _, _| {},
        );
        let two = play(
            &speeds,
            80.0,
            40_000,
            |moment, rng| {
                let is_less = |a: usize, b: usize| moment.in_flight[a] < moment.in_flight[b];
                two_choices::pick(&weights, |_| true, rng, is_less).unwrap()
            },
            |_, _, _| {},
        );
        let (all_p99, two_p99) = (all.quantile(0.99), two.quantile(0.99));
        assert!(
            all_p99 * 1.2 < two_p99,
            "p99 of all: {all_p99}, of two: {two_p99}"
        );
        let even: Vec<_> = all.requests.iter().map(|_| 1.0).collect();
        assert_follows(&all.requests, &even);
    }
}
