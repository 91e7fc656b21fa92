//! How a node comes up: its stores, the consensus on them, and the first entry of a new fleet.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openraft::storage::{RaftLogReader as _, RaftLogStorage as _};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::membership::Described;
use super::{Clock, Heard, Home, Inner, Raft};
use crate::error::OpenError;
use crate::feed::Feed;
use crate::identity::{DataDir, FOUNDER};
use crate::machine::{SnapshotPlace, StateMachine};
use crate::model::{Command, NewMember, NodeName, RequestId};
use crate::seal::Seal;
use crate::store::LogStore;
use crate::timing::Timing;
use crate::transport::client::{Network, PeerChannels};
use crate::types::{ClusterMember, NodeId, Vote};

/// How long a new fleet may take to write its first entry.
const FOUNDING: Duration = Duration::from_secs(10);

/// What a node is put together from.
pub(super) struct Parts {
    pub(super) node_id: NodeId,
    pub(super) name: NodeName,
    pub(super) machine: StateMachine,
    pub(super) feed: Feed,
    pub(super) home: Option<Home>,
    /// What the seals of a node are made of that stands alone.
    pub(super) seal_secret: Vec<u8>,
    pub(super) clock: Clock,
    pub(super) timing: Timing,
}

impl Parts {
    pub(super) async fn assemble(self, mut log: LogStore, fleet: &str) -> Result<Arc<Inner>, OpenError> {
        let failed = |error: &dyn fmt::Display| OpenError::Raft(error.to_string());
        self.resign(&mut log).await.map_err(|error| failed(&error))?;
        let config = self
            .timing
            .raft_config(fleet)
            .validate()
            .map_err(|error| failed(&error))?;
        let secret = self
            .home
            .as_ref()
            .map_or(&self.seal_secret, |home| &home.identity.keys.ca_key);
        let seal = Seal::of(secret).map_err(|error| failed(&error))?;
        let channels = PeerChannels::new(self.home.as_ref().map(|home| home.tls.clone()));
        if let Some(home) = &self.home {
            channels.follow(&home.known.members);
        }
        let network = Network(channels.clone());
        let log_failure = log.failure();
        let raft = Raft::new(self.node_id, Arc::new(config), network, log, self.machine.clone())
            .await
            .map_err(|error| failed(&error))?;
        let inner = Arc::new(Inner {
            node_id: self.node_id,
            name: self.name,
            raft,
            heard: Heard(Mutex::default()),
            machine: self.machine,
            feed: self.feed,
            channels,
            home: self.home,
            seal,
            seal_secret: self.seal_secret,
            clock: self.clock,
            timing: self.timing,
            answering: AtomicU32::new(1),
            keeper: Notify::new(),
            describing: tokio::sync::Mutex::default(),
            described: Described::default(),
            stopping: watch::Sender::new(false),
            removed: watch::Sender::new(false),
            log_failure,
            tasks: Mutex::default(),
        });
        inner.begin_to_rest();
        Ok(inner)
    }
}

impl Parts {
    /// A leader that comes back has to be elected anew. The library would let it go on in its term, but it may have sent
    /// entries to others that never reached its own disk; others under the same numbers would make two logs of one.
    /// Alone it sent nothing to anybody.
    async fn resign(&self, log: &mut LogStore) -> io::Result<()> {
        let is_alone = self.home.as_ref().is_none_or(|home| home.known.members.len() < 2);
        let led = log
            .read_vote()
            .await?
            .filter(|vote| vote.committed && vote.leader_id.node_id == self.node_id);
        match led {
            Some(vote) if !is_alone => log.save_vote(&Vote::new(vote.leader_id.term, self.node_id)).await,
            Some(_) | None => Ok(()),
        }
    }
}

impl Inner {
    /// A fleet begins where its founder starts for the first time, and nowhere else: a founder that lost its log but
    /// knows of others must not begin a second one.
    pub(super) async fn found_if_new(&self) -> Result<(), OpenError> {
        let Some(home) = &self.home else { return Ok(()) };
        let others = self
            .raft
            .with_raft_state(|state| {
                let effective = state.membership_state.effective().clone();
                effective.nodes().any(|(node, _)| *node != FOUNDER)
            })
            .await
            .map_err(|error| OpenError::Raft(error.to_string()))?;
        let alone = !others && home.known.members.keys().all(|node| *node == FOUNDER);
        if self.node_id != FOUNDER || !alone {
            return Ok(());
        }
        let (address, key_hash) = (home.advertise.to_string(), home.identity.keys.key_hash()?);
        let member = ClusterMember {
            name: self.name.to_string(),
            address: address.clone(),
            key_hash,
            next_key_hash: None,
            feature_level: Some(home.feature_level),
        };
        let founding = Command::Found {
            name: home.identity.fleet.clone(),
            id: home.identity.fleet_id,
            ca_certificate: home.identity.keys.ca_certificate.clone(),
            founder: NewMember {
                name: self.name.clone(),
                address,
                key_hash,
            },
        };
        self.found(member, founding).await
    }

    /// Makes this node the only voter and writes the first entry, each where it was not done before.
    pub(super) async fn found(&self, member: ClusterMember, founding: Command) -> Result<(), OpenError> {
        let failed = |error: &dyn fmt::Display| OpenError::Raft(error.to_string());
        if !self.raft.is_initialized().await.map_err(|error| failed(&error))? {
            let members = BTreeMap::from([(self.node_id, member)]);
            self.raft
                .initialize(members)
                .await
                .map_err(|error| failed(&error))?;
        }
        let index = self.read_index(FOUNDING).await.map_err(OpenError::Founding)?;
        self.feed.wait_index(index, Instant::now() + FOUNDING).await;
        if self.feed.latest().state.members().len() > 0 {
            return Ok(());
        }
        let request_id = RequestId(rand::random());
        let proposed = self
            .propose_command(request_id, founding, "".into(), FOUNDING)
            .await
            .map_err(OpenError::Founding)?;
        self.feed
            .wait_index(proposed.log_index, Instant::now() + FOUNDING)
            .await;
        Ok(())
    }
}

/// Opens what lies on disk, off the runtime's threads: a long log takes a while.
pub(super) async fn open_stores(dir: DataDir) -> Result<(LogStore, StateMachine, Feed), OpenError> {
    let opening = tokio::task::spawn_blocking(move || {
        let path = dir.raft_path();
        let log = LogStore::open(&path.join("log"))?;
        let (machine, feed) = StateMachine::open(SnapshotPlace::Dir(path.join("snapshots")))?;
        Ok((log, machine, feed))
    });
    opening
        .await
        .map_err(|error| OpenError::Raft(error.to_string()))?
}
