//! What the log builds up, entry by entry. Pure: no clock, no file, nothing of this node.

use std::sync::Arc;

use openraft::EntryPayload;

use crate::feed::{Applied, Members};
use crate::model::{Answer, Answers, FleetState, Refusal, Rejection};
use crate::types::{LogCommand, LogEntry, LogId, StoredMembership};
use crate::wire::{WireError, decode_entry};

/// The replicated state with all that a snapshot keeps of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Replicated {
    pub(super) state: FleetState,
    pub(super) answers: Answers,
    pub(super) last_applied: Option<LogId>,
    pub(super) membership: StoredMembership,
    members: Arc<Members>,
}

impl Replicated {
    pub(super) fn new(
        state: FleetState,
        answers: Answers,
        last_applied: Option<LogId>,
        membership: StoredMembership,
    ) -> Self {
        let members = Arc::new(members_of(&membership));
        Self {
            state,
            answers,
            last_applied,
            membership,
            members,
        }
    }

    /// Applies one entry; nothing is answered to those that carry no command.
    ///
    /// # Errors
    /// When it is of a later release. Nothing counts from there on: refusing it alone, or leaving it out, would make
    /// this node another one than those that can apply it.
    pub(super) fn apply(&mut self, entry: LogEntry) -> Result<Option<Answer>, WireError> {
        let answer = match entry.payload {
            EntryPayload::Blank => None,
            EntryPayload::Normal(command) => Some(self.apply_command(&command)?),
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(entry.log_id), membership);
                self.members = Arc::new(members_of(&self.membership));
                None
            }
        };
        self.last_applied = Some(entry.log_id);
        Ok(answer)
    }

    /// A request that was answered before gets the same answer and changes nothing.
    fn apply_command(&mut self, command: &LogCommand) -> Result<Answer, WireError> {
        let entry = match decode_entry(&command.0) {
            Ok(entry) => entry,
            Err(later @ WireError::Later { .. }) => return Err(later),
            Err(error) => {
                return Ok(Answer::Refused(Refusal {
                    text: Rejection::Malformed(error.to_string()).to_string(),
                    change: 0,
                }));
            }
        };
        if let Some(answer) = self.answers.get(entry.request_id) {
            return Ok(answer.clone());
        }
        let answer = self.state.apply(&entry);
        self.answers.insert(entry.request_id, entry.time, answer.clone());
        Ok(answer)
    }

    /// For the readers of the feed.
    pub(super) fn applied(&self) -> Applied {
        Applied {
            log_index: self.last_applied.map_or(0, |id| id.index),
            term: self.last_applied.map_or(0, |id| id.leader_id.term),
            state: Arc::new(self.state.clone()),
            members: Arc::clone(&self.members),
        }
    }
}

/// While the membership changes, the voters of before: without them nothing is decided until the change is through.
fn members_of(stored: &StoredMembership) -> Members {
    let membership = stored.membership();
    let voters = membership.get_joint_config().first().cloned().unwrap_or_default();
    let others = membership.nodes().map(|(id, _)| *id);
    Members {
        learners: others.filter(|id| !voters.contains(id)).collect(),
        voters,
        nodes: membership
            .nodes()
            .map(|(id, member)| (*id, member.clone()))
            .collect(),
    }
}
