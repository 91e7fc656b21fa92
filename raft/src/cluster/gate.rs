//! What a leader does not append though anybody may ask for it: what an older member cannot apply, and tokens by a clock that
//! is wrong. And whom it does not take up: a release that cannot apply what the fleet has, and a machine whose clock is wrong.
//!
//! Each member tells what it can apply when it starts, and the membership keeps it. A proposer looks before it proposes, so
//! that the typist reads who is behind, and the leader looks again, since it knows the members best.

use std::time::Duration;

use openraft::async_runtime::WatchReceiver as _;

use super::Inner;
use crate::error::ProposeError;
use crate::model::{Command, Entry, FIRST_LEVEL, NodeName, RENEWAL, UnixMillis};

/// How far two clocks may be apart where a token is issued or used.
const CLOCKS: Duration = Duration::from_mins(5);

/// How long a member that joined just now may take to tell what it can apply, and how often to look.
const TOLD_WITHIN: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(25);

impl Inner {
    /// The same as [`Inner::check_level`], for a proposer: a member of which nothing is known yet may have joined just now,
    /// and is waited for.
    pub(crate) async fn await_level(&self, needed: u32) -> Result<(), ProposeError> {
        let begin = tokio::time::Instant::now();
        loop {
            let checked = self.check_level(needed);
            if checked.is_ok() || !self.is_level_unknown() || begin.elapsed() >= TOLD_WITHIN {
                return checked;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn is_level_unknown(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let mut members = metrics.membership_config.nodes();
        members.any(|(_, member)| member.feature_level.is_none())
    }

    /// Refuses what some member cannot apply, by name.
    pub(crate) fn check_level(&self, needed: u32) -> Result<(), ProposeError> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let members = metrics.membership_config.nodes();
        let behind: Vec<String> = members
            .filter(|(_, member)| member.level() < needed)
            .map(|(_, member)| format!("{} has {}", member.name, member.level()))
            .collect();
        if behind.is_empty() {
            return Ok(());
        }
        Err(ProposeError::Refused(format!(
            "this needs feature level {needed} at every node, and {}; upgrade first",
            behind.join(", ")
        )))
    }

    /// The lowest feature level that can apply what the fleet has by now.
    fn level_in_use(&self) -> u32 {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let mut members = metrics.membership_config.nodes();
        let renews = members.any(|(_, member)| member.next_key_hash.is_some());
        let level = self.feed.latest().state.feature_level();
        if renews { level.max(RENEWAL) } else { level }
    }

    /// What a command needs. A rollback may bring back anything that the history holds.
    pub(super) fn level_of(&self, command: &Command) -> u32 {
        if matches!(command, Command::Rollback { .. }) {
            return self.feed.latest().state.feature_level();
        }
        command.feature_level()
    }

    /// Why a joiner of this release, with this clock, cannot be taken up. A release that says neither is the first one.
    pub(super) fn check_joiner(
        &self,
        name: &NodeName,
        level: Option<u32>,
        time: Option<UnixMillis>,
    ) -> Result<(), String> {
        let (needed, here) = (self.level_in_use(), level.unwrap_or(FIRST_LEVEL));
        if here < needed {
            return Err(format!(
                "this fleet's configuration and its history need feature level {needed}, and {name} has {here}; start a \
                 later release there"
            ));
        }
        let (Some(theirs), ours) = (time, (self.clock)()) else {
            return Ok(());
        };
        if Duration::from_millis(theirs.0.abs_diff(ours.0)) <= CLOCKS {
            return Ok(());
        }
        Err(format!(
            "the clock of {name} says {}, and that of {}, which leads the fleet, {}; they may be {} minutes apart: set \
             the wrong one, then start again",
            at(theirs),
            self.name,
            at(ours),
            CLOCKS.as_secs() / 60
        ))
    }

    /// Refuses to issue or use a token for a node whose clock is another one than this leader's: how long a token is good
    /// is judged by the clocks of those who propose.
    pub(crate) fn check_clock(&self, entry: &Entry) -> Result<(), ProposeError> {
        if !matches!(entry.command, Command::IssueToken { .. } | Command::Join { .. }) {
            return Ok(());
        }
        let (theirs, ours) = (entry.time.0, (self.clock)().0);
        let apart = Duration::from_millis(theirs.abs_diff(ours));
        if apart <= CLOCKS {
            return Ok(());
        }
        Err(ProposeError::Refused(format!(
            "the clock of {} is {} s {} that of the leader, {}; tokens need clocks that agree",
            entry.origin_node,
            apart.as_secs(),
            if theirs > ours { "ahead of" } else { "behind" },
            self.name,
        )))
    }
}

/// A time as a person reads it.
fn at(time: UnixMillis) -> String {
    let seconds = i64::try_from(time.0 / 1000).unwrap_or(i64::MAX);
    time::OffsetDateTime::from_unix_timestamp(seconds).map_or_else(
        |_| format!("{} ms after 1970", time.0),
        |time| {
            let (hour, minute, second) = time.to_hms();
            format!("{} {hour:02}:{minute:02}:{second:02} UTC", time.date())
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_one_that_a_person_reads() {
        assert_eq!(at(UnixMillis(1_700_000_000_999)), "2023-11-14 22:13:20 UTC");
        assert_eq!(at(UnixMillis(0)), "1970-01-01 00:00:00 UTC");
        assert!(at(UnixMillis(u64::MAX)).ends_with("ms after 1970"));
    }
}
