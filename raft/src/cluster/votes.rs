//! Who should vote. PURE: what is known of each member goes in, the next step comes out.
//!
//! Every step keeps a live majority of those who vote before and of those who vote after; where there is none, nothing
//! is changed. The number of voters stays odd: two survive no failure.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::model::VoteWish;
use crate::types::NodeId;

/// What the leader knows of one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each of them yes or no"
)]
pub(super) struct Standing {
    pub(super) id: NodeId,
    /// It has a vote now.
    pub(super) votes: bool,
    /// It answered lately.
    pub(super) alive: bool,
    /// It has all that was committed a moment ago.
    pub(super) caught_up: bool,
    /// It is away for longer than `dead_voter_after`.
    pub(super) given_up: bool,
    /// What was said of its vote.
    pub(super) wish: VoteWish,
    /// It was removed from the fleet.
    pub(super) removed: bool,
    /// It is the leader that asks.
    pub(super) leads: bool,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing.
    Done,
    /// Nothing yet: whoever should vote is behind or away.
    Wait,
    /// These, and no others, shall vote.
    Vote(BTreeSet<NodeId>),
    /// The leader shall have no vote: this one leads on.
    HandOver(NodeId),
    /// These have no vote and were removed.
    Drop(BTreeSet<NodeId>),
}

/// The next step, where `wanted` is how many voters the fleet shall have at most.
pub(super) fn next_step(members: &[Standing], wanted: usize) -> Step {
    let now = ids(members.iter().filter(|member| member.votes));
    let Some(next) = next_voters(members, wanted, &now) else {
        return Step::Wait;
    };
    if next == now {
        return leftover(members, wanted, now.len());
    }
    if !has_live_majority(members, &now) || !has_live_majority(members, &next) {
        return Step::Wait;
    }
    let leader_stays = members
        .iter()
        .all(|member| !member.leads || next.contains(&member.id));
    if leader_stays {
        return Step::Vote(next);
    }
    let heir = members
        .iter()
        .find(|member| next.contains(&member.id) && member.votes && member.alive && member.caught_up);
    match heir {
        Some(heir) => Step::HandOver(heir.id),
        // Nobody who stays has a vote yet.
        None if next.is_subset(&now) => Step::Wait,
        None => Step::Vote(now.union(&next).copied().collect()),
    }
}

/// With the right voters: whoever was removed goes; where there is room for more voters, they are waited for.
fn leftover(members: &[Standing], wanted: usize, voters: usize) -> Step {
    let gone = ids(members.iter().filter(|member| member.removed && !member.votes));
    if !gone.is_empty() {
        return Step::Drop(gone);
    }
    let may_vote = members.iter().filter(|member| member.may_vote()).count();
    if voters < largest_odd(may_vote.min(wanted)) {
        Step::Wait
    } else {
        Step::Done
    }
}

/// Who should vote now; nobody where that must wait for a learner that is catching up.
fn next_voters(members: &[Standing], wanted: usize, now: &BTreeSet<NodeId>) -> Option<BTreeSet<NodeId>> {
    let may: Vec<&Standing> = members.iter().filter(|member| member.may_vote()).collect();
    let countable = may.iter().filter(|member| member.votes || member.alive).count();
    let count = largest_odd(countable.min(wanted));
    let mut can: Vec<&Standing> = may
        .into_iter()
        .filter(|member| member.votes || (member.alive && member.caught_up))
        .collect();
    can.sort_by_key(|member| member.rank());
    let chosen = count.min(largest_odd(can.len()));
    if chosen == 0 {
        return None;
    }
    let next = ids(can.iter().copied().take(chosen));
    // Fewer than there will be soon: only to grow, never to take a vote away.
    (chosen == count || next.is_superset(now)).then_some(next)
}

impl Standing {
    fn may_vote(&self) -> bool {
        !self.removed && self.wish != VoteWish::Learner
    }

    /// The lower, the rather it votes.
    fn rank(&self) -> impl Ord + use<> {
        (
            self.given_up,
            self.wish != VoteWish::Voter,
            Reverse(self.votes),
            Reverse(self.leads),
            Reverse(self.alive),
            self.id,
        )
    }
}

fn has_live_majority(members: &[Standing], voters: &BTreeSet<NodeId>) -> bool {
    let alive = members
        .iter()
        .filter(|member| member.alive && voters.contains(&member.id))
        .count();
    alive * 2 > voters.len()
}

fn ids<'a>(members: impl Iterator<Item = &'a Standing>) -> BTreeSet<NodeId> {
    members.map(|member| member.id).collect()
}

fn largest_odd(number: usize) -> usize {
    if number.is_multiple_of(2) {
        number.saturating_sub(1)
    } else {
        number
    }
}

#[cfg(test)]
#[path = "votes_tests.rs"]
mod tests;
