//! `response_time`: of two drawn backends, the one that will probably have answered first.
//!
//! That is judged by a peak-sensitive moving average of the time to the head of the answer, times the requests that
//! are in flight already, and this one. A slow answer counts at once and in full, better ones take some seconds to
//! be believed. The average of a backend that nobody asks shrinks with time, so that it is tried again some day.

use std::time::Duration;

use rand::Rng;

use super::stamped::Stamped;
use super::two_choices;
use super::weights::Weights;

/// After this time a figure counts for a third (1/e) of what it did, in milliseconds.
const DECAY: f32 = 10_000.0;

/// The cost of one that has a first request to answer still: as long as it has not, it gets no other where there is
/// a choice. Seconds; more than anybody waits.
const UNPROVEN: f64 = 1e9;

/// What a first request that got no answer counts for, in seconds.
const UNANSWERED: f32 = 1.0;

/// The average of the times that a backend took to answer. One word; written by all workers without a lock.
#[derive(Debug, Default)]
pub struct PeakEwma(Stamped);

impl PeakEwma {
    /// An answer came at `now` (milliseconds), after this time.
    pub fn record(&self, now: u32, elapsed: Duration) {
        let sample = elapsed.as_secs_f32();
        self.0.update(now, |before| match before {
            Some(before) if before.figure >= sample => {
                let kept = remaining(before.age);
                before.figure * kept + sample * (1.0 - kept)
            }
            Some(_) | None => sample,
        });
    }

    /// A request was given up at `now` (milliseconds), after this time. That makes nothing better; and who has never
    /// answered is not to be taken for one that answers at once.
    pub fn record_failure(&self, now: u32, elapsed: Duration) {
        let least = elapsed.as_secs_f32();
        self.0.update(now, |before| match before {
            Some(before) => least.max(before.figure * remaining(before.age)),
            None => least.max(UNANSWERED),
        });
    }

    /// Seconds, as seen at `now`; none before the first answer.
    pub fn seconds(&self, now: u32) -> Option<f32> {
        let average = self.0.read(now)?;
        Some(average.figure * remaining(average.age))
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "an age of so many milliseconds decays to nothing"
)]
fn remaining(age: u32) -> f32 {
    (-(age as f32) / DECAY).exp()
}

/// What is known of a backend.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pace {
    /// Requests in flight.
    pub in_flight: u32,
    /// The average of its response times in seconds; none before its first answer.
    pub seconds: Option<f32>,
}

/// Picks one of the usable backends.
pub fn pick(
    weights: &Weights,
    pace: impl Fn(usize) -> Pace,
    usable: impl Fn(usize) -> bool,
    rng: &mut impl Rng,
) -> Option<usize> {
    let cost = |at| cost(pace(at), weights.share(at));
    two_choices::pick(weights, usable, rng, |one, other| cost(one) < cost(other))
}

fn cost(pace: Pace, share: f64) -> f64 {
    let waiting = f64::from(pace.in_flight) / share;
    match pace.seconds {
        Some(seconds) => f64::from(seconds) * (waiting + 1.0),
        None if pace.in_flight == 0 => 0.0,
        None => UNPROVEN + waiting,
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these numbers are exact")]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::super::distribution::{assert_follows, count, play};
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn peaks_count_at_once_and_fade() {
        let average = PeakEwma::default();
        assert_eq!(average.seconds(1), None);
        average.record(1_000, 10 * MILLI);
        assert_eq!(average.seconds(1_000), Some(0.01));
        average.record(1_001, 500 * MILLI);
        assert_eq!(average.seconds(1_001), Some(0.5));
        // A thousand good answers in a second are not enough to forget it, half a minute of them is.
        for now in 1_001..2_001 {
            average.record(now, 10 * MILLI);
        }
        assert!((0.4..0.5).contains(&average.seconds(2_000).unwrap()));
        for now in (2_001..62_001).step_by(10) {
            average.record(now, 10 * MILLI);
        }
        let settled = average.seconds(62_000).unwrap();
        assert!((0.01..0.012).contains(&settled), "{settled}");
        // In silence it shrinks.
        assert!(average.seconds(72_000).unwrap() < settled * 0.4);
    }

    #[test]
    fn failures_make_nothing_better() {
        let average = PeakEwma::default();
        average.record_failure(1_000, MILLI);
        assert_eq!(average.seconds(1_000), Some(1.0));
        average.record_failure(1_000, MILLI);
        assert_eq!(average.seconds(1_000), Some(1.0));
        average.record_failure(1_000, 5_000 * MILLI);
        assert_eq!(average.seconds(1_000), Some(5.0));
    }

    #[test]
    fn cost_is_time_by_requests_and_an_unproven_one_gets_one() {
        let of = |in_flight, seconds| {
            let pace = Pace { in_flight, seconds };
            cost(pace, 1.0)
        };
        assert_eq!(of(3, Some(0.5)), 2.0);
        assert!(of(0, None) < of(0, Some(0.001)));
        assert!(of(1, None) > of(1_000, Some(10.0)));
        assert!(of(1, None) < of(2, None));
        let heavy = Pace {
            in_flight: 3,
            seconds: Some(0.5),
        };
        assert!(cost(heavy, 3.0) < cost(heavy, 1.0));
    }

    #[test]
    fn among_equals_the_weights_decide() {
        let mut rng = StdRng::seed_from_u64(1);
        let weights = Weights::new([1, 2, 5]);
        let same = |_| Pace {
            in_flight: 0,
            seconds: Some(0.1),
        };
        let seen = count(3, 20_000, || pick(&weights, same, |_| true, &mut rng));
        assert_follows(&seen, &[1.0, 2.0, 5.0]);
        let seen = count(3, 20_000, || pick(&weights, same, |at| at != 2, &mut rng));
        assert_follows(&seen, &[1.0, 2.0, 0.0]);
    }

    /// Plays traffic over four backends, one of them a tenth as fast, with two workers that write the same figures.
    fn played(rate: f64) -> (Vec<u64>, f64, f64) {
        let speeds = [100.0, 100.0, 10.0, 100.0];
        let weights = Weights::new([1; 4]);
        let average: Vec<PeakEwma> = speeds.iter().map(|_| PeakEwma::default()).collect();
        let millis = |seconds: f64| u32::try_from(Duration::from_secs_f64(seconds).as_millis()).unwrap() + 1;
        let mut workers = [StdRng::seed_from_u64(5), StdRng::seed_from_u64(6)];
        let mut turn = 0;
        let outcome = play(
            &speeds,
            rate,
            40_000,
            |moment, _| {
                turn += 1;
                let pace = |at: usize| Pace {
                    in_flight: moment.in_flight[at],
                    seconds: average[at].seconds(millis(moment.now)),
                };
                pick(&weights, pace, |_| true, &mut workers[turn % 2]).unwrap()
            },
            |at, done, took| average[at].record(millis(done), Duration::from_secs_f64(took)),
        );
        let blind = play(
            &speeds,
            rate,
            40_000,
            |_, rng| weights.draw(|_| true, rng).unwrap(),
            |_, _, _| {},
        );
        (
            outcome.requests.clone(),
            outcome.quantile(0.99),
            blind.quantile(0.99),
        )
    }

    #[test]
    fn a_slow_backend_gets_little_and_is_not_forgotten() {
        for rate in [30.0, 150.0] {
            let (requests, p99, blind) = played(rate);
            let slow = requests[2];
            assert!((5..40_000 / 20).contains(&slow), "{rate} a second: {requests:?}");
            let fast = [requests[0], requests[1], requests[3]];
            let (least, most) = (fast.iter().min().unwrap(), fast.iter().max().unwrap());
            assert!(most - least < most / 5, "{rate} a second: {requests:?}");
            assert!(
                p99 < blind / 2.0,
                "{rate} a second: p99 {p99} s, at random {blind} s"
            );
        }
    }
}
