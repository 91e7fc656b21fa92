//! The network between the nodes: calls take a while, get lost on the way there or back, or run into a cut.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use openraft::OptionalSend;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::{sleep, timeout};

use crate::cluster::Raft;
use crate::feed::Feed;
use crate::types::{ClusterMember, NodeId, Snapshot, SnapshotData, TypeConfig, Vote};
use crate::wire::raft as wire;

/// How long a call to append may take, as in the transport.
const APPEND: Duration = Duration::from_secs(3);

/// How soon a connection on which nothing comes is given up, whatever call waits on it: the transport's sign of life, and
/// the wait for its answer. A snapshot itself may take longer; here none does.
const SILENCE: Duration = Duration::from_secs(3);

/// The whole network. Clones are the same one.
#[derive(Clone)]
pub(super) struct Links(Arc<Mutex<State>>);

struct State {
    rng: StdRng,
    nodes: BTreeMap<NodeId, (Raft, Feed)>,
    /// Nothing gets from the first to the second.
    cut: BTreeSet<(NodeId, NodeId)>,
    /// Of a hundred calls.
    lost: u32,
    slowest: Duration,
}

/// What becomes of one message.
enum Fate {
    Arrives(Duration),
    Lost,
}

impl Links {
    pub(super) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            rng: StdRng::seed_from_u64(seed),
            nodes: BTreeMap::new(),
            cut: BTreeSet::new(),
            lost: 0,
            slowest: Duration::from_millis(3),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(super) fn plug(&self, node: NodeId, raft: Raft, feed: Feed) {
        self.state().nodes.insert(node, (raft, feed));
    }

    /// A node that runs, and what it has applied.
    pub(super) fn node(&self, node: NodeId) -> Option<(Raft, Feed)> {
        self.state().nodes.get(&node).cloned()
    }

    pub(super) fn raft(&self, node: NodeId) -> Option<Raft> {
        self.node(node).map(|(raft, _)| raft)
    }

    pub(super) fn unplug(&self, node: NodeId) {
        self.state().nodes.remove(&node);
    }

    pub(super) fn cut_one_way(&self, from: NodeId, to: NodeId) {
        self.state().cut.insert((from, to));
    }

    pub(super) fn lose(&self, percent: u32) {
        self.state().lost = percent;
    }

    pub(super) fn slow_down(&self, slowest: Duration) {
        self.state().slowest = slowest;
    }

    pub(super) fn heal(&self) {
        let mut state = self.state();
        state.cut.clear();
        state.lost = 0;
        state.slowest = Duration::from_millis(3);
    }

    fn fate(&self, from: NodeId, to: NodeId) -> Fate {
        let mut state = self.state();
        let slowest = u64::try_from(state.slowest.as_micros()).unwrap();
        let delay = Duration::from_micros(state.rng.random_range(100..=slowest));
        let lost = state.lost;
        if state.rng.random_range(0..100) < lost || state.cut.contains(&(from, to)) {
            return Fate::Lost;
        }
        Fate::Arrives(delay)
    }

    async fn pass(&self, from: NodeId, to: NodeId) {
        match self.fate(from, to) {
            Fate::Arrives(delay) => sleep(delay).await,
            Fate::Lost => std::future::pending().await,
        }
    }

    /// A call there and back. What nobody listens to fails at once, what is lost when its time is over.
    async fn call<T, F>(
        &self,
        (from, to): (NodeId, NodeId),
        limit: Duration,
        work: impl FnOnce(Raft) -> F,
    ) -> Result<T, Unreachable<TypeConfig>>
    where
        F: Future<Output = Option<T>>,
    {
        let way = async {
            self.pass(from, to).await;
            let raft = self.raft(to)?;
            let answer = work(raft).await;
            self.pass(to, from).await;
            answer
        };
        let answer = timeout(limit, way).await.ok().flatten();
        answer.ok_or_else(|| Unreachable::new(&io::Error::from(io::ErrorKind::ConnectionReset)))
    }
}

/// One node's way to another.
pub(super) struct Link {
    way: (NodeId, NodeId),
    links: Links,
}

/// Makes a node's ways to the others.
pub(super) struct Plug {
    pub(super) node: NodeId,
    pub(super) links: Links,
}

impl RaftNetworkFactory<TypeConfig> for Plug {
    type Network = Link;

    async fn new_client(&mut self, to: NodeId, _: &ClusterMember) -> Link {
        Link {
            way: (self.node, to),
            links: self.links.clone(),
        }
    }
}

impl RaftNetworkV2<TypeConfig> for Link {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let sent = wire::encode_append(request);
        let call = self.links.call(self.way, APPEND, |raft| async move {
            raft.append_entries(wire::decode_append(sent).unwrap()).await.ok()
        });
        Ok(call.await?)
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let sent = wire::encode_vote_request(&request);
        let call = self.links.call(self.way, option.soft_ttl(), |raft| async move {
            raft.vote(wire::decode_vote_request(&sent).unwrap()).await.ok()
        });
        Ok(call.await?)
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let call = self.links.call(self.way, option.soft_ttl(), |raft| async move {
            raft.pre_vote(request).await.ok()
        });
        Ok(call.await?)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        _: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let limit = option.hard_ttl().min(SILENCE);
        let call = self.links.call(self.way, limit, |raft| async move {
            raft.install_full_snapshot(vote, snapshot).await.ok()
        });
        Ok(call.await?)
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let call = self.links.call(self.way, option.soft_ttl(), |raft| async move {
            raft.handle_transfer_leader(request).await.ok()
        });
        Ok(call.await?)
    }

    fn backoff(&self) -> Option<Backoff> {
        Some(Backoff::new(std::iter::repeat(Duration::from_millis(200))))
    }
}
