//! The library itself on this log and this state machine: one voter, restarted.

use std::collections::BTreeMap;
use std::sync::Arc;

use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{Config, Raft, SnapshotPolicy};
use tempfile::TempDir;
use tokio::time::{Duration, Instant};

use super::*;
use crate::model::{Batch, Change, Command, Entry, FEATURE_LEVEL, PoolName, Typist, UnixMillis};
use crate::store::LogStore;
use crate::types::{ClusterMember, LogCommand, NodeId, Vote};
use crate::wire::encode_entry;

/// One voter calls nobody.
struct Nobody;

fn nobody() -> Unreachable<TypeConfig> {
    Unreachable::new(&io::Error::from(io::ErrorKind::NotFound))
}

impl RaftNetworkFactory<TypeConfig> for Nobody {
    type Network = Self;

    async fn new_client(&mut self, _: NodeId, _: &ClusterMember) -> Self {
        Self
    }
}

impl RaftNetworkV2<TypeConfig> for Nobody {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        _: AppendEntriesRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(nobody().into())
    }

    async fn vote(
        &mut self,
        _: VoteRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(nobody().into())
    }

    async fn full_snapshot(
        &mut self,
        _: Vote,
        _: Snapshot,
        _: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        Err(nobody().into())
    }
}

async fn start(dir: &TempDir) -> (Raft<TypeConfig, StateMachine>, StateMachine, Feed) {
    let log = LogStore::open(&dir.path().join("log")).unwrap();
    let (machine, feed) = StateMachine::open(SnapshotPlace::Dir(dir.path().join("snapshots"))).unwrap();
    let config = Config {
        heartbeat_interval: 50,
        election_timeout_min: 150,
        election_timeout_max: 300,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(50),
        max_in_snapshot_log_to_keep: 20,
        purge_batch_size: 1,
        ..Config::default()
    };
    let raft = Raft::new(1, Arc::new(config), Nobody, log, machine.clone())
        .await
        .unwrap();
    (raft, machine, feed)
}

fn request(n: u64) -> RequestId {
    let mut id = [1; 16];
    id[..8].copy_from_slice(&n.to_be_bytes());
    RequestId(id)
}

fn command(n: u64) -> LogCommand {
    LogCommand(encode_entry(&Entry {
        feature_level: FEATURE_LEVEL,
        request_id: request(n),
        origin_node: "n1".into(),
        typist: Typist::default(),
        time: UnixMillis(n),
        deadline: UnixMillis(n),
        command: Command::Batch(Batch::of(vec![Change::CreatePool(
            PoolName::parse(&format!("p{n}")).unwrap(),
        )])),
    }))
}

async fn leads(raft: &Raft<TypeConfig, StateMachine>) {
    raft.wait(Some(Duration::from_secs(20)))
        .metrics(|metrics| metrics.current_leader == Some(1), "leads")
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voter_comes_back_with_all_that_it_answered() {
    let dir = TempDir::new().unwrap();
    let mut answers = Vec::new();
    for round in 0..3 {
        let (raft, machine, feed) = start(&dir).await;
        if round == 0 {
            raft.initialize(BTreeMap::from([(1, ClusterMember::default())]))
                .await
                .unwrap();
        }
        leads(&raft).await;
        let deadline = Instant::now() + Duration::from_secs(20);
        for n in round * 70..(round + 1) * 70 {
            let written = raft.client_write(command(n)).await.unwrap();
            assert_eq!(
                feed.latest().log_index,
                written.log_id().index,
                "shown before it is answered"
            );
            answers.push((n, written.response().clone()));
        }
        let again = raft.client_write(command(0)).await.unwrap();
        assert!(feed.wait_index(again.log_id().index, deadline).await);
        assert_eq!(again.response(), &answers[0].1);
        for (n, answer) in &answers {
            assert_eq!(&machine.answer(request(*n)), answer);
        }
        assert_eq!(feed.latest().state.config.pools().len(), answers.len());
        raft.shutdown().await.unwrap();
    }
    let mut log = LogStore::open(&dir.path().join("log")).unwrap();
    let purged = openraft::storage::RaftLogStorage::get_log_state(&mut log)
        .await
        .unwrap();
    assert!(
        purged.last_purged_log_id.is_some_and(|purged| purged.index > 100),
        "{purged:?}"
    );
}
