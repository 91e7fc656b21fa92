//! When a body goes to disk before a backend is asked for (Perlbal, reference section 4.9).

use std::time::Duration;

/// Why a body goes to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It is large.
    Size,
    /// It comes slowly.
    Rate,
    /// Its rest would take long.
    Time,
}

impl Reason {
    /// As a backend is told it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Size => "size",
            Self::Rate => "rate",
            Self::Time => "time",
        }
    }
}

/// From where on a body goes to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Thresholds {
    /// This long or longer, in bytes; 0: no such rule.
    pub size: u64,
    /// Slower than this, in bytes a second; 0: no such rule.
    pub rate: u64,
    /// Still to come for longer than this; zero: no such rule.
    pub time: Duration,
}

impl Thresholds {
    /// What the head alone decides.
    pub fn by_length(self, length: u64) -> Option<Reason> {
        (self.size > 0 && length >= self.size).then_some(Reason::Size)
    }

    /// What is decided once the buffer in memory is full: `done` bytes came within `elapsed`, `left` are to come.
    pub fn by_pace(self, done: u64, left: u64, elapsed: Duration) -> Option<Reason> {
        let (done, left) = (u128::from(done), u128::from(left));
        let second = Duration::from_secs(1).as_nanos();
        // left / (done / elapsed) > time, without a division by what may be zero.
        if !self.time.is_zero()
            && left.saturating_mul(elapsed.as_nanos()) > self.time.as_nanos().saturating_mul(done)
        {
            return Some(Reason::Time);
        }
        let slow = done * second < u128::from(self.rate).saturating_mul(elapsed.as_nanos());
        (self.rate > 0 && slow).then_some(Reason::Rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Thresholds = Thresholds {
        size: 0,
        rate: 0,
        time: Duration::ZERO,
    };

    #[test]
    fn by_length() {
        let rules = Thresholds { size: 10, ..NONE };
        assert_eq!(rules.by_length(9), None);
        assert_eq!(rules.by_length(10), Some(Reason::Size));
        assert_eq!(NONE.by_length(u64::MAX), None);
    }

    #[test]
    fn by_rate() {
        let rules = Thresholds { rate: 100, ..NONE };
        let seconds = Duration::from_secs;
        assert_eq!(rules.by_pace(200, 1, seconds(2)), None);
        assert_eq!(rules.by_pace(199, 1, seconds(2)), Some(Reason::Rate));
        assert_eq!(rules.by_pace(1, 1, Duration::ZERO), None);
        assert_eq!(NONE.by_pace(0, u64::MAX, Duration::MAX), None);
    }

    #[test]
    fn by_time_which_goes_before_rate() {
        let rules = Thresholds {
            rate: 100,
            time: Duration::from_secs(5),
            ..NONE
        };
        // 50 bytes a second, 250 to come: just five seconds.
        assert_eq!(
            rules.by_pace(100, 250, Duration::from_secs(2)),
            Some(Reason::Rate)
        );
        assert_eq!(
            rules.by_pace(100, 251, Duration::from_secs(2)),
            Some(Reason::Time)
        );
        assert_eq!(
            rules.by_pace(u64::MAX, u64::MAX, Duration::MAX),
            Some(Reason::Time)
        );
        assert_eq!(rules.by_pace(1000, 1000, Duration::from_secs(2)), None);
    }
}
