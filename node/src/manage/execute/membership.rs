//! Members and their votes: proposed like a change, answered when the membership is so.

use std::time::Duration;

use fleetbal_raft::feed::Applied;
use fleetbal_raft::model::{Command as Proposal, NodeName, Rejection, Typist, VoteWish};
use tokio::time::{Instant, timeout_at};

use super::super::Context;
use super::change::agree;

/// How long the fleet may take to make what was agreed on its membership.
const TAKE_PLACE: Duration = Duration::from_secs(10);

/// How long a leader may take to let another one lead.
const TRANSFER: Duration = Duration::from_secs(5);

/// How long the members may take to know a new key.
pub(in crate::manage) const REKEY: Duration = Duration::from_secs(10);

/// Takes a member out of the fleet.
pub(super) async fn remove(node: NodeName, typist: &Typist, context: &Context) -> Result<(), String> {
    let id = member(&node, context)?;
    agree(Proposal::RemoveNode(node.clone()), typist, context).await?;
    // A node that removes itself is not told how it ends.
    let is_out = |applied: &Applied| {
        let lost_its_place = !applied.members.nodes.contains_key(&id) || id == context.cluster.node_id();
        applied.state.was_removed(id) && lost_its_place
    };
    if comes_true(is_out, context).await {
        return Ok(());
    }
    Err(format!(
        "'{node}' is removed, but the voters have not changed yet; they will when a majority of them is there"
    ))
}

/// Has a member vote, or not.
pub(super) async fn set_wish(
    node: NodeName,
    wish: VoteWish,
    typist: &Typist,
    context: &Context,
) -> Result<(), String> {
    let id = member(&node, context)?;
    let proposal = Proposal::SetWish {
        node: node.clone(),
        wish,
    };
    agree(proposal, typist, context).await?;
    let votes = wish == VoteWish::Voter;
    let is_so = |applied: &Applied| applied.members.voters.contains(&id) == votes;
    if wish == VoteWish::Any || comes_true(is_so, context).await {
        return Ok(());
    }
    Err(if votes {
        format!("'{node}' does not vote yet; it will when it is there and has caught up")
    } else {
        format!("'{node}' votes still; that ends when another node can take its place")
    })
}

/// Lets a member lead.
pub(super) async fn transfer(node: NodeName, context: &Context) -> Result<(), String> {
    let id = member(&node, context)?;
    let outcome = context.cluster.transfer(id, TRANSFER).await;
    outcome.map_err(|error| format!("'{node}' cannot lead: {error}"))
}

/// Gives this node a new key.
pub(super) async fn rekey(context: &Context) -> Result<(), String> {
    let outcome = context.cluster.rekey(REKEY).await;
    outcome.map_err(|error| error.to_string())
}

fn member(node: &NodeName, context: &Context) -> Result<u64, String> {
    let applied = context.cluster.feed().latest();
    let named = applied.state.members().find(|(name, _)| *name == node);
    named
        .map(|(_, member)| member.node_id)
        .ok_or_else(|| Rejection::NoMember(node.clone()).to_string())
}

/// Waits until what is applied here is so; false where it takes too long.
async fn comes_true(is_so: impl Fn(&Applied) -> bool, context: &Context) -> bool {
    let mut feed = context.cluster.feed();
    let deadline = Instant::now() + TAKE_PLACE;
    while !is_so(&feed.latest()) {
        if !matches!(timeout_at(deadline, feed.changed()).await, Ok(true)) {
            return false;
        }
    }
    true
}
