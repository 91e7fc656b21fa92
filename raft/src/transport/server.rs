//! What the cluster port answers: the consensus library's calls, forwarded proposals, joins. Translation only; whoever
//! is no member gets no further than the join.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use fleetbal_proto::v1;
use fleetbal_proto::v1::forward_server::{Forward, ForwardServer};
use fleetbal_proto::v1::joining_server::{Joining, JoiningServer};
use fleetbal_proto::v1::raft_server::{Raft, RaftServer};
use openraft::raft::AppendEntriesResponse;
use tokio::time::Instant;
use tonic::service::Routes;
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Response, Status, Streaming};

use super::client::MAX_MESSAGE;
use super::tls::{PeerIdentity, members_only};
use crate::cluster::Inner;
use crate::cluster::forward::{Attempt, ReadAttempt};
use crate::cluster::rekey::{TheKeys, Told};
use crate::cluster::transfer::Asked;
use crate::types::{NodeId, Snapshot};
use crate::wire::WireError;
use crate::wire::encode_answer;
use crate::wire::raft as wire;

/// The largest join request, in bytes; it comes from strangers.
const MAX_JOIN: usize = 16 * 1024;

/// The largest snapshot that is taken, in bytes.
const MAX_SNAPSHOT: usize = 1024 * 1024 * 1024;

/// No forwarded call waits longer than this, whatever it asks for.
const MAX_WAIT: Duration = Duration::from_mins(1);

/// All of this crate's services.
pub(crate) fn services(cluster: &Arc<Inner>) -> Routes {
    let service = Service(Arc::clone(cluster));
    let raft = RaftServer::new(service.clone())
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    let forward = ForwardServer::new(service.clone())
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    let joining = JoiningServer::new(service).max_decoding_message_size(MAX_JOIN);
    Routes::new(InterceptedService::new(raft, members_only))
        .add_service(InterceptedService::new(forward, members_only))
        .add_service(joining)
}

#[derive(Clone)]
struct Service(Arc<Inner>);

type Reply<T> = Result<Response<T>, Status>;

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn malformed(error: WireError) -> Status {
    Status::invalid_argument(error.to_string())
}

fn stopped(error: impl std::fmt::Display) -> Status {
    Status::unavailable(error.to_string())
}

fn deadline(ttl_ms: u64) -> Instant {
    Instant::now() + Duration::from_millis(ttl_ms).min(MAX_WAIT)
}

fn not_leader(leader: Option<NodeId>) -> v1::NotLeader {
    v1::NotLeader {
        leader: leader.unwrap_or(0),
    }
}

#[tonic::async_trait]
impl Raft for Service {
    async fn append_entries(&self, request: Request<v1::AppendRequest>) -> Reply<v1::AppendResponse> {
        let append = wire::decode_append(request.into_inner()).map_err(malformed)?;
        let answer = self.0.raft.append_entries(append).await.map_err(stopped)?;
        if !matches!(answer, AppendEntriesResponse::HigherVote(_)) {
            self.0.heard.now();
        }
        Ok(Response::new(wire::encode_append_answer(&answer)))
    }

    async fn vote(&self, request: Request<v1::VoteRequest>) -> Reply<v1::VoteResponse> {
        let vote = wire::decode_vote_request(request.get_ref()).map_err(malformed)?;
        let answer = self.0.raft.vote(vote).await.map_err(stopped)?;
        Ok(Response::new(wire::encode_vote_answer(&answer)))
    }

    async fn pre_vote(&self, request: Request<v1::VoteRequest>) -> Reply<v1::VoteResponse> {
        let vote = wire::decode_vote_request(request.get_ref()).map_err(malformed)?;
        let answer = self.0.raft.pre_vote(vote).await.map_err(stopped)?;
        Ok(Response::new(wire::encode_vote_answer(&answer)))
    }

    async fn transfer_leader(&self, request: Request<v1::TransferRequest>) -> Reply<v1::TransferResponse> {
        let transfer = wire::decode_transfer(request.get_ref()).map_err(malformed)?;
        let answer = self
            .0
            .raft
            .handle_transfer_leader(transfer)
            .await
            .map_err(stopped)?;
        Ok(Response::new(wire::encode_transfer_answer(&answer)))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<v1::SnapshotChunk>>,
    ) -> Reply<v1::SnapshotResponse> {
        let mut chunks = request.into_inner();
        let first = chunks.message().await?.and_then(|chunk| chunk.header);
        let header = first.ok_or_else(|| Status::invalid_argument("a snapshot without a header"))?;
        let vote = wire::decode_vote(header.vote.as_ref()).map_err(malformed)?;
        let meta = wire::decode_snapshot_header(header).map_err(malformed)?;
        let snapshot = Snapshot {
            meta,
            snapshot: collect(&mut chunks).await?,
        };
        let answer = self
            .0
            .raft
            .install_full_snapshot(vote, snapshot)
            .await
            .map_err(stopped)?;
        self.0.heard.now();
        Ok(Response::new(wire::encode_snapshot_answer(&answer)))
    }
}

async fn collect(chunks: &mut Streaming<v1::SnapshotChunk>) -> Result<Bytes, Status> {
    let mut data = BytesMut::new();
    while let Some(chunk) = chunks.message().await? {
        if data.len() + chunk.data.len() > MAX_SNAPSHOT {
            return Err(Status::resource_exhausted("the snapshot is too large"));
        }
        data.extend_from_slice(&chunk.data);
    }
    Ok(data.freeze())
}

impl Service {
    /// Proposes what this node can read and every member can apply.
    async fn propose_readable(&self, request: v1::ProposeRequest) -> Result<Attempt, Status> {
        let entry = match crate::wire::decode_entry(&request.entry) {
            Ok(entry) => entry,
            Err(later @ WireError::Later { .. }) => return Ok(Attempt::Refused(later.to_string())),
            Err(error) => return Err(malformed(error)),
        };
        let checked = self.0.check_level(entry.feature_level);
        if let Err(error) = checked.and_then(|()| self.0.check_clock(&entry)) {
            return Ok(Attempt::Refused(error.to_string()));
        }
        Ok(self.0.propose_here(request.entry, deadline(request.ttl_ms)).await)
    }
}

#[tonic::async_trait]
impl Forward for Service {
    async fn propose(&self, request: Request<v1::ProposeRequest>) -> Reply<v1::ProposeResponse> {
        use v1::propose_response::Result as Wire;
        let request = request.into_inner();
        let result = match self.propose_readable(request).await? {
            Attempt::Applied { answer, log_index } => Wire::Applied(v1::Applied {
                answer: Some(encode_answer(&answer)),
                log_index,
            }),
            Attempt::Elsewhere(leader) => Wire::NotLeader(not_leader(leader)),
            Attempt::NoQuorum { reachable, voters } => Wire::NoQuorum(v1::NoQuorum { reachable, voters }),
            Attempt::Refused(why) => Wire::Refused(why),
            Attempt::Perhaps => Wire::Unknown(v1::Blank {}),
        };
        Ok(Response::new(v1::ProposeResponse { result: Some(result) }))
    }

    async fn read_index(&self, request: Request<v1::ReadIndexRequest>) -> Reply<v1::ReadIndexResponse> {
        use v1::read_index_response::Result as Wire;
        let ttl_ms = request.get_ref().ttl_ms;
        // Without any time it only asks whether somebody is there.
        let attempt = if ttl_ms == 0 {
            ReadAttempt::Elsewhere(self.0.leader())
        } else {
            self.0.read_index_here(deadline(ttl_ms)).await
        };
        let result = match attempt {
            ReadAttempt::Index(index) => Wire::LogIndex(index),
            ReadAttempt::Elsewhere(leader) => Wire::NotLeader(not_leader(leader)),
            ReadAttempt::NoQuorum { reachable, voters } => Wire::NoQuorum(v1::NoQuorum { reachable, voters }),
        };
        Ok(Response::new(v1::ReadIndexResponse { result: Some(result) }))
    }

    async fn announce(&self, request: Request<v1::AnnounceRequest>) -> Reply<v1::AnnounceResponse> {
        let peer = PeerIdentity::member(&request)?;
        let request = request.into_inner();
        if request.node_id != peer {
            return Err(Status::permission_denied("a member announces itself alone"));
        }
        if request.address.parse::<std::net::SocketAddr>().is_err() {
            return Err(Status::invalid_argument("an address must be ip:port"));
        }
        let accepted = self
            .0
            .take_over(peer, request.address, request.feature_level)
            .await;
        let leader = self.0.leader().unwrap_or(0);
        Ok(Response::new(v1::AnnounceResponse { accepted, leader }))
    }

    async fn tell_keys(&self, request: Request<v1::TellKeysRequest>) -> Reply<v1::TellKeysResponse> {
        use v1::tell_keys_response::Result as Wire;
        let peer = PeerIdentity::member(&request)?;
        let keys = TheKeys::read(request.get_ref()).map_err(malformed)?;
        let result = match self.0.take_keys(peer, keys).await {
            Told::Done => Wire::Done(v1::Blank {}),
            Told::Elsewhere => Wire::NotLeader(not_leader(self.0.leader())),
            Told::NotYet(why) => Wire::NotYet(why),
        };
        Ok(Response::new(v1::TellKeysResponse { result: Some(result) }))
    }

    async fn hand_over(&self, request: Request<v1::HandOverRequest>) -> Reply<v1::HandOverResponse> {
        use v1::hand_over_response::Result as Wire;
        let result = match self.0.hand_over_here(request.get_ref().to).await {
            Asked::Done => Wire::Done(v1::Blank {}),
            Asked::Elsewhere => Wire::NotLeader(not_leader(self.0.leader())),
            Asked::NoVote => Wire::NoVote(v1::Blank {}),
            Asked::Refused(reason) => Wire::Refused(reason),
        };
        Ok(Response::new(v1::HandOverResponse { result: Some(result) }))
    }
}

#[tonic::async_trait]
impl Joining for Service {
    async fn join(&self, request: Request<v1::JoinRequest>) -> Reply<v1::JoinResponse> {
        Ok(Response::new(self.0.admit(request.into_inner()).await))
    }

    async fn standing(&self, request: Request<v1::StandingRequest>) -> Reply<v1::StandingResponse> {
        let node_id = request.get_ref().node_id;
        let is_itself = PeerIdentity::member(&request).is_ok_and(|peer| peer == node_id);
        Ok(Response::new(v1::StandingResponse {
            removed: self.0.reads_removed(node_id),
            acknowledged: if is_itself {
                self.0.acknowledged_by(node_id)
            } else {
                0
            },
            membership: is_itself.then(|| self.0.membership_to_tell()),
        }))
    }
}
