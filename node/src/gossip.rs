//! What the nodes tell each other all the time: that they live, and what they have applied.
//!
//! Gossip is advice. It says who is alive, how far and whether ready; who is a member is the replicated membership's
//! alone to say. The gossip library stays inside this module and its parts.

#[cfg(test)]
pub(crate) mod fixture;
mod keeper;
mod keys;
mod liveness;
mod load;
#[cfg(test)]
pub(crate) mod memory;
mod told;
mod transport;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chitchat::transport::Transport;
use fleetbal_proto::v1::gossip_server::GossipServer;
use fleetbal_raft::cluster::Cluster;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Channel;

pub use keys::{ConfigHash, HINDRANCES_MAX, OwnState, SOFTWARE_VERSION, Said, Trouble};
pub use liveness::{NodeState, NodeView, Voice};
pub use load::Load;
pub use transport::{GossipService, Traffic};

use keeper::{Keeper, pace};
use liveness::{Directory, MemberFacts};
use transport::{CallTransport, Inbox};

/// How often a node of a small fleet gossips. What others wait for is told at once there; this is for the rest, and most
/// of what an idle node does.
const SMALL_INTERVAL: Duration = Duration::from_millis(400);
/// The same of larger ones, where news goes by gossip alone.
const USUAL_INTERVAL: Duration = Duration::from_millis(300);
/// How often to look whether time made a node suspect.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How this node takes part.
#[derive(Debug, Clone)]
pub struct GossipOptions {
    /// Its name, unique in the fleet.
    pub name: String,
    /// Its Raft id.
    pub node_id: u64,
    /// Where the others reach its cluster port.
    pub advertise: SocketAddr,
    /// Higher at each start, and where another node has the name.
    pub generation: u64,
    /// How often it gossips; none: by the size of the fleet.
    pub interval: Option<Duration>,
}

/// Starts of one node that still come before those of the next one.
const STARTS: u64 = 1 << 24;

/// Which life of a name this is. A node that was removed and joined again under its name counts its starts anew, but
/// has a higher id, since none is given twice.
fn life(node_id: u64, start: u64) -> u64 {
    node_id.saturating_mul(STARTS).saturating_add(start)
}

/// What gossip needs to know of the fleet it runs in.
pub trait Surroundings: Send + Sync + 'static {
    /// The replicated membership: id, name and `ip:port` of each member.
    fn members(&self) -> Vec<(u64, String, String)>;
    /// The Raft term of this node.
    fn term(&self) -> u64;
    /// A channel to the member at this address; none where no member is.
    fn channel(&self, to: SocketAddr) -> Option<Channel>;
}

impl Surroundings for Cluster {
    fn members(&self) -> Vec<(u64, String, String)> {
        let members = self.status().members.into_iter();
        members
            .map(|(id, member)| (id, member.name, member.address))
            .collect()
    }

    fn term(&self) -> u64 {
        self.status().term
    }

    fn channel(&self, to: SocketAddr) -> Option<Channel> {
        self.channels().by_address(&to.to_string())
    }
}

/// This node's part in gossip. Clones share it; it ends with the last of them.
#[derive(Clone)]
pub struct Gossip {
    own: watch::Sender<OwnState>,
    directory: watch::Sender<Directory>,
    fleet: Arc<dyn Surroundings>,
    inbox: Inbox,
    keeper: Option<Arc<AbortOnDropHandle<()>>>,
}

impl Gossip {
    /// Takes part in a node's fleet; a node that stands alone sees itself and gossips with nobody. Needs a tokio
    /// runtime.
    pub fn of(cluster: &Cluster, advertise: SocketAddr, own: OwnState) -> (Self, FleetView) {
        let fleet = Arc::new(cluster.clone());
        let name = cluster.name().to_string();
        let Some(identity) = cluster.identity() else {
            return Self::standalone(fleet, cluster.node_id(), &name, own);
        };
        let options = GossipOptions {
            name,
            node_id: cluster.node_id(),
            advertise,
            generation: life(cluster.node_id(), identity.generation),
            interval: None,
        };
        Self::start(fleet, options, own)
    }

    /// Begins to gossip with the members of the fleet. Needs a tokio runtime.
    pub fn start(fleet: Arc<dyn Surroundings>, options: GossipOptions, own: OwnState) -> (Self, FleetView) {
        let inbox = Inbox::default();
        let transport = CallTransport {
            fleet: Arc::clone(&fleet),
            inbox: inbox.clone(),
        };
        Self::over(Box::new(transport), inbox, fleet, options, own)
    }

    fn over(
        transport: Box<dyn Transport>,
        inbox: Inbox,
        fleet: Arc<dyn Surroundings>,
        options: GossipOptions,
        own: OwnState,
    ) -> (Self, FleetView) {
        let facts = MemberFacts {
            node_id: options.node_id,
            name: options.name.clone(),
            address: options.advertise.to_string(),
        };
        let mut gossip = Self::silent(fleet, &facts, own);
        gossip.inbox = inbox;
        let keeper = Keeper {
            fleet: Arc::clone(&gossip.fleet),
            options,
            own: gossip.own.subscribe(),
            directory: gossip.directory.clone(),
            transport,
        };
        gossip.keeper = Some(Arc::new(AbortOnDropHandle::new(tokio::spawn(keeper.run()))));
        let view = gossip.view();
        (gossip, view)
    }

    /// Of a node without a fleet: it sees itself alone, and there is no port.
    pub fn standalone(
        fleet: Arc<dyn Surroundings>,
        node_id: u64,
        name: &str,
        own: OwnState,
    ) -> (Self, FleetView) {
        let facts = MemberFacts {
            node_id,
            name: name.to_owned(),
            address: String::new(),
        };
        let gossip = Self::silent(fleet, &facts, own);
        let view = gossip.view();
        (gossip, view)
    }

    fn silent(fleet: Arc<dyn Surroundings>, facts: &MemberFacts, own: OwnState) -> Self {
        let now = Instant::now();
        let mut directory = Directory::new(facts, pace(SMALL_INTERVAL), now);
        directory.set_members(&members(&*fleet), now);
        let gossip = Self {
            own: watch::Sender::new(own.clone()),
            directory: watch::Sender::new(directory),
            fleet,
            inbox: Inbox::default(),
            keeper: None,
        };
        gossip.set_own(own);
        gossip
    }

    /// Says something new of this node. Unchanged values cost nothing.
    pub fn set_own(&self, own: OwnState) {
        let said = own.said(self.fleet.term());
        self.directory
            .send_if_modified(|directory| directory.set_own(said));
        self.own.send_if_modified(|current| {
            let changed = *current != own;
            *current = own;
            changed
        });
    }

    /// The service for the cluster port.
    pub fn service(&self) -> GossipServer<GossipService> {
        GossipService::server(self.inbox.clone())
    }

    fn view(&self) -> FleetView {
        FleetView {
            directory: self.directory.subscribe(),
            traffic: Arc::clone(&self.inbox.traffic),
        }
    }
}

impl fmt::Debug for Gossip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gossip")
            .field("own", &self.own)
            .finish_non_exhaustive()
    }
}

/// The fleet as this node sees it. A clone is cheap.
#[derive(Debug, Clone)]
pub struct FleetView {
    directory: watch::Receiver<Directory>,
    traffic: Arc<Traffic>,
}

impl FleetView {
    /// Every member, and for a while who has left, by name.
    pub fn nodes(&self) -> Vec<NodeView> {
        self.directory.borrow().nodes(Instant::now())
    }

    /// What each node tells of backends.
    pub fn voices(&self) -> Vec<Voice> {
        self.directory.borrow().voices(Instant::now())
    }

    /// What gossip has cost so far.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Waits until a node changed in another way than by the time it was not heard; false when gossip has ended.
    /// Dropping the future loses nothing.
    pub async fn changed(&mut self) -> bool {
        self.directory.changed().await.is_ok()
    }

    /// Waits until every live member balances by this version. Dropping the future loses nothing.
    ///
    /// # Errors
    /// The names of those that do not at the deadline.
    pub async fn wait_version(&self, version: u64, deadline: Instant) -> Result<(), Vec<String>> {
        let mut view = self.clone();
        loop {
            view.directory.mark_unchanged();
            let behind = view.behind(version);
            if behind.is_empty() {
                return Ok(());
            }
            // That time made a node suspect is no change, so it is looked for.
            let look_again = deadline.min(Instant::now() + LOOK_AGAIN);
            let ended = tokio::time::timeout_at(look_again, view.changed()).await == Ok(false);
            if ended || Instant::now() >= deadline {
                let behind = view.behind(version);
                return if behind.is_empty() { Ok(()) } else { Err(behind) };
            }
        }
    }

    /// The live members that do not balance by this version yet.
    fn behind(&self, version: u64) -> Vec<String> {
        let nodes = self.nodes().into_iter();
        nodes
            .filter(|node| {
                node.state == NodeState::Alive && node.applied_version.is_none_or(|at| at < version)
            })
            .map(|node| node.name)
            .collect()
    }
}

/// How often a fleet of so many nodes gossips. A message grows with the fleet: beyond some size this grows alike, and
/// the bytes a second stay what they are.
pub fn interval_for(members: usize) -> Duration {
    match members {
        0..=8 => SMALL_INTERVAL,
        9..=66 => USUAL_INTERVAL,
        _ => USUAL_INTERVAL * members.div_ceil(25).max(5).try_into().unwrap_or(u32::MAX) / 3,
    }
}

fn members(fleet: &dyn Surroundings) -> Vec<MemberFacts> {
    let facts = |(node_id, name, address)| MemberFacts {
        node_id,
        name,
        address,
    };
    fleet.members().into_iter().map(facts).collect()
}

#[cfg(test)]
#[path = "gossip_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "gossip_scale_tests.rs"]
mod scale_tests;
