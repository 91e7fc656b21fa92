//! How long things take before something is done about them.

use std::time::Duration;

/// Entries after which a snapshot is made.
const SNAPSHOT_EVERY: u64 = 1000;

/// Entries that are kept behind a snapshot, for followers that are a little behind.
const KEEP_BEHIND_SNAPSHOT: u64 = 500;

/// How long a snapshot may travel.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(30);

/// The pace of the consensus. Between 1 ms and an hour, and in an order in which elections can end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    heartbeat: Duration,
    election_min: Duration,
    election_max: Duration,
}

/// Durations with which no leader would last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TimingError {
    /// Too short or too long.
    #[error("{0:?} is no pace for a fleet; it must be between 1 ms and an hour")]
    Range(Duration),
    /// A follower would give up a leader that is alive.
    #[error("an election after {election:?} comes before two heartbeats of {heartbeat:?}; make it longer")]
    Heartbeat {
        /// Between heartbeats.
        heartbeat: Duration,
        /// The earliest election.
        election: Duration,
    },
    /// Candidates would always meet.
    #[error("elections between {min:?} and {max:?} leave no room for chance; make the second longer")]
    Election {
        /// The earliest.
        min: Duration,
        /// The latest.
        max: Duration,
    },
}

impl Timing {
    /// A pace of its own.
    ///
    /// # Errors
    /// When a duration is out of range, two heartbeats do not fit before an election, or the earliest election is not
    /// before the latest.
    pub fn new(heartbeat: Duration, min: Duration, max: Duration) -> Result<Self, TimingError> {
        let range = Duration::from_millis(1)..=Duration::from_hours(1);
        for duration in [heartbeat, min, max] {
            if !range.contains(&duration) {
                return Err(TimingError::Range(duration));
            }
        }
        if heartbeat * 2 > min {
            return Err(TimingError::Heartbeat {
                heartbeat,
                election: min,
            });
        }
        if min >= max {
            return Err(TimingError::Election { min, max });
        }
        Ok(Self {
            heartbeat,
            election_min: min,
            election_max: max,
        })
    }

    /// Between two heartbeats of a leader.
    pub fn heartbeat(&self) -> Duration {
        self.heartbeat
    }

    /// After this long without a leader every follower has called an election, and a leader without a majority takes
    /// no more changes.
    pub fn election_max(&self) -> Duration {
        self.election_max
    }

    pub(crate) fn raft_config(&self, fleet: &str) -> openraft::Config {
        openraft::Config {
            cluster_name: fleet.to_owned(),
            heartbeat_interval: millis(self.heartbeat),
            election_timeout_min: millis(self.election_min),
            election_timeout_max: millis(self.election_max),
            install_snapshot_timeout: millis(SNAPSHOT_TIMEOUT),
            snapshot_policy: openraft::SnapshotPolicy::LogsSinceLast(SNAPSHOT_EVERY),
            max_in_snapshot_log_to_keep: KEEP_BEHIND_SNAPSHOT,
            enable_pre_vote: Some(true),
            ..openraft::Config::default()
        }
    }
}

impl Default for Timing {
    /// A leader that dies is replaced after about half a second.
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(100),
            election_min: Duration::from_millis(200),
            election_max: Duration::from_millis(350),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_can_work() {
        let ms = Duration::from_millis;
        assert!(Timing::new(ms(50), ms(150), ms(300)).is_ok());
        assert_eq!(
            Timing::new(ms(0), ms(150), ms(300)),
            Err(TimingError::Range(ms(0)))
        );
        assert!(matches!(
            Timing::new(ms(100), ms(150), ms(300)),
            Err(TimingError::Heartbeat { .. })
        ));
        assert!(matches!(
            Timing::new(ms(50), ms(300), ms(300)),
            Err(TimingError::Election { .. })
        ));
        let default = Timing::default();
        assert_eq!(
            Timing::new(default.heartbeat, default.election_min, default.election_max),
            Ok(default)
        );
        assert!(default.raft_config("acme").validate().is_ok());
    }
}
