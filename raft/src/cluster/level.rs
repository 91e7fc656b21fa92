//! Two releases in one fleet: what an older member cannot apply is not proposed.
//!
//! Each member tells what it can apply when it starts, and the membership keeps it. A proposer looks before it proposes, so
//! that the typist reads who is behind, and the leader looks again, since it knows the members best.

use openraft::async_runtime::WatchReceiver as _;

use super::Inner;
use crate::error::ProposeError;

impl Inner {
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
}
