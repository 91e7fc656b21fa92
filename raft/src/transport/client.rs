//! Channels to the other members, and the consensus library's calls over them.
//!
//! A channel belongs to a node id: it is pinned to that node's key, and follows its address as the membership moves.
//! It connects when it is used and again when it broke; no call waits for more than one attempt.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use fleetbal_proto::v1;
use fleetbal_proto::v1::raft_client::RaftClient;
use futures::future::BoxFuture;
use hyper_util::rt::TokioIo;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Request, Status};

use super::tls::{FleetTls, connect};
use crate::machine::snapshot_level;
use crate::model::FIRST_LEVEL;
use crate::types::{ClusterMember, LogCommand, NodeId, Snapshot, SnapshotData, TypeConfig, Vote};
use crate::wire::WireError;
use crate::wire::raft as wire;

/// The largest message between members, in bytes: one entry of the largest size, and what is around it.
pub(crate) const MAX_MESSAGE: usize = 20 * 1024 * 1024;

/// Entries of more than this many bytes in all do not travel in one call, unless it is one alone.
const APPEND_BYTES: usize = 4 * 1024 * 1024;

/// How long a call to append may take: large entries take their time on the way to the other's disk, and a busy
/// machine is not to be given up. A heartbeat must be back before the next one.
const APPEND_TIMEOUT: Duration = Duration::from_secs(3);

/// A learner gets one of so many heartbeats: it calls no election, and there may be hundreds.
const LEARNERS_SHARE: u32 = 2;

/// Between two calls to a member that is away.
const AWAY: Duration = Duration::from_millis(200);

/// The pieces in which a snapshot travels, in bytes.
const SNAPSHOT_PIECE: usize = 256 * 1024;

/// How long a member is given to take a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(250);

/// How long the handshake may take after that; two public-key operations on a busy machine.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(1);

/// How often a quiet connection is tried, and how long the answer may take.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(1));

/// Marks a failure in which not one byte of a request went out.
#[derive(Debug, thiserror::Error)]
#[error("not connected: {0}")]
pub(crate) struct NotConnected(#[source] io::Error);

/// A channel to each member. Clones share them.
#[derive(Debug, Clone)]
pub struct PeerChannels(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    tls: Option<FleetTls>,
    peers: Mutex<BTreeMap<NodeId, Peer>>,
    voters: Mutex<BTreeSet<NodeId>>,
}

#[derive(Debug)]
struct Peer {
    address: String,
    channel: Channel,
    name: String,
    level: u32,
    /// The level that it would need, where it was told that it is too old.
    told: Option<u32>,
}

/// A snapshot that a member of an older release could not apply as it is meant.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the snapshot needs feature level {needed}, and {name} has {here}; start a later release there")]
pub(crate) struct TooOld {
    name: String,
    needed: u32,
    here: u32,
}

impl PeerChannels {
    /// No channels yet. Without TLS there will be none: a node that stands alone has no peers.
    pub(crate) fn new(tls: Option<FleetTls>) -> Self {
        let (peers, voters) = Default::default();
        Self(Arc::new(Inner { tls, peers, voters }))
    }

    /// The channel to a member; none where it is no member. Connects when it is used.
    pub fn get(&self, node: NodeId) -> Option<Channel> {
        self.peers().get(&node).map(|peer| peer.channel.clone())
    }

    /// The channel to the member at an address.
    pub fn by_address(&self, address: &str) -> Option<Channel> {
        self.peers()
            .values()
            .find(|peer| peer.address == address)
            .map(|peer| peer.channel.clone())
    }

    /// A channel to a member on which this node shows no key, for what is answered to everybody.
    pub(crate) fn nameless(&self, node: NodeId) -> Option<Channel> {
        let tls = self.0.tls.as_ref()?;
        let address = self.peers().get(&node)?.address.clone();
        let config = tls.nameless_config(node);
        open(config.ok()?, &address).ok()
    }

    /// Dials every member anew with the next call; calls in flight end where they began.
    pub(crate) fn reopen(&self) {
        let Some(tls) = &self.0.tls else { return };
        for (node, peer) in self.peers().iter_mut() {
            let config = tls.client_config(*node).map_err(|error| error.to_string());
            match config.and_then(|config| open(config, &peer.address)) {
                Ok(channel) => peer.channel = channel,
                Err(error) => tracing::error!(node, error, "the old channel stays"),
            }
        }
    }

    /// Follows the membership: what did not move keeps its connection.
    pub(crate) fn follow(&self, members: &BTreeMap<NodeId, ClusterMember>) {
        self.peers().retain(|node, _| members.contains_key(node));
        for (node, member) in members {
            self.learn(*node, member);
        }
    }

    /// Knows who votes: nobody else needs each heartbeat.
    pub(crate) fn know_voters(&self, voters: BTreeSet<NodeId>) {
        *self.0.voters.lock().unwrap_or_else(PoisonError::into_inner) = voters;
    }

    fn learns(&self, node: NodeId) -> bool {
        let voters = self.0.voters.lock().unwrap_or_else(PoisonError::into_inner);
        !voters.is_empty() && !voters.contains(&node)
    }

    /// Knows a member from now on, at its address.
    fn learn(&self, node: NodeId, member: &ClusterMember) {
        let Some(tls) = &self.0.tls else { return };
        let address = member.address.as_str();
        let mut peers = self.peers();
        if let Some(peer) = peers.get_mut(&node).filter(|peer| peer.address == address) {
            peer.level = member.level();
            return;
        }
        let config = tls.client_config(node).map_err(|error| error.to_string());
        match config.and_then(|config| open(config, address)) {
            Ok(channel) => {
                let peer = Peer {
                    address: address.to_owned(),
                    channel,
                    name: member.name.clone(),
                    level: member.level(),
                    told: None,
                };
                peers.insert(node, peer);
            }
            Err(error) => tracing::error!(node, address, error, "no channel to this member"),
        }
    }

    /// Why a member cannot be sent a snapshot that needs this feature level; told once.
    fn too_old(&self, node: NodeId, needed: u32) -> Option<TooOld> {
        let mut peers = self.peers();
        let peer = peers.get_mut(&node).filter(|peer| peer.level < needed)?;
        let error = TooOld {
            name: peer.name.clone(),
            needed,
            here: peer.level,
        };
        if peer.told != Some(needed) {
            peer.told = Some(needed);
            tracing::warn!(%error, "a member gets nothing more");
        }
        Some(error)
    }

    /// The level that a member was found to be too old for.
    #[cfg(test)]
    pub(crate) fn told_too_old(&self, node: NodeId) -> Option<u32> {
        self.peers().get(&node)?.told
    }

    fn peers(&self) -> std::sync::MutexGuard<'_, BTreeMap<NodeId, Peer>> {
        self.0.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open(config: Arc<ClientConfig>, address: &str) -> Result<Channel, String> {
    let connector = Connector {
        address: address.to_owned(),
        config,
    };
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| error.to_string())?;
    Ok(endpoint
        .http2_keep_alive_interval(KEEP_ALIVE.0)
        .keep_alive_timeout(KEEP_ALIVE.1)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(1024 * 1024)
        .initial_connection_window_size(2 * 1024 * 1024)
        .connect_with_connector_lazy(connector))
}

/// Whether a call failed before anything of it went out.
pub(crate) fn never_sent(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<NotConnected>() {
            return true;
        }
        cause = error.source();
    }
    false
}

#[derive(Clone)]
struct Connector {
    address: String,
    config: Arc<ClientConfig>,
}

impl Connector {
    async fn connect(self) -> io::Result<TokioIo<tokio_rustls::client::TlsStream<TcpStream>>> {
        let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(&self.address)).await??;
        stream.set_nodelay(true)?;
        let stream = timeout(HANDSHAKE_TIMEOUT, connect(self.config, stream)).await??;
        Ok(TokioIo::new(stream))
    }
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<tokio_rustls::client::TlsStream<TcpStream>>;
    type Error = NotConnected;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect().await.map_err(NotConnected) })
    }
}

/// Makes the consensus library's connections.
#[derive(Debug, Clone)]
pub(crate) struct Network(pub(crate) PeerChannels);

/// The consensus library's connection to one member.
#[derive(Debug)]
pub(crate) struct PeerConnection {
    node: NodeId,
    is_for_heartbeats: bool,
    heartbeats: u32,
    channels: PeerChannels,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = PeerConnection;

    async fn new_client(&mut self, target: NodeId, node: &ClusterMember) -> PeerConnection {
        self.connection(target, node, false)
    }

    async fn new_heartbeat_client(&mut self, target: NodeId, node: &ClusterMember) -> PeerConnection {
        self.connection(target, node, true)
    }
}

impl Network {
    fn connection(&self, target: NodeId, node: &ClusterMember, is_for_heartbeats: bool) -> PeerConnection {
        // The membership that names it may be a moment ahead of whoever follows it.
        if self.0.get(target).is_none() {
            self.0.learn(target, node);
        }
        PeerConnection {
            node: target,
            is_for_heartbeats,
            heartbeats: 0,
            channels: self.0.clone(),
        }
    }
}

impl PeerConnection {
    /// Whether the next heartbeat is one that a learner can do without.
    fn is_spared(&mut self) -> bool {
        let nth = self.heartbeats;
        self.heartbeats = nth.wrapping_add(1);
        self.is_for_heartbeats && !nth.is_multiple_of(LEARNERS_SHARE) && self.channels.learns(self.node)
    }

    fn client(&self) -> Result<RaftClient<Channel>, Unreachable<TypeConfig>> {
        let channel = self
            .channels
            .get(self.node)
            .ok_or_else(|| Unreachable::from_string(format!("no channel to node {}", self.node)))?;
        Ok(RaftClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE))
    }
}

/// A call with a deadline, told to the other side too.
async fn call<T, F>(limit: Duration, request: F) -> Result<T, RPCError<TypeConfig>>
where
    F: Future<Output = Result<tonic::Response<T>, Status>>,
{
    match timeout(limit, request).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(failed(&status)),
        Err(elapsed) => Err(RPCError::Unreachable(Unreachable::new(&elapsed))),
    }
}

/// What did not arrive is tried again after a pause, what arrived and made no sense at once.
fn failed(status: &Status) -> RPCError<TypeConfig> {
    match status.code() {
        Code::Unavailable
        | Code::DeadlineExceeded
        | Code::Cancelled
        | Code::Unknown
        | Code::PermissionDenied => RPCError::Unreachable(Unreachable::new(status)),
        Code::Ok
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss
        | Code::Unauthenticated => RPCError::Network(NetworkError::new(status)),
    }
}

fn undecodable(error: &WireError) -> RPCError<TypeConfig> {
    RPCError::Network(NetworkError::new(error))
}

/// Cuts a call down to what may travel at once; says whether it did.
fn cut(request: &mut AppendEntriesRequest<TypeConfig>) -> bool {
    let mut bytes = 0;
    let fits = request
        .entries
        .iter()
        .take_while(|entry| {
            let first = bytes == 0;
            bytes += 64 + command_size(&entry.payload);
            first || bytes <= APPEND_BYTES
        })
        .count();
    let is_cut = fits < request.entries.len();
    request.entries.truncate(fits);
    is_cut
}

fn command_size(payload: &openraft::EntryPayload<LogCommand, NodeId, ClusterMember>) -> usize {
    match payload {
        openraft::EntryPayload::Normal(command) => command.0.len(),
        openraft::EntryPayload::Blank | openraft::EntryPayload::Membership(_) => 0,
    }
}

impl RaftNetworkV2<TypeConfig> for PeerConnection {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        mut request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        if self.is_spared() {
            // Not sent is not acknowledged: should it vote by now, it does not count among those who were heard.
            return Err(Unreachable::from_string("a learner gets the next heartbeat").into());
        }
        let mut client = self.client()?;
        let is_cut = cut(&mut request);
        let last = request.entries.last().map(|entry| entry.log_id);
        let limit = if self.is_for_heartbeats {
            option.hard_ttl()
        } else {
            APPEND_TIMEOUT
        };
        let answer = call(limit, client.append_entries(wire::encode_append(request))).await?;
        let answer = wire::decode_append_answer(&answer).map_err(|error| undecodable(&error))?;
        if is_cut && answer == AppendEntriesResponse::Success {
            return Ok(AppendEntriesResponse::PartialSuccess(last));
        }
        Ok(answer)
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let mut client = self.client()?;
        let answer = call(
            option.soft_ttl(),
            client.vote(wire::encode_vote_request(&request)),
        )
        .await?;
        wire::decode_vote_answer(&answer).map_err(|error| undecodable(&error))
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let mut client = self.client()?;
        let answer = call(
            option.soft_ttl(),
            client.pre_vote(wire::encode_vote_request(&request)),
        )
        .await?;
        wire::decode_vote_answer(&answer).map_err(|error| undecodable(&error))
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let mut client = self.client()?;
        let data = snapshot.snapshot;
        let level = snapshot_level(&data).unwrap_or(FIRST_LEVEL);
        if let Some(error) = self.channels.too_old(self.node, level) {
            return Err(StreamingError::Unreachable(Unreachable::new(&error)));
        }
        let header = v1::SnapshotChunk {
            header: Some(wire::encode_snapshot_header(Some(&vote), &snapshot.meta, level)),
            data: Vec::new(),
        };
        let pieces = (0..data.len())
            .step_by(SNAPSHOT_PIECE)
            .map(move |start| v1::SnapshotChunk {
                header: None,
                data: data.slice(start..data.len().min(start + SNAPSHOT_PIECE)).to_vec(),
            });
        let stream = futures::stream::iter(std::iter::once(header).chain(pieces));
        let sent = call(option.hard_ttl(), client.install_snapshot(Request::new(stream)));
        let mut cancel: Pin<Box<dyn Future<Output = ReplicationClosed> + Send>> = Box::pin(cancel);
        tokio::select! {
            answer = sent => Ok(wire::decode_snapshot_answer(&answer?).map_err(|error| undecodable(&error))?),
            closed = &mut cancel => Err(StreamingError::Closed(closed)),
        }
    }

    /// A hiccup is over soon; who is away is asked five times a second.
    fn backoff(&self) -> Option<Backoff> {
        let first = [20, 40, 80].map(Duration::from_millis).into_iter();
        Some(Backoff::new(first.chain(std::iter::repeat(AWAY))))
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let mut client = self.client()?;
        let answer = call(
            option.soft_ttl(),
            client.transfer_leader(wire::encode_transfer(&request)),
        )
        .await?;
        wire::decode_transfer_answer(&answer).map_err(|error| undecodable(&error))
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
