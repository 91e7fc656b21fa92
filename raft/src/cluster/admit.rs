//! The fleet's side of a join. Strangers ask here, so nothing is written for whoever does not hold a token's secret.

use std::time::Duration;

use fleetbal_proto::v1;
use fleetbal_proto::v1::join_response::Result as Outcome;
use fleetbal_proto::v1::joining_client::JoiningClient;
use openraft::async_runtime::WatchReceiver as _;
use tokio::time::{Instant, timeout};

use super::token::Secret;
use super::{Home, Inner};
use crate::identity::keys::SigningRequest;
use crate::model::{Answer, Command, NewMember, NodeName, Rejection, RequestId, TokenId, UnixMillis};
use crate::types::{ClusterMember, NodeId};
use crate::wire::raft::encode_members;

/// How long a join may take once the leader has it.
const WITHIN: Duration = Duration::from_secs(5);

/// How long another member waits for the leader's answer.
const FORWARDED: Duration = Duration::from_secs(7);

/// Who asks to be taken up, looked at.
struct Candidate {
    member: NewMember,
    signing_request: SigningRequest,
    token: TokenId,
    secret: Secret,
    request_id: RequestId,
    feature_level: Option<u32>,
    time: Option<UnixMillis>,
}

/// Why nobody was taken up.
enum No {
    /// For good.
    Refused(String),
    /// For now.
    Unavailable(String),
}

impl Inner {
    /// Answers a join: on the leader itself, elsewhere by asking the leader once.
    pub(crate) async fn admit(&self, request: v1::JoinRequest) -> v1::JoinResponse {
        let outcome = self.try_admit(request).await;
        v1::JoinResponse {
            result: Some(outcome),
        }
    }

    async fn try_admit(&self, request: v1::JoinRequest) -> Outcome {
        let Some(home) = &self.home else {
            return Outcome::Refused("this node stands alone".to_owned());
        };
        match self.leader() {
            Some(leader) if leader == self.node_id => {}
            Some(leader) if !request.forwarded => return self.ask_leader(leader, request).await,
            Some(_) | None => return Outcome::Unavailable("no leader is known here yet".to_owned()),
        }
        let candidate = match Candidate::read(&request) {
            Ok(candidate) => candidate,
            Err(why) => return Outcome::Refused(why),
        };
        match self.take_up(home, candidate).await {
            Ok(joined) => Outcome::Joined(joined),
            Err(No::Refused(why)) => Outcome::Refused(why),
            Err(No::Unavailable(why)) => Outcome::Unavailable(why),
        }
    }

    async fn ask_leader(&self, leader: NodeId, mut request: v1::JoinRequest) -> Outcome {
        request.forwarded = true;
        let Some(channel) = self.channels.get(leader) else {
            return Outcome::Unavailable("no way to the leader".to_owned());
        };
        let mut client = JoiningClient::new(channel);
        let answer = timeout(FORWARDED, client.join(request)).await;
        let outcome = answer
            .ok()
            .and_then(Result::ok)
            .and_then(|answer| answer.into_inner().result);
        outcome.unwrap_or_else(|| Outcome::Unavailable("the leader does not answer".to_owned()))
    }

    /// Uses the token in the log, which decides; then signs.
    async fn take_up(&self, home: &Home, candidate: Candidate) -> Result<v1::Joined, No> {
        let unavailable = |error: &dyn std::fmt::Display| No::Unavailable(error.to_string());
        let fresh = self
            .read_index(WITHIN)
            .await
            .map_err(|error| unavailable(&error))?;
        self.wait(fresh).await?;
        self.check_secret(&candidate)?;
        let (level, time) = (candidate.feature_level, candidate.time);
        self.check_joiner(&candidate.member.name, level, time)
            .map_err(No::Refused)?;
        let node_id = self.propose_join(&candidate).await?;
        let certificate = home
            .identity
            .keys
            .issue(&candidate.signing_request, &candidate.member.name)
            .map_err(|error| unavailable(&error))?;
        if let Some(level) = level {
            self.joining().insert(node_id, level);
        }
        self.keeper.notify_one();
        let stored = self.raft.metrics().borrow_watched().membership_config.clone();
        let newcomer = ClusterMember {
            name: candidate.member.name.to_string(),
            address: candidate.member.address,
            key_hash: candidate.member.key_hash,
            next_key_hash: None,
            feature_level: None,
        };
        let members = stored.nodes().map(|(id, member)| (*id, member));
        let members = members
            .chain([(node_id, &newcomer)])
            .map(|(id, member)| (id, member.clone()));
        let members: std::collections::BTreeMap<NodeId, ClusterMember> = members.collect();
        Ok(v1::Joined {
            node_id,
            fleet_name: home.identity.fleet.clone(),
            fleet_id: home.identity.fleet_id.0.to_vec(),
            certificate,
            ca_certificate: home.identity.keys.ca_certificate.clone(),
            ca_key: home.identity.keys.ca_key.clone(),
            members: encode_members(&members),
            log_index: stored.log_id().map_or(0, |id| id.index),
        })
    }

    /// Whether the token is this fleet's and the secret its own. Whether it may still be used, `apply` decides.
    fn check_secret(&self, candidate: &Candidate) -> Result<(), No> {
        let state = self.feed.latest();
        let token = state.state.tokens().find(|(id, _)| **id == candidate.token);
        if token.is_some_and(|(_, token)| candidate.secret.is(&token.secret_hash)) {
            Ok(())
        } else {
            Err(No::Refused(Rejection::UnknownToken.to_string()))
        }
    }

    async fn propose_join(&self, candidate: &Candidate) -> Result<NodeId, No> {
        let command = Command::Join {
            token: candidate.token.clone(),
            secret_hash: candidate.secret.hash(),
            member: candidate.member.clone(),
        };
        let typist = candidate.member.address.as_str();
        let proposed = self
            .propose_command(candidate.request_id, command, typist.into(), WITHIN)
            .await
            .map_err(|error| No::Unavailable(error.to_string()))?;
        let node_id = match proposed.answer {
            Answer::Joined(node_id) => node_id,
            Answer::Refused(refusal) => return Err(No::Refused(refusal.text)),
            Answer::Applied(_) | Answer::Done => {
                return Err(No::Refused(
                    "this request id belongs to another command".to_owned(),
                ));
            }
        };
        self.wait(proposed.log_index).await?;
        // An answer that was kept for the request id is this candidate's only if the key is.
        let state = self.feed.latest();
        let named = state
            .state
            .members()
            .find(|(name, _)| **name == candidate.member.name);
        let is_its_own = named.is_some_and(|(_, member)| {
            member.node_id == node_id && member.key_hash == candidate.member.key_hash
        });
        if is_its_own {
            Ok(node_id)
        } else {
            Err(No::Refused("this request id belongs to another node".to_owned()))
        }
    }

    async fn wait(&self, index: u64) -> Result<(), No> {
        if self.feed.wait_index(index, Instant::now() + WITHIN).await {
            Ok(())
        } else {
            Err(No::Unavailable("the leader is behind".to_owned()))
        }
    }
}

impl Candidate {
    fn read(request: &v1::JoinRequest) -> Result<Self, String> {
        let name = NodeName::parse(&request.name).map_err(|error| error.to_string())?;
        let address = request
            .address
            .parse::<std::net::SocketAddr>()
            .map_err(|_| "the advertised address must be ip:port".to_owned())?;
        let signing_request = SigningRequest::parse(&request.signing_request)
            .ok_or("the signing request must be PKCS#10 for a P-256 key")?;
        let token = TokenId::parse(&request.token_id).map_err(|_| Rejection::UnknownToken.to_string())?;
        let secret =
            Secret::from_bytes(&request.secret).ok_or_else(|| Rejection::UnknownToken.to_string())?;
        let request_id = request.request_id.as_slice().try_into();
        Ok(Self {
            member: NewMember {
                name,
                address: address.to_string(),
                key_hash: signing_request.key_hash(),
            },
            signing_request,
            token,
            secret,
            request_id: RequestId(request_id.map_err(|_| "a request id has 16 bytes")?),
            feature_level: request.feature_level,
            time: request.time_unix_ms.map(UnixMillis),
        })
    }
}
