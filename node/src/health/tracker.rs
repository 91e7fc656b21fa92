//! A node's own observation of one backend: what it saw last, and how often in a row.

use std::time::{Duration, Instant};

use super::{Failure, Seen};

/// What a node thinks of a backend by what it saw itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// Whether it is up.
    pub is_up: bool,
    /// Why it is not; empty where it is.
    pub reason: String,
    /// How long the last answer took that was measured.
    pub round_trip: Option<Duration>,
    /// Since when it is thought so.
    pub since: Instant,
    /// When it was seen last.
    pub at: Instant,
}

/// Keeps an observation.
#[derive(Debug, Clone, Default)]
pub struct Tracker {
    own: Option<Own>,
    failed_in_a_row: u32,
    well_in_a_row: u32,
}

/// After how many checks in a row that had another outcome an observation changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// From up to down.
    pub fall: u32,
    /// From down to up.
    pub rise: u32,
}

impl Tracker {
    /// The observation, if it is younger than that.
    pub fn fresh(&self, now: Instant, window: Duration) -> Option<&Own> {
        let is_fresh = |own: &&Own| now.saturating_duration_since(own.at) < window;
        self.own.as_ref().filter(is_fresh)
    }

    /// The observation, however old it is.
    pub fn last(&self) -> Option<&Own> {
        self.own.as_ref()
    }

    /// A real request or a verification showed this: a failure counts at once.
    pub fn saw(&mut self, seen: &Seen, rise: u32, now: Instant) {
        self.take(seen, Patience { fall: 1, rise }, now);
    }

    /// A check showed this.
    pub fn checked(&mut self, seen: &Seen, patience: Patience, now: Instant) {
        self.take(seen, patience, now);
    }

    fn take(&mut self, seen: &Seen, patience: Patience, now: Instant) {
        match seen {
            Seen::Up(round_trip) => self.well(*round_trip, patience.rise, now),
            Seen::Down(failure) => self.failed(failure, patience.fall, now),
        }
    }

    fn well(&mut self, round_trip: Option<Duration>, rise: u32, now: Instant) {
        self.failed_in_a_row = 0;
        self.well_in_a_row = self.well_in_a_row.saturating_add(1);
        match &mut self.own {
            Some(own) if own.is_up || self.well_in_a_row < rise => {
                own.at = now;
                own.round_trip = round_trip.or(own.round_trip);
            }
            Some(_) | None => {
                self.own = Some(Own {
                    is_up: true,
                    reason: String::new(),
                    round_trip,
                    since: now,
                    at: now,
                });
            }
        }
    }

    fn failed(&mut self, failure: &Failure, fall: u32, now: Instant) {
        self.well_in_a_row = 0;
        self.failed_in_a_row = self.failed_in_a_row.saturating_add(1);
        match &mut self.own {
            Some(own) if !own.is_up => {
                own.at = now;
                own.reason.clone_from(&failure.reason);
            }
            _ if self.failed_in_a_row >= fall => {
                self.own = Some(Own {
                    is_up: false,
                    reason: failure.reason.clone(),
                    round_trip: None,
                    since: now,
                    at: now,
                });
            }
            Some(own) => own.at = now,
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(3);

    fn down() -> Seen {
        Seen::Down(Failure::other("no answer"))
    }

    fn is_up(tracker: &Tracker, now: Instant) -> Option<bool> {
        tracker.fresh(now, WINDOW).map(|own| own.is_up)
    }

    #[test]
    fn checks_fall_and_rise_and_requests_fall_at_once() {
        let patience = Patience { fall: 3, rise: 2 };
        let now = Instant::now();
        let mut tracker = Tracker::default();
        assert_eq!(is_up(&tracker, now), None);
        tracker.checked(&Seen::Up(None), patience, now);
        let mut after = Vec::new();
        for seen in [down(), down(), Seen::Up(None), down(), down(), down()] {
            tracker.checked(&seen, patience, now);
            after.push(is_up(&tracker, now).unwrap());
        }
        assert_eq!(after, [true, true, true, true, true, false]);
        tracker.checked(&Seen::Up(None), patience, now);
        assert_eq!(is_up(&tracker, now), Some(false));
        tracker.checked(&Seen::Up(None), patience, now);
        assert_eq!(is_up(&tracker, now), Some(true));
        tracker.saw(&down(), 1, now);
        assert_eq!(is_up(&tracker, now), Some(false));
        tracker.saw(&Seen::Up(None), 1, now);
        assert_eq!(is_up(&tracker, now), Some(true));
    }

    #[test]
    fn nothing_is_thought_of_what_was_seen_long_ago() {
        let now = Instant::now();
        let mut tracker = Tracker::default();
        tracker.saw(&down(), 1, now);
        assert_eq!(is_up(&tracker, now + WINDOW / 2), Some(false));
        assert_eq!(is_up(&tracker, now + WINDOW), None);
        tracker.saw(&down(), 1, now + WINDOW);
        let own = tracker.fresh(now + WINDOW, WINDOW).unwrap();
        assert_eq!((own.since, own.at), (now, now + WINDOW));
    }
}
