//! A data directory of the past: its node has forgotten what it acknowledged, and a vote of it could undo what a majority
//! has on disk. A leader that heard the acknowledgement knows better, and is asked before the node takes part.
//!
//! Who leads is not known yet. A few members are asked first; they tell who votes, and so who may lead. Where hundreds start
//! together, each must not call hundreds.

use std::collections::BTreeSet;
use std::time::Duration;

use fleetbal_proto::v1;
use futures::future::join_all;
use openraft::RaftMetrics;
use openraft::async_runtime::WatchReceiver as _;
use openraft::storage::RaftLogStorage as _;

use super::farewell::standing;
use super::{Home, Inner};
use crate::error::OpenError;
use crate::store::LogStore;
use crate::transport::client::PeerChannels;
use crate::types::{NodeId, TypeConfig};
use crate::wire::raft::decode_stored_membership;

/// How long the members may take to answer; a fleet that is not there holds up no start.
const ANSWER: Duration = Duration::from_millis(500);

/// How many are asked first. Those with the lowest ids vote unless the operators want it otherwise.
const FIRST: usize = 8;

/// Fails where a leader knows that the node had more of the log than it has now.
pub(super) async fn check(home: &Home, log: &LogStore) -> Result<(), OpenError> {
    let own = home.identity.node_id;
    let state = log.clone().get_log_state().await;
    let state = state.map_err(|error| OpenError::Raft(error.to_string()))?;
    let last = state.last_log_id.map_or(0, |id| id.index);
    let channels = PeerChannels::new(Some(home.tls.clone()));
    channels.follow(&home.known.members);
    let others: Vec<NodeId> = home.known.ids().filter(|node| *node != own).collect();
    let (first, rest) = others.split_at(FIRST.min(others.len()));
    let mut answers = ask(&channels, own, first).await;
    if !rest.is_empty() {
        let voters = voters_of(&answers);
        let rest = rest.iter().copied();
        let may_lead = rest.filter(|node| voters.as_ref().is_none_or(|voters| voters.contains(node)));
        answers.extend(ask(&channels, own, &may_lead.collect::<Vec<_>>()).await);
    }
    let acknowledged = answers.iter().map(|answer| answer.acknowledged).max();
    match acknowledged {
        Some(acknowledged) if acknowledged > last => Err(OpenError::Past {
            path: home.dir.path().to_path_buf(),
            node: home.identity.name.to_string(),
            last,
            acknowledged,
        }),
        Some(_) | None => Ok(()),
    }
}

/// What these members say; nothing of those that do not answer.
async fn ask(channels: &PeerChannels, own: NodeId, nodes: &[NodeId]) -> Vec<v1::StandingResponse> {
    let asked = nodes
        .iter()
        .filter_map(|node| channels.get(*node))
        .map(|channel| standing(channel, own, ANSWER));
    join_all(asked).await.into_iter().flatten().collect()
}

/// Who votes by the newest of these answers; none where no answer tells.
fn voters_of(answers: &[v1::StandingResponse]) -> Option<BTreeSet<NodeId>> {
    let told = answers
        .iter()
        .filter_map(|answer| decode_stored_membership(answer.membership.clone()).ok());
    let newest = told.max_by_key(|stored| stored.log_id().as_ref().map(|id| id.index))?;
    let voters: BTreeSet<NodeId> = newest.voter_ids().collect();
    (!voters.is_empty()).then_some(voters)
}

impl Inner {
    /// The last entry that a node has acknowledged to this leader; 0 where this node does not lead.
    pub(crate) fn acknowledged_by(&self, node: NodeId) -> u64 {
        matched(&self.raft.metrics().borrow_watched(), node).unwrap_or(0)
    }
}

/// The last entry that a leader knows a node to have.
pub(super) fn matched(metrics: &RaftMetrics<TypeConfig>, node: NodeId) -> Option<u64> {
    let replication = metrics.replication.as_ref()?;
    let matched = (*replication.get(&node)?)?;
    Some(matched.index)
}
