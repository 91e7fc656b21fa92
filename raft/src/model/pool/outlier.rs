//! What becomes of a backend that answers, but badly: settings of the pool.

use std::time::Duration;

/// When a node takes a backend out by the outcome of its own requests, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlierRules {
    /// After so many requests in a row that it answered with 5xx, or did not answer; none: whatever comes.
    pub errors: Option<u32>,
    /// Where it takes so many thousandths of the time that the pool's median backend takes; none: however long.
    pub latency: Option<u32>,
    /// For how long at first; each time that it is not better by then, for as much longer.
    pub eject_time: Duration,
    /// Of so much of the pool, in per cent of its backends, but always of one where this is not 0.
    pub max_ejected: u32,
}

impl Default for OutlierRules {
    fn default() -> Self {
        Self {
            errors: None,
            latency: None,
            eject_time: Duration::from_secs(30),
            max_ejected: 30,
        }
    }
}

impl OutlierRules {
    /// How many of so many backends may be out at the same time.
    pub fn most_of(&self, backends: usize) -> usize {
        let part = backends.saturating_mul(self.max_ejected.try_into().unwrap_or(100)) / 100;
        part.max(usize::from(self.max_ejected > 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_a_part_and_at_least_one() {
        let most = |max_ejected, backends| {
            let rules = OutlierRules {
                max_ejected,
                ..OutlierRules::default()
            };
            rules.most_of(backends)
        };
        assert_eq!(most(30, 10), 3);
        assert_eq!(most(30, 3), 1);
        assert_eq!(most(100, 3), 3);
        assert_eq!(most(0, 100), 0);
    }
}
