//! A node: its log and state outlive a crash, the consensus on them does not.

use std::sync::Arc;

use openraft::SnapshotPolicy;
use tempfile::TempDir;

use super::links::{Links, Plug};
use crate::feed::Feed;
use crate::machine::{SnapshotPlace, StateMachine};
use crate::store::LogStore;
use crate::timing::Timing;
use crate::types::NodeId;

pub(super) struct Node {
    pub(super) id: NodeId,
    log: LogStore,
    pub(super) machine: StateMachine,
    pub(super) feed: Feed,
    /// Where its snapshots lie, where it makes some.
    snapshots: Option<TempDir>,
}

impl Node {
    /// A node that does not run. With snapshots its log is cut behind each, and others are sent one.
    pub(super) fn new(id: NodeId, snapshots: bool) -> Self {
        let (machine, feed) = StateMachine::open(SnapshotPlace::Memory).unwrap();
        let snapshots = snapshots.then(|| TempDir::new().unwrap());
        let log = LogStore::in_memory();
        Self {
            id,
            log,
            machine,
            feed,
            snapshots,
        }
    }

    pub(super) async fn start(&mut self, links: &Links) {
        let mut config = Timing::default().raft_config("sim");
        // All that it knows comes out of the snapshot and the log again.
        let place = if let Some(dir) = &self.snapshots {
            config.snapshot_policy = SnapshotPolicy::LogsSinceLast(15);
            config.max_in_snapshot_log_to_keep = 3;
            config.purge_batch_size = 1;
            SnapshotPlace::Dir(dir.path().to_owned())
        } else {
            config.snapshot_policy = SnapshotPolicy::Never;
            SnapshotPlace::Memory
        };
        (self.machine, self.feed) = StateMachine::open(place).unwrap();
        let plug = Plug {
            node: self.id,
            links: links.clone(),
        };
        let config = Arc::new(config.validate().unwrap());
        let raft = crate::cluster::Raft::new(self.id, config, plug, self.log.clone(), self.machine.clone())
            .await
            .unwrap();
        links.plug(self.id, raft, self.feed.clone());
    }

    pub(super) async fn crash(&self, links: &Links) {
        let Some(raft) = links.raft(self.id) else { return };
        links.unplug(self.id);
        raft.shutdown().await.unwrap();
    }
}
