//! How a node learns that it was removed: from its own log, or, where it was away then, from any member that it knew,
//! which refuses its key and answers whoever shows none.
//!
//! Ids are never given again, so one member that has applied the removal is enough; an older state knows the node as a
//! member or not at all.

use std::time::Duration;

use fleetbal_proto::v1;
use fleetbal_proto::v1::joining_client::JoiningClient;
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;

use super::{Home, Inner};
use crate::error::OpenError;
use crate::types::NodeId;

/// How often a node without a leader asks whether it still belongs.
const ASK: Duration = Duration::from_secs(1);

/// How long a member may take to answer that.
pub(super) const ANSWER: Duration = Duration::from_secs(1);

impl Inner {
    /// Whether this node's own log says that it was removed.
    pub(crate) fn reads_removed(&self, node_id: u64) -> bool {
        self.feed.latest().state.was_removed(node_id)
    }

    /// Ends with the node, or when it was removed.
    pub(super) async fn watch_own_standing(&self) {
        let Some(home) = &self.home else { return };
        let mut feed = self.feed.clone();
        loop {
            let is_lonely = self.is_lonely();
            if self.reads_removed(self.node_id) || (is_lonely && self.is_told_so(home).await) {
                tracing::warn!("this node was removed from its fleet");
                self.removed.send_replace(true);
                return;
            }
            if is_lonely {
                self.ask_for_members(home).await;
            }
            tokio::select! {
                goes_on = feed.changed() => if !goes_on { return },
                () = sleep(ASK) => {}
            }
        }
    }

    /// Whether no leader was heard of lately, or this node takes itself for the leader and nobody follows it: so it is
    /// when it led before it went away.
    fn is_lonely(&self) -> bool {
        !self.status().has_quorum
    }

    async fn is_told_so(&self, home: &Home) -> bool {
        let now = self.feed.latest().members.nodes.clone();
        let before = home.known.members.keys();
        let others = now.keys().chain(before).filter(|node| **node != self.node_id);
        for node in others {
            let Some(channel) = self.channels.nameless(*node) else {
                continue;
            };
            let answer = standing(channel, self.node_id, ANSWER).await;
            if answer.is_some_and(|answer| answer.removed) {
                return true;
            }
        }
        false
    }

    /// Wipes what is left of a removed node. To be called when its part in the fleet has ended.
    pub(super) async fn wipe(&self) -> Result<(), OpenError> {
        let Some(home) = &self.home else { return Ok(()) };
        let dir = home.dir.clone();
        tokio::task::spawn_blocking(move || dir.wipe_removed())
            .await
            .map_err(|error| OpenError::Raft(error.to_string()))?
    }
}

/// What a member says of a node that asks about itself; none where it does not answer in time.
pub(super) async fn standing(
    channel: Channel,
    node_id: NodeId,
    within: Duration,
) -> Option<v1::StandingResponse> {
    let mut client = JoiningClient::new(channel);
    let asked = client.standing(v1::StandingRequest { node_id });
    Some(timeout(within, asked).await.ok()?.ok()?.into_inner())
}
