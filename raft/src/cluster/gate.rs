//! What a leader does not append though anybody may ask for it: what an older member cannot apply, and tokens by a clock that
//! is wrong.
//!
//! Each member tells what it can apply when it starts, and the membership keeps it. A proposer looks before it proposes, so
//! that the typist reads who is behind, and the leader looks again, since it knows the members best.

use std::time::Duration;

use openraft::async_runtime::WatchReceiver as _;

use super::Inner;
use crate::error::ProposeError;
use crate::model::{Command, Entry};

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
