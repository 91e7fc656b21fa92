//! The joiner's side: believe nobody but the CA that the token names, prove the secret, come back with an identity.
//!
//! A join that was begun is noted in the data directory before it is asked for. Asked again after a crash or a lost
//! answer, it is the same request: the token is used once and the node gets the same id.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use fleetbal_proto::v1;
use fleetbal_proto::v1::join_response::Result as Answer;
use hyper_util::rt::TokioIo;
use rustls::CertificateError;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::{Channel, Endpoint, Uri};

use super::Clock;
use super::peer::Peer;
use super::token::JoinToken;
use crate::error::{JoinError, OpenError};
use crate::identity::keys::{CaHash, NodeKeys, generate_key, key_hash_of, signing_request};
use crate::identity::{DataDir, Identity, KnownMembers, PendingJoin};
use crate::model::{FleetId, NodeName};
use crate::transport::pin::joiner_config;
use crate::transport::tls::connect;
use crate::wire::raft::decode_members;

/// How long a join is tried.
const DEADLINE: Duration = Duration::from_secs(20);

/// How long one member is given to be connected with.
const CONNECT: Duration = Duration::from_secs(2);

/// How long one member is given to answer: it may have to find the leader first.
const ANSWER: Duration = Duration::from_secs(8);

/// Between two rounds over the members.
const PAUSE: Duration = Duration::from_millis(250);

/// Why one member did not take the node up.
#[derive(Debug)]
pub(super) enum Attempt {
    /// It would be in vain to ask again.
    Final(JoinError),
    /// Another member, or the same one later, may.
    Again(String),
}

/// Who joins, and whom it asks.
#[derive(Clone)]
pub struct Joiner<'a> {
    /// Members, or names of members.
    pub peers: &'a [Peer],
    /// What lets it in.
    pub token: &'a JoinToken,
    /// Its name.
    pub node: NodeName,
    /// Where the others reach its cluster port.
    pub advertise: SocketAddr,
    /// What it can apply: [`crate::model::FEATURE_LEVEL`].
    pub feature_level: u32,
    /// Wall-clock time: a fleet takes nobody up whose clock is far from its own.
    pub clock: Clock,
}

impl fmt::Debug for Joiner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Joiner")
            .field("node", &self.node)
            .field("advertise", &self.advertise)
            .finish_non_exhaustive()
    }
}

/// Joins a fleet through whichever of its members answers first, and settles the data directory. Takes at most
/// 20 seconds; dropping the future leaves a join that the next call takes up again.
///
/// # Errors
/// When the directory is a node's already, the fleet refuses, a peer is of another fleet, or nobody answers in time.
pub async fn join(dir: &DataDir, joiner: &Joiner<'_>) -> Result<Identity, JoinError> {
    dir.check_free()?;
    if joiner.peers.is_empty() {
        return Err(JoinError::NoPeers);
    }
    let request = Request::prepare(dir, joiner)?;
    let (identity, known) = request.ask_all(joiner.peers).await?;
    dir.settle(&identity, &known)?;
    tracing::info!(fleet = %identity.fleet, node = %identity.name, id = identity.node_id, "joined");
    Ok(identity)
}

pub(super) struct Request<'a> {
    token: &'a JoinToken,
    node: NodeName,
    clock: Clock,
    key: Vec<u8>,
    message: v1::JoinRequest,
}

impl<'a> Request<'a> {
    /// The join that was begun with this token under this name, or a new one.
    pub(super) fn prepare(dir: &DataDir, joiner: &Joiner<'a>) -> Result<Self, OpenError> {
        let (token, node) = (joiner.token, joiner.node.clone());
        let (token_id, name) = (token.id().to_string(), node.to_string());
        let begun = dir
            .pending_join()?
            .filter(|(pending, _)| pending.token_id == token_id && pending.node == name)
            .and_then(|(pending, key)| Some((HEXLOWER.decode(pending.request_id.as_bytes()).ok()?, key)));
        let (request_id, key) = if let Some(begun) = begun {
            begun
        } else {
            let (id, key) = (rand::random::<[u8; 16]>().to_vec(), generate_key()?);
            let pending = PendingJoin {
                token_id: token_id.clone(),
                node: name.clone(),
                request_id: HEXLOWER.encode(&id),
            };
            dir.save_pending_join(&pending, &key)?;
            (id, key)
        };
        let message = v1::JoinRequest {
            token_id,
            secret: token.secret().bytes().to_vec(),
            name,
            address: joiner.advertise.to_string(),
            signing_request: signing_request(&key)?,
            request_id,
            forwarded: false,
            feature_level: Some(joiner.feature_level),
            time_unix_ms: None,
        };
        Ok(Self {
            token,
            node,
            clock: Arc::clone(&joiner.clock),
            key,
            message,
        })
    }

    pub(super) async fn ask_all(&self, peers: &[Peer]) -> Result<(Identity, KnownMembers), JoinError> {
        let deadline = Instant::now() + DEADLINE;
        let mut last = String::new();
        loop {
            for peer in peers {
                match self.ask_each(peer).await {
                    Ok(joined) => return Ok(joined),
                    Err(Attempt::Final(error)) => return Err(error),
                    Err(Attempt::Again(why)) => {
                        let why = format!("{peer}: {why}");
                        if why != last {
                            tracing::info!("not joined yet: {why}; trying again");
                        }
                        last = why;
                    }
                }
                if Instant::now() >= deadline {
                    let seconds = DEADLINE.as_secs();
                    return Err(JoinError::TimedOut { seconds, last });
                }
            }
            sleep(PAUSE).await;
        }
    }

    /// Asks at each of its addresses, until one takes the node up. A name of all members may be this node's too.
    async fn ask_each(&self, peer: &Peer) -> Result<(Identity, KnownMembers), Attempt> {
        let mut addresses = peer.addresses().await.map_err(Attempt::Again)?;
        addresses.retain(|address| address.to_string() != self.message.address);
        let mut last = Attempt::Again("it is this node's own address, and no member's".to_owned());
        for address in addresses {
            match self.ask(address).await {
                Ok(joined) => return Ok(joined),
                Err(Attempt::Final(error)) => return Err(Attempt::Final(error)),
                Err(again) => last = again,
            }
        }
        Err(last)
    }

    async fn ask(&self, peer: SocketAddr) -> Result<(Identity, KnownMembers), Attempt> {
        let channel = connect_pinned(self.token.ca(), peer).await?;
        let mut client = v1::joining_client::JoiningClient::new(channel);
        let request = v1::JoinRequest {
            time_unix_ms: Some((self.clock)().0),
            ..self.message.clone()
        };
        let answer = timeout(ANSWER, client.join(request))
            .await
            .map_err(|_| Attempt::Again("no answer in time".to_owned()))?
            .map_err(|status| Attempt::Again(format!("no answer ({})", status.message())))?;
        match answer.into_inner().result {
            Some(Answer::Joined(joined)) => self.take(joined).map_err(|reason| {
                let peer = peer.to_string();
                Attempt::Final(JoinError::Answer { peer, reason })
            }),
            Some(Answer::Refused(why)) => Err(Attempt::Final(JoinError::Refused(why))),
            Some(Answer::Unavailable(why)) => Err(Attempt::Again(why)),
            None => Err(Attempt::Again(
                "an answer that this release does not know".to_owned(),
            )),
        }
    }

    /// Looks closely at what came: from here on it is this node's identity.
    fn take(&self, joined: v1::Joined) -> Result<(Identity, KnownMembers), String> {
        let keys = NodeKeys {
            key: self.key.clone(),
            certificate: joined.certificate,
            ca_certificate: joined.ca_certificate,
            ca_key: joined.ca_key,
        };
        if keys.ca_hash() != self.token.ca() {
            return Err("the CA is not the one that the token names".to_owned());
        }
        let members = decode_members(joined.members).map_err(|error| error.to_string())?;
        let own = key_hash_of(&keys.certificate);
        if own.is_none() || own != members.get(&joined.node_id).map(|member| member.key_hash) {
            return Err("the certificate is for another key than the membership holds".to_owned());
        }
        keys.check().map_err(|error| error.to_string())?;
        let fleet_id = joined
            .fleet_id
            .try_into()
            .map_err(|_| "the fleet's id is no id")?;
        let identity = Identity {
            fleet: joined.fleet_name,
            fleet_id: FleetId(fleet_id),
            node_id: joined.node_id,
            name: self.node.clone(),
            generation: 0,
            key_since: None,
            keys,
        };
        let known = KnownMembers {
            log_index: joined.log_index,
            members,
        };
        Ok((identity, known))
    }
}

/// A channel to whoever has a certificate of that CA; of this side nothing is shown.
pub(super) async fn connect_pinned(ca: CaHash, peer: SocketAddr) -> Result<Channel, Attempt> {
    let again = |error: io::Error| Attempt::Again(format!("cannot connect: {error}"));
    let config = joiner_config(ca).map_err(|error| Attempt::Final(error.into()))?;
    let handshake = async {
        let stream = TcpStream::connect(peer).await?;
        stream.set_nodelay(true)?;
        connect(Arc::clone(&config), stream).await
    };
    let stream = match timeout(CONNECT, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) if is_wrong_ca(&error) => {
            let peer = peer.to_string();
            return Err(Attempt::Final(JoinError::WrongFleet { peer }));
        }
        Ok(Err(error)) if is_of_another_time(&error) => {
            let why =
                "its certificate is not valid at the time that this machine's clock tells; set that right";
            return Err(Attempt::Again(why.to_owned()));
        }
        Ok(Err(error)) => return Err(again(error)),
        Err(_) => return Err(again(io::ErrorKind::TimedOut.into())),
    };
    let mut stream = Some(TokioIo::new(stream));
    let connector = tower::service_fn(move |_: Uri| {
        let stream = stream.take().ok_or(io::ErrorKind::NotConnected);
        async move { stream.map_err(io::Error::from) }
    });
    Endpoint::from_static("http://member")
        .connect_with_connector(connector)
        .await
        .map_err(|error| again(io::Error::other(error)))
}

fn is_wrong_ca(error: &io::Error) -> bool {
    matches!(certificate_error(error), Some(CertificateError::UnknownIssuer))
}

/// Certificates are renewed long before they end, so it is the clock here that is wrong.
fn is_of_another_time(error: &io::Error) -> bool {
    matches!(
        certificate_error(error),
        Some(
            CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. }
        )
    )
}

fn certificate_error(error: &io::Error) -> Option<&CertificateError> {
    let error = error.get_ref()?.downcast_ref()?;
    if let rustls::Error::InvalidCertificate(error) = error {
        return Some(error);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_clock_is_told_from_a_wrong_fleet() {
        let failed = |error| io::Error::other(rustls::Error::InvalidCertificate(error));
        for error in [CertificateError::Expired, CertificateError::NotValidYet] {
            assert!(is_of_another_time(&failed(error)));
        }
        let stranger = failed(CertificateError::UnknownIssuer);
        assert!(!is_of_another_time(&stranger) && is_wrong_ca(&stranger));
        assert!(!is_of_another_time(&io::ErrorKind::ConnectionReset.into()));
    }
}
