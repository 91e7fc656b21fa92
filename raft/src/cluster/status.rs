//! What a node knows of the consensus without asking anybody.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver as _;
use openraft::{Instant as _, RaftMetrics, ServerState};
use tokio::time::timeout;

use super::Inner;
use super::forward::small;
use crate::types::{ClusterMember, NodeId, TypeConfig};

/// The consensus as one node sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaftStatus {
    /// The node that says so.
    pub node_id: NodeId,
    /// Who leads, as far as this node has heard lately.
    pub leader: Option<NodeId>,
    /// The latest term.
    pub term: u64,
    /// The latest entry that is known to be on a majority.
    pub commit_index: u64,
    /// The latest entry that is applied here.
    pub applied_index: u64,
    /// The last entry in the latest snapshot here; 0 where there is none.
    pub snapshot_index: u64,
    /// Who votes, as a majority knows it; while that changes, who did before.
    pub voters: BTreeSet<NodeId>,
    /// Who does not.
    pub learners: BTreeSet<NodeId>,
    /// All members.
    pub members: BTreeMap<NodeId, ClusterMember>,
    /// Whether changes are taken now, as far as this node can tell.
    pub has_quorum: bool,
    /// Voters that answered lately, this node included where it votes.
    pub voters_reachable: u32,
}

impl Inner {
    /// Who leads, by the latest vote that is known here; it may be gone.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        self.raft.metrics().borrow_watched().current_leader
    }

    pub(super) fn voters(&self) -> BTreeSet<NodeId> {
        self.raft
            .metrics()
            .borrow_watched()
            .membership_config
            .voter_ids()
            .collect()
    }

    /// Waits until this node knows of another leader, or for at most so long.
    pub(super) async fn leader_changes_from(&self, leader: Option<NodeId>, at_most: Duration) {
        let mut metrics = self.raft.server_metrics();
        let changed = async {
            while metrics.borrow_and_update().current_leader == leader {
                if metrics.changed().await.is_err() {
                    return;
                }
            }
        };
        // Either way it is time to look again.
        drop(timeout(at_most, changed).await);
    }

    /// Waits until somebody else leads, for as long as it takes.
    pub(super) async fn led_by_another_than(&self, leader: NodeId) {
        let mut metrics = self.raft.server_metrics();
        loop {
            let now = metrics.borrow_and_update().current_leader;
            if now.is_some_and(|now| now != leader) || metrics.changed().await.is_err() {
                return;
            }
        }
    }

    /// Another voter that could take the leadership over now.
    pub(super) fn heir(&self) -> Option<NodeId> {
        let voters = self.voters();
        let mut others = voters.into_iter().filter(|node| *node != self.node_id);
        others.find(|node| self.can_lead(*node))
    }

    /// Whether a node answered this leader lately.
    pub(super) fn acknowledged(&self, metrics: &RaftMetrics<TypeConfig>, node: NodeId) -> bool {
        let last = metrics
            .heartbeat
            .as_ref()
            .and_then(|heartbeat| *heartbeat.get(&node)?);
        node == self.node_id || last.is_some_and(|last| last.elapsed() <= self.lately())
    }

    /// For how long a word counts as late as now.
    pub(super) fn lately(&self) -> Duration {
        self.timing.election_max() * 2
    }

    pub(super) fn status(&self) -> RaftStatus {
        let metrics = self.raft.metrics().borrow_watched().clone();
        let membership = &metrics.membership_config;
        // Of those that are about to vote, nobody can be sure before it is applied.
        let settled = self.feed.latest().members.voters.clone();
        let voters: BTreeSet<NodeId> = if settled.is_empty() {
            membership.voter_ids().collect()
        } else {
            settled
        };
        let leads = metrics.state == ServerState::Leader;
        let leader = metrics
            .current_leader
            .filter(|_| leads || self.heard.within(self.lately()));
        let voters_reachable = if leads {
            small(
                voters
                    .iter()
                    .filter(|voter| self.acknowledged(&metrics, **voter))
                    .count(),
            )
        } else {
            self.answering.load(Ordering::Relaxed).min(small(voters.len()))
        };
        RaftStatus {
            node_id: self.node_id,
            leader,
            term: metrics.current_term,
            commit_index: metrics
                .cluster_committed
                .max(metrics.local_committed)
                .map_or(0, |id| id.index),
            applied_index: metrics.last_applied.map_or(0, |id| id.index),
            snapshot_index: metrics.snapshot.map_or(0, |id| id.index),
            learners: membership
                .nodes()
                .map(|(id, _)| *id)
                .filter(|id| !voters.contains(id))
                .collect(),
            members: membership.nodes().map(|(id, node)| (*id, node.clone())).collect(),
            has_quorum: leader.is_some() && (!leads || voters_reachable as usize * 2 > voters.len()),
            voters,
            voters_reachable,
        }
    }
}
