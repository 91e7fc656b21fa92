//! Members that this node does not know yet: one that joined while it was away may lead now. Its key stands in an entry
//! of the log that it alone would send, and whose key is not known is not heard; so those are asked whose keys are.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use fleetbal_proto::v1;
use openraft::async_runtime::WatchReceiver as _;

use super::farewell::{ANSWER, standing};
use super::{Home, Inner};
use crate::identity::KnownMembers;
use crate::types::{ClusterMember, NodeId, StoredMembership};
use crate::wire::raft::{decode_stored_membership, encode_stored_membership};

impl Inner {
    /// What this node answers to a member that asks so.
    pub(crate) fn membership_to_tell(&self) -> v1::StoredMembership {
        encode_stored_membership(&self.membership())
    }

    /// Asks the members for the membership, and goes by the newest one until this node's own log has it.
    pub(super) async fn ask_for_members(&self, home: &Home) {
        let own = self.membership();
        let mut newest = KnownMembers {
            log_index: index_of(&own),
            ..KnownMembers::default()
        };
        let others = own.nodes().map(|(node, _)| *node).chain(home.known.ids());
        for node in others.filter(|node| *node != self.node_id) {
            if let Some(told) = self.ask_one(node).await
                && told.log_index > newest.log_index
            {
                newest = told;
            }
        }
        let is_news = {
            let mut vouched = home.vouched.lock().unwrap_or_else(PoisonError::into_inner);
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
            self.take_in(home, index, members, &removed).await;
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

impl Home {
    /// Whom another member told of, as long as this node's log is at an older membership.
    pub(super) fn vouched_after(&self, index: Option<u64>) -> BTreeMap<NodeId, ClusterMember> {
        let vouched = self.vouched.lock().unwrap_or_else(PoisonError::into_inner);
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
