//! Who belongs to the fleet, and whose vote was spoken of. Who votes in the end is for the leader to see to.

use std::collections::BTreeSet;

use super::config::FleetConfig;
use super::fleet::{FleetState, VoteWish};
use super::name::NodeName;
use super::rejection::Rejection;

/// The fewest and the most voters that `cluster set voters` takes.
const VOTERS: std::ops::RangeInclusive<u32> = 1..=7;

/// The shortest and the longest `dead_voter_after`, in seconds: a week is as good as never.
const DEAD_VOTER_AFTER: std::ops::RangeInclusive<u32> = 1..=604_800;

impl FleetState {
    /// Whether a node was a member and is none any more. Ids are never given again, so this stays so.
    pub fn was_removed(&self, node_id: u64) -> bool {
        let is_member = self.members.values().any(|member| member.node_id == node_id);
        node_id <= self.next_node_id && !is_member
    }

    /// Which of these nodes were members and are none any more.
    pub fn removed_among(&self, nodes: impl IntoIterator<Item = u64>) -> BTreeSet<u64> {
        let members: BTreeSet<u64> = self.members.values().map(|member| member.node_id).collect();
        let is_removed = |node: &u64| *node <= self.next_node_id && !members.contains(node);
        nodes.into_iter().filter(is_removed).collect()
    }

    pub(super) fn remove_node(&mut self, node: &NodeName) -> Result<(), Rejection> {
        self.check_member(node)?;
        if self.members.len() == 1 {
            return Err(Rejection::OnlyMember(node.clone()));
        }
        self.check_voters_without(node)?;
        self.members.remove(node);
        Ok(())
    }

    pub(super) fn set_wish(&mut self, node: &NodeName, wish: VoteWish) -> Result<(), Rejection> {
        self.check_member(node)?;
        match wish {
            VoteWish::Learner => self.check_voters_without(node)?,
            VoteWish::Voter => self.check_vote_free(node)?,
            VoteWish::Any => {}
        }
        if let Some(member) = self.members.get_mut(node) {
            member.wish = wish;
        }
        Ok(())
    }

    fn check_member(&self, node: &NodeName) -> Result<(), Rejection> {
        if self.members.contains_key(node) {
            Ok(())
        } else {
            Err(Rejection::NoMember(node.clone()))
        }
    }

    fn check_voters_without(&self, node: &NodeName) -> Result<(), Rejection> {
        let mut others = self.members.iter().filter(|(name, _)| *name != node);
        if others.any(|(_, member)| member.wish != VoteWish::Learner) {
            Ok(())
        } else {
            Err(Rejection::NoVoterLeft(node.clone()))
        }
    }

    fn check_vote_free(&self, node: &NodeName) -> Result<(), Rejection> {
        let others = self.members.iter().filter(|(name, _)| *name != node);
        let promoted = others
            .filter(|(_, member)| member.wish == VoteWish::Voter)
            .count();
        if promoted < self.config.voters() as usize {
            Ok(())
        } else {
            Err(Rejection::NoVoteFree(self.config.voters()))
        }
    }
}

impl FleetConfig {
    pub(super) fn set_voters(&mut self, voters: u32) -> Result<(), Rejection> {
        if !VOTERS.contains(&voters) || voters.is_multiple_of(2) {
            return Err(Rejection::Voters);
        }
        self.voters = Some(voters);
        Ok(())
    }

    pub(super) fn set_dead_voter_after(&mut self, seconds: u32) -> Result<(), Rejection> {
        if !DEAD_VOTER_AFTER.contains(&seconds) {
            return Err(Rejection::DeadVoterAfter);
        }
        self.dead_voter_after = Some(seconds);
        Ok(())
    }
}

#[cfg(test)]
#[path = "membership_tests.rs"]
mod tests;
