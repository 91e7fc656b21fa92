//! A data directory of the past: its node has forgotten what it acknowledged, and a vote of it could undo what a majority
//! has on disk. A leader that heard the acknowledgement knows better, and is asked before the node takes part.

use std::time::Duration;

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

/// How long the members may take to answer; a fleet that is not there holds up no start.
const ANSWER: Duration = Duration::from_millis(500);

/// Fails where a leader knows that the node had more of the log than it has now.
pub(super) async fn check(home: &Home, log: &LogStore) -> Result<(), OpenError> {
    let own = home.identity.node_id;
    let state = log.clone().get_log_state().await;
    let state = state.map_err(|error| OpenError::Raft(error.to_string()))?;
    let last = state.last_log_id.map_or(0, |id| id.index);
    let channels = PeerChannels::new(Some(home.tls.clone()));
    channels.follow(&home.known.members);
    let others = home.known.members.keys().filter(|node| **node != own);
    let asked = others
        .filter_map(|node| channels.get(*node))
        .map(|channel| async move {
            let answer = standing(channel, own, ANSWER).await?;
            Some(answer.acknowledged)
        });
    let acknowledged = join_all(asked).await.into_iter().flatten().max();
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
