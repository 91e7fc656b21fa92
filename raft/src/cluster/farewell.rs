//! How a node learns that it was removed: from its own log, or, where it was away then, from any member that it knew,
//! which refuses its key and answers whoever shows none.
//!
//! Ids are never given again, so one member that has applied the removal is enough; an older state knows the node as a
//! member or not at all.

use std::collections::BTreeSet;
use std::time::Duration;

use fleetbal_proto::v1;
use fleetbal_proto::v1::joining_client::JoiningClient;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use openraft::async_runtime::WatchReceiver as _;
use rand::seq::IteratorRandom as _;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Channel;

use super::forward::small;
use super::{Home, Inner};
use crate::error::OpenError;
use crate::types::NodeId;

/// How often a node without a leader asks whether it still belongs, and how long it has none before it asks: a fleet that
/// elects, or takes a node up, is back sooner.
const ASK: Duration = Duration::from_secs(1);

/// How long a member may take to answer that.
pub(super) const ANSWER: Duration = Duration::from_secs(1);

/// How many strangers it asks at a time, others each time. Each costs both sides a handshake, and where hundreds have no
/// leader, all of them ask: that must leave the voters the time to elect one.
const AT_A_TIME: usize = 4;

/// For so many members more, each asks the others that much less often.
const ASKERS: u32 = 50;

impl Inner {
    /// Whether this node's own log says that it was removed.
    pub(crate) fn reads_removed(&self, node_id: u64) -> bool {
        self.feed.latest().state.was_removed(node_id)
    }

    /// Ends with the node, or when it was removed.
    pub(super) async fn watch_own_standing(&self) {
        let Some(home) = &self.home else { return };
        let mut feed = self.feed.clone();
        let mut lonely_since = None;
        loop {
            lonely_since = self
                .is_lonely()
                .then(|| lonely_since.unwrap_or_else(Instant::now));
            let pause = ASK * self.patience();
            let asks = lonely_since.is_some_and(|since| since.elapsed() >= pause);
            if self.reads_removed(self.node_id) || (asks && self.is_told_so(home).await) {
                tracing::warn!("this node was removed from its fleet");
                self.removed.send_replace(true);
                return;
            }
            if asks {
                self.ask_for_members(home).await;
            }
            tokio::select! {
                goes_on = feed.changed() => if !goes_on { return },
                () = sleep(pause) => {}
            }
        }
    }

    /// Whether no leader was heard of lately, or this node takes itself for the leader and nobody follows it: so it is
    /// when it led before it went away.
    fn is_lonely(&self) -> bool {
        !self.status().has_quorum
    }

    async fn is_told_so(&self, home: &Home) -> bool {
        let now = self.feed.latest();
        let others = now.members.nodes.keys().copied().chain(home.known.ids());
        let asked = self
            .some_of(others)
            .into_iter()
            .filter_map(|node| self.channels.nameless(node))
            .map(|channel| standing(channel, self.node_id, ANSWER));
        let mut answers: FuturesUnordered<_> = asked.collect();
        while let Some(answer) = answers.next().await {
            if answer.is_some_and(|answer| answer.removed) {
                return true;
            }
        }
        false
    }

    /// How much less often than in a small fleet each node asks the others.
    pub(super) fn patience(&self) -> u32 {
        let metrics = self.raft.metrics();
        let members = metrics.borrow_watched().membership_config.nodes().count();
        1 + small(members) / ASKERS
    }

    /// A few of these nodes and not this one, drawn by lot.
    pub(super) fn some_of(&self, nodes: impl Iterator<Item = NodeId>) -> Vec<NodeId> {
        let others: BTreeSet<NodeId> = nodes.filter(|node| *node != self.node_id).collect();
        others.into_iter().choose_multiple(&mut rand::rng(), AT_A_TIME)
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
