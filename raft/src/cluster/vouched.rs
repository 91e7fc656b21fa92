//! Members that this node does not know yet: one that joined while it was away may lead now. Its key stands in an entry
//! of the log that it alone would send, and whose key is not known is not heard; so those are asked whose keys are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fleetbal_proto::v1;
use futures::future::join_all;
use openraft::async_runtime::WatchReceiver as _;
use tokio::sync::watch;
use tokio::time::sleep;

use super::farewell::{ANSWER, standing};
use super::{Home, Inner};
use crate::identity::{DataDir, KnownMembers};
use crate::types::{ClusterMember, NodeId, StoredMembership};
use crate::wire::raft::{decode_stored_membership, encode_stored_membership};

/// What this node has of the members beside its log.
#[derive(Debug, Default)]
pub(super) struct Vouched {
    /// As another one told of them, where this node's own log did not have them yet.
    by_others: Mutex<KnownMembers>,
    /// As they are to be kept for the next start.
    pub(super) to_keep: watch::Sender<KnownMembers>,
}

/// A fleet of more members is kept for the next start at most so often: where hundreds join, the file would be written
/// hundreds of times, and the log has what it lacks.
const FEW: usize = 16;
const PAUSE: Duration = Duration::from_secs(1);

impl Inner {
    /// Keeps the members for the next start as they change.
    pub(super) async fn keep_known(&self) {
        let Some(home) = &self.home else { return };
        let mut to_keep = home.vouched.to_keep.subscribe();
        loop {
            let known = to_keep.borrow_and_update().clone();
            let (dir, count) = (home.dir.clone(), known.members.len());
            if count > 0 {
                save(dir, known).await;
            }
            if count > FEW {
                sleep(PAUSE).await;
            }
            if to_keep.changed().await.is_err() {
                return;
            }
        }
    }

    /// What this node answers to a member that asks so.
    pub(crate) fn membership_to_tell(&self) -> v1::StoredMembership {
        encode_stored_membership(&self.membership())
    }

    /// Asks some of the members for the membership, and goes by the newest one until this node's own log has it.
    pub(super) async fn ask_for_members(&self, home: &Home) {
        let own = self.membership();
        let mut newest = KnownMembers {
            log_index: index_of(&own),
            ..KnownMembers::default()
        };
        let others = own.nodes().map(|(node, _)| *node).chain(home.known.ids());
        // The voters know best, and there is a connection to each.
        let asked: BTreeSet<NodeId> = self.some_of(others).into_iter().chain(own.voter_ids()).collect();
        let asked = asked.into_iter().filter(|node| *node != self.node_id);
        for told in join_all(asked.map(|node| self.ask_one(node)))
            .await
            .into_iter()
            .flatten()
        {
            if told.log_index > newest.log_index {
                newest = told;
            }
        }
        let is_news = {
            let mut vouched = home
                .vouched
                .by_others
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let is_news = !newest.members.is_empty() && newest != *vouched;
            if is_news {
                vouched.clone_from(&newest);
            }
            is_news
        };
        if is_news {
            tracing::info!(
                index = newest.log_index,
                "the membership has changed while this node was away"
            );
            let removed = self.no_longer_heard(newest.ids().chain(home.known.ids()));
            let members = members_of(&own);
            let index = own.log_id().map(|id| id.index);
            self.take_in(home, index, members, &removed);
        }
    }

    async fn ask_one(&self, node: NodeId) -> Option<KnownMembers> {
        let answer = standing(self.channels.get(node)?, self.node_id, ANSWER).await?;
        let stored = decode_stored_membership(answer.membership).ok()?;
        Some(KnownMembers {
            log_index: index_of(&stored),
            members: members_of(&stored),
        })
    }

    fn membership(&self) -> StoredMembership {
        let metrics = self.raft.server_metrics();
        let membership = metrics.borrow_watched().membership_config.clone();
        StoredMembership::clone(&membership)
    }
}

async fn save(dir: DataDir, known: KnownMembers) {
    let saved = tokio::task::spawn_blocking(move || dir.save_known_members(&known)).await;
    if let Ok(Err(error)) = saved {
        tracing::warn!(%error, "cannot keep the members for the next start");
    }
}

impl Home {
    /// Whom another member told of, as long as this node's log is at an older membership.
    pub(super) fn vouched_after(&self, index: Option<u64>) -> BTreeMap<NodeId, ClusterMember> {
        let vouched = self
            .vouched
            .by_others
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if index.is_none_or(|index| index < vouched.log_index) {
            vouched.members.clone()
        } else {
            BTreeMap::new()
        }
    }
}

fn index_of(stored: &StoredMembership) -> u64 {
    stored.log_id().map_or(0, |id| id.index)
}

pub(super) fn members_of(stored: &StoredMembership) -> BTreeMap<NodeId, ClusterMember> {
    stored.nodes().map(|(id, node)| (*id, node.clone())).collect()
}
