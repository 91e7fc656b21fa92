//! A fleet as one of its nodes sees it: propose a change, read fresh, know the members.
//!
//! Everything that must be the same everywhere goes through the log. What is decided here is only whom to ask, how
//! long to try, and who votes.

pub(crate) mod admit;
mod alone;
mod confirm;
mod farewell;
pub(crate) mod forward;
mod gate;
mod join;
mod membership;
mod past;
mod peer;
pub(crate) mod rekey;
mod start;
mod status;
mod stop;
mod token;
pub(crate) mod transfer;
mod votes;
mod vouched;

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::rekey::{Rekey, Renewal};
use self::start::{Parts, open_stores};
use crate::error::{OpenError, ProposeError};
use crate::feed::Feed;
use crate::identity::{DataDir, FOUNDER, Identity, KnownMembers};
use crate::machine::{SnapshotPlace, StateMachine};
use crate::model::{
    Answer, Command, Entry, FEATURE_LEVEL, FleetId, KeyHash, NewMember, NodeName, RequestId, Typist,
    UnixMillis,
};
use crate::seal::Seal;
use crate::store::{FirstFailure, LogStore};
use crate::timing::Timing;
use crate::transport::client::PeerChannels;
use crate::transport::server;
use crate::transport::tls::FleetTls;
use crate::types::{ClusterMember, NodeId, TypeConfig};
use crate::wire::{encode_entry, seal_secret, with_seal_secret};

pub use join::{Joiner, join};
pub use peer::Peer;
pub use rekey::REKEY_AFTER;
pub use status::RaftStatus;
pub use token::{JoinToken, TokenError};

/// The largest change that is taken as one, in bytes.
pub const MAX_CHANGE: usize = 16 * 1024 * 1024;

/// What a node that stands alone calls its fleet.
const STANDALONE: &str = "standalone";

/// Wall-clock time, for what is written into entries.
pub type Clock = Arc<dyn Fn() -> UnixMillis + Send + Sync>;

pub(crate) type Raft = openraft::Raft<TypeConfig, StateMachine>;

/// What a node needs to take part in its fleet.
#[derive(Clone)]
pub struct StartOptions {
    /// Where it lives.
    pub dir: DataDir,
    /// Who it is.
    pub identity: Identity,
    /// Where the others reach its cluster port.
    pub advertise: SocketAddr,
    /// The pace of the consensus.
    pub timing: Timing,
    /// Wall-clock time.
    pub clock: Clock,
    /// What it tells the others that it can apply: [`crate::model::FEATURE_LEVEL`].
    pub feature_level: u32,
    /// How old its key may become: [`REKEY_AFTER`].
    pub rekey_after: Duration,
}

impl fmt::Debug for StartOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StartOptions")
            .field("identity", &self.identity)
            .field("advertise", &self.advertise)
            .finish_non_exhaustive()
    }
}

/// A proposal that was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposed {
    /// What the fleet answered.
    pub answer: Answer,
    /// The entry of the log that this node must have applied to see what it did.
    pub log_index: u64,
    /// The id under which a retry is the same request.
    pub request_id: RequestId,
}

/// This node's part in its fleet. Clones are the same node; it ends with [`Cluster::shutdown`].
#[derive(Debug, Clone)]
pub struct Cluster(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) node_id: NodeId,
    pub(crate) name: NodeName,
    pub(crate) raft: Raft,
    pub(crate) heard: Heard,
    machine: StateMachine,
    feed: Feed,
    channels: PeerChannels,
    home: Option<Home>,
    seal: Seal,
    /// What the seals of a node are made of that stands alone; empty for others, whose CA has it.
    seal_secret: Vec<u8>,
    clock: Clock,
    timing: Timing,
    /// Voters that answered when they were last asked, for nodes that do not lead.
    answering: AtomicU32,
    keeper: Notify,
    /// On the leader: what a member tells of itself is taken in one after the other.
    describing: tokio::sync::Mutex<()>,
    described: membership::Described,
    stopping: watch::Sender<bool>,
    removed: watch::Sender<bool>,
    log_failure: FirstFailure,
    tasks: Mutex<JoinSet<()>>,
}

/// What a node has that does not stand alone.
pub(crate) struct Home {
    dir: DataDir,
    identity: Identity,
    tls: FleetTls,
    advertise: SocketAddr,
    feature_level: u32,
    rekey: tokio::sync::Mutex<Rekey>,
    renewal: Renewal,
    /// The members as they were known before the log was read.
    known: KnownMembers,
    /// The members as another one told of them, and those to be kept.
    vouched: vouched::Vouched,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner")
            .field("node_id", &self.node_id)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// When a leader was last heard of.
#[derive(Debug)]
pub(crate) struct Heard(Mutex<Option<Instant>>);

impl Heard {
    pub(crate) fn now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn within(&self, age: Duration) -> bool {
        let heard = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.is_some_and(|heard| heard.elapsed() <= age)
    }
}

impl Cluster {
    /// A fleet of one that keeps nothing and opens no port: the same code path as any fleet. It begins with nothing, or
    /// with the [`Cluster::state`] of another.
    ///
    /// # Errors
    /// When that state cannot be read, or the consensus does not come up.
    pub async fn standalone(node: NodeName, clock: Clock, state: Option<&[u8]>) -> Result<Self, OpenError> {
        let seal_secret = state.and_then(seal_secret).unwrap_or_else(rand::random);
        let (machine, feed) = match state {
            Some(state) => StateMachine::with_state(state)?,
            None => StateMachine::open(SnapshotPlace::Memory)?,
        };
        let parts = Parts {
            node_id: FOUNDER,
            name: node.clone(),
            machine,
            feed,
            home: None,
            seal_secret: seal_secret.to_vec(),
            clock,
            timing: Timing::default(),
        };
        let inner = parts.assemble(LogStore::in_memory(), STANDALONE).await?;
        let member = ClusterMember {
            name: node.to_string(),
            feature_level: Some(FEATURE_LEVEL),
            ..ClusterMember::default()
        };
        let founding = Command::Found {
            name: STANDALONE.to_owned(),
            id: FleetId::default(),
            ca_certificate: Vec::new(),
            founder: NewMember {
                name: node,
                address: String::new(),
                key_hash: KeyHash::default(),
            },
        };
        inner.found(member, founding).await?;
        inner.begin_to_undo();
        Ok(Self(inner))
    }

    /// Resumes a node: a founder founds its fleet with its first start, a joiner waits to be taken up.
    ///
    /// # Errors
    /// When the store is damaged, of a later release, of the past or held by another, or the consensus does not come up.
    pub async fn start(options: StartOptions) -> Result<Self, OpenError> {
        let StartOptions {
            dir,
            mut identity,
            advertise,
            timing,
            clock,
            feature_level,
            rekey_after,
        } = options;
        let key_since = *identity.key_since.get_or_insert_with(|| clock());
        dir.next_generation(&mut identity)?;
        let known = dir.known_members()?;
        let rekey = Rekey::read(&dir, &identity.keys, key_since, rekey_after)?;
        let tls = FleetTls::new(&identity.keys)?;
        tls.trust_known(&known);
        let (log, machine, feed) = open_stores(dir.clone()).await?;
        let (node_id, name, fleet) = (identity.node_id, identity.name.clone(), identity.fleet.clone());
        let home = Home {
            dir,
            identity,
            tls,
            advertise,
            feature_level,
            rekey: tokio::sync::Mutex::new(rekey),
            renewal: Renewal::new(),
            known,
            vouched: vouched::Vouched::default(),
        };
        past::check(&home, &log).await?;
        let parts = Parts {
            node_id,
            name,
            machine,
            feed,
            home: Some(home),
            seal_secret: Vec::new(),
            clock,
            timing,
        };
        let inner = parts.assemble(log, &fleet).await?;
        inner.found_if_new().await?;
        inner.begin_to_follow();
        inner.begin_to_undo();
        Ok(Self(inner))
    }

    /// This node's id.
    pub fn node_id(&self) -> NodeId {
        self.0.node_id
    }

    /// This node's name.
    pub fn name(&self) -> &NodeName {
        &self.0.name
    }

    /// Who this node is; none where it stands alone.
    pub fn identity(&self) -> Option<&Identity> {
        self.0.home.as_ref().map(|home| &home.identity)
    }

    /// What is applied here.
    pub fn feed(&self) -> Feed {
        self.0.feed.clone()
    }

    /// What a request was answered, if it was applied here and is not forgotten.
    pub fn answer(&self, request: RequestId) -> Option<Answer> {
        self.0.machine.answer(request)
    }

    /// All that is replicated, as bytes for [`Cluster::standalone`]; where this node stands alone, what opens its sealed
    /// keys is in it.
    pub fn state(&self) -> Vec<u8> {
        with_seal_secret(self.0.machine.state(), &self.0.seal_secret)
    }

    /// What seals the fleet's private keys, and opens them.
    pub fn seal(&self) -> &Seal {
        &self.0.seal
    }

    /// Proposes a command under a new request id. Dropping the future leaves the outcome open.
    ///
    /// # Errors
    /// See [`ProposeError`]. What the fleet refuses is an answer, not an error.
    pub async fn propose(
        &self,
        command: Command,
        typist: impl Into<Typist>,
        within: Duration,
    ) -> Result<Proposed, ProposeError> {
        self.propose_as(RequestId(rand::random()), command, typist, within)
            .await
    }

    /// Proposes a command under a request id: what was proposed under it before is answered again, not applied again.
    ///
    /// # Errors
    /// As [`Cluster::propose`].
    pub async fn propose_as(
        &self,
        request_id: RequestId,
        command: Command,
        typist: impl Into<Typist>,
        within: Duration,
    ) -> Result<Proposed, ProposeError> {
        self.0
            .propose_command(request_id, command, typist.into(), within)
            .await
    }

    /// The entry that must be applied here before a read sees all that was committed by now.
    ///
    /// # Errors
    /// When no leader with a majority says so in time.
    pub async fn read_index(&self, within: Duration) -> Result<u64, ProposeError> {
        self.0.read_index(within).await
    }

    /// What this node knows of the consensus, at once and without asking anybody.
    pub fn status(&self) -> RaftStatus {
        self.0.status()
    }

    /// Asks every voter whether it is there: how many answer, this node included, and how many there are. Takes at
    /// most 0.6 seconds.
    pub async fn probe(&self) -> (u32, u32) {
        self.0.probe().await
    }

    /// What the cluster port must answer: the consensus, forwarded commands, joins. Each but the join refuses whoever
    /// is no member, by the [`crate::transport::tls::PeerIdentity`] of the connection.
    pub fn services(&self) -> tonic::service::Routes {
        server::services(&self.0)
    }

    /// How the cluster port speaks; none where this node stands alone.
    pub fn tls(&self) -> Option<FleetTls> {
        self.0.home.as_ref().map(|home| home.tls.clone())
    }

    /// Channels to the other members.
    pub fn channels(&self) -> PeerChannels {
        self.0.channels.clone()
    }

    /// Makes a join token. It is nowhere but in what is returned.
    ///
    /// # Errors
    /// As [`Cluster::propose`], and where this node stands alone.
    pub async fn issue_token(
        &self,
        ttl: Duration,
        uses: Option<u32>,
        typist: impl Into<Typist>,
    ) -> Result<JoinToken, ProposeError> {
        self.0.issue_token(ttl, uses, typist.into()).await
    }

    /// Gives this node a new key, which every member knows before it is used. What does not end in time goes on by itself.
    ///
    /// # Errors
    /// Where this node stands alone, a member is of a release that does not know how, and where a member is away or no
    /// leader answers in time.
    pub async fn rekey(&self, within: Duration) -> Result<(), ProposeError> {
        self.0.rekey(within).await
    }

    /// Lets a member lead that votes.
    ///
    /// # Errors
    /// When it has no vote, is away or behind, or no leader answers in time.
    pub async fn transfer(&self, to: NodeId, within: Duration) -> Result<(), ProposeError> {
        self.0.transfer(to, within).await
    }

    /// Waits until this node's store fails, after which it takes part in nothing; tells what failed, and where. Waits
    /// for ever where that does not happen. Dropping the future loses nothing.
    pub async fn store_failed(&self) -> String {
        self.0.store_failed().await
    }

    /// Waits until this node was removed from its fleet; for ever where it stands alone. Dropping the future loses
    /// nothing.
    pub async fn removed(&self) {
        let mut removed = self.0.removed.subscribe();
        // An error means that no handle is left, and `self` is one.
        drop(removed.wait_for(|removed| *removed).await);
    }

    /// Whether an operator drains this node; where it stands alone nothing is kept.
    pub fn is_drained(&self) -> bool {
        self.0.home.as_ref().is_some_and(|home| home.dir.is_drained())
    }

    /// Keeps that an operator drains this node, or does not any more, over its next starts.
    ///
    /// # Errors
    /// When it cannot be written to the data directory.
    pub async fn set_drained(&self, drained: bool) -> Result<(), OpenError> {
        let Some(home) = &self.0.home else { return Ok(()) };
        let dir = home.dir.clone();
        tokio::task::spawn_blocking(move || dir.set_drained(drained))
            .await
            .map_err(|error| OpenError::Raft(error.to_string()))?
    }

    /// Whether this node was removed from its fleet.
    pub fn was_removed(&self) -> bool {
        *self.0.removed.borrow()
    }

    /// Wipes the keys, the log and the snapshots of a removed node; to be called after [`Cluster::shutdown`].
    ///
    /// # Errors
    /// When something cannot be wiped.
    pub async fn wipe(&self) -> Result<(), OpenError> {
        self.0.wipe().await
    }

    /// Hands the leadership over where this node has it, and ends its part in the fleet.
    pub async fn shutdown(&self) {
        self.0.shutdown().await;
    }
}

impl Inner {
    async fn propose_command(
        &self,
        request_id: RequestId,
        command: Command,
        typist: Typist,
        within: Duration,
    ) -> Result<Proposed, ProposeError> {
        let time = (self.clock)();
        let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        let feature_level = self.level_of(&command);
        self.await_level(feature_level).await?;
        let entry = encode_entry(&Entry {
            feature_level,
            request_id,
            origin_node: self.name.to_string(),
            typist,
            time,
            deadline: UnixMillis(time.0.saturating_add(within_ms)),
            command,
        });
        if entry.len() > MAX_CHANGE {
            return Err(ProposeError::TooLarge {
                bytes: entry.len(),
                limit: MAX_CHANGE,
            });
        }
        self.propose(request_id, &entry, within).await
    }

    /// Keeps a task until the node ends.
    fn keep(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .spawn(task);
    }
}

#[cfg(test)]
mod standalone_tests;
#[cfg(test)]
mod tests;
