//! What the nodes tell each other all the time: that they live, and what they have applied.
//!
//! Gossip is advice. It says who is alive, how far and whether ready; who is a member is the replicated membership's
//! alone to say. The gossip library stays inside this module and its parts.

#[cfg(test)]
pub(crate) mod fixture;
mod keys;
mod liveness;
mod transport;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chitchat::{
    ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, ListenerHandle,
    NodeState as GossipState, spawn_chitchat,
};
use fleetbal_proto::v1::gossip_server::GossipServer;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, sleep};
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Channel;

pub use keys::{ConfigHash, OwnState, SOFTWARE_VERSION, Said};
pub use liveness::{NodeState, NodeView};
pub use transport::GossipService;

use liveness::{Directory, Heard, MemberFacts};
use transport::{CallTransport, Inbox, Roads};

/// Between this library's messages and those of another fleet stands TLS; this only tells releases apart.
const GOSSIP_PROTOCOL: &str = "fleetbal-1";
/// How often a node of a small fleet gossips.
const SMALLEST_INTERVAL: Duration = Duration::from_millis(100);
/// A node is dead after so many intervals of silence, and not before [`DEAD_AFTER`].
const DEAD_INTERVALS: u32 = 30;
const DEAD_AFTER: Duration = Duration::from_secs(3);
/// How long a dead generation stays in gossip.
const DEAD_KEPT: Duration = Duration::from_mins(10);
/// Up to so many nodes are told at once of what others wait for; larger fleets leave it to the next round.
const TOLD_AT_ONCE: usize = 8;
/// The least time between two such tellings.
const TELLING_GAP: Duration = Duration::from_millis(25);
/// How long a member that is not heard waits for the next call, at most.
const CALL_GAP: Duration = Duration::from_secs(1);
/// How long to wait before gossip that broke begins anew.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// Restarts of gossip within one start of the node that still leave its generations in order.
const INCARNATIONS: u64 = 1 << 20;

/// How this node takes part.
#[derive(Debug, Clone)]
pub struct GossipOptions {
    /// Its name, unique in the fleet.
    pub name: String,
    /// Where the others reach its cluster port.
    pub advertise: SocketAddr,
    /// Higher at each start, kept in the data directory.
    pub generation: u64,
    /// How often it gossips; none: by the size of the fleet.
    pub interval: Option<Duration>,
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
    /// Begins to gossip with the members of the fleet. Needs a tokio runtime.
    pub fn start(fleet: Arc<dyn Surroundings>, options: GossipOptions, own: OwnState) -> (Self, FleetView) {
        let mut gossip = Self::silent(fleet, &options.name, own);
        let keeper = Keeper {
            fleet: Arc::clone(&gossip.fleet),
            options,
            own: gossip.own.subscribe(),
            directory: gossip.directory.clone(),
            inbox: gossip.inbox.clone(),
        };
        gossip.keeper = Some(Arc::new(AbortOnDropHandle::new(tokio::spawn(keeper.run()))));
        let view = gossip.view();
        (gossip, view)
    }

    /// Of a node without a fleet: it sees itself alone, and there is no port.
    pub fn standalone(fleet: Arc<dyn Surroundings>, name: &str, own: OwnState) -> (Self, FleetView) {
        let gossip = Self::silent(fleet, name, own);
        let view = gossip.view();
        (gossip, view)
    }

    fn silent(fleet: Arc<dyn Surroundings>, name: &str, own: OwnState) -> Self {
        let mut directory = Directory::new(name, DEAD_AFTER);
        directory.set_members(&members(&*fleet), Instant::now());
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
        FleetView(self.directory.subscribe())
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
pub struct FleetView(watch::Receiver<Directory>);

impl FleetView {
    /// Every member, and for a while who has left, by name.
    pub fn nodes(&self) -> Vec<NodeView> {
        self.0.borrow().nodes(Instant::now())
    }

    /// Waits until a node changed in another way than by the time it was not heard; false when gossip has ended.
    /// Dropping the future loses nothing.
    pub async fn changed(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }

    /// Waits until every live member balances by this version. Dropping the future loses nothing.
    ///
    /// # Errors
    /// The names of those that do not at the deadline.
    pub async fn wait_version(&self, version: u64, deadline: Instant) -> Result<(), Vec<String>> {
        let mut view = self.clone();
        loop {
            view.0.mark_unchanged();
            let behind = view.behind(version);
            if behind.is_empty() {
                return Ok(());
            }
            let changed = tokio::time::timeout_at(deadline, view.changed()).await;
            if changed != Ok(true) {
                return Err(view.behind(version));
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

/// How often a fleet of so many nodes gossips: messages grow with the fleet, so they come less often.
pub fn interval_for(members: usize) -> Duration {
    let factor = match members {
        0..=8 => 1,
        9..=16 => 2,
        17..=32 => 3,
        _ => 5,
    };
    SMALLEST_INTERVAL * factor
}

fn members(fleet: &dyn Surroundings) -> Vec<MemberFacts> {
    let facts = |(node_id, name, address)| MemberFacts {
        node_id,
        name,
        address,
    };
    fleet.members().into_iter().map(facts).collect()
}

struct FleetRoads(Arc<dyn Surroundings>);

impl Roads for FleetRoads {
    fn channel(&self, to: SocketAddr) -> Option<Channel> {
        self.0.channel(to)
    }
}

/// The task that keeps gossip running and the directory true.
struct Keeper {
    fleet: Arc<dyn Surroundings>,
    options: GossipOptions,
    own: watch::Receiver<OwnState>,
    directory: watch::Sender<Directory>,
    inbox: Inbox,
}

impl Keeper {
    async fn run(mut self) {
        for incarnation in 0..INCARNATIONS {
            let interval = self.interval();
            let generation = self
                .options
                .generation
                .saturating_mul(INCARNATIONS)
                .saturating_add(incarnation);
            self.directory
                .send_modify(|directory| directory.set_dead_after(dead_after(interval)));
            if let Err(error) = self.gossip(interval, generation).await {
                tracing::error!(error = format!("{error:#}"), "gossip broke, it begins anew");
                sleep(RESTART_PAUSE).await;
            }
        }
    }

    fn interval(&self) -> Duration {
        self.options
            .interval
            .unwrap_or_else(|| interval_for(self.fleet.members().len()))
    }

    /// Gossips until the fleet wants another interval.
    async fn gossip(&mut self, interval: Duration, generation: u64) -> anyhow::Result<()> {
        let mut round = Round::begin(self, interval, generation).await?;
        let ended = round.handle.termination_watcher();
        tokio::pin!(ended);
        let mut tick = tokio::time::interval(interval);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = round.changed.notified() => {}
                Ok(()) = self.own.changed() => {}
                result = &mut ended => {
                    result?;
                    anyhow::bail!("the gossip loop ended");
                }
            }
            round.go(self).await;
            if self.interval() != interval {
                return round.handle.shutdown().await;
            }
        }
    }

    fn config(&self, interval: Duration, generation: u64) -> ChitchatConfig {
        ChitchatConfig {
            chitchat_id: ChitchatId::new(self.options.name.as_str(), generation, self.options.advertise),
            cluster_id: GOSSIP_PROTOCOL.to_owned(),
            gossip_interval: interval,
            listen_addr: self.options.advertise,
            // Members are called by name and address as the membership changes: see `Calls`.
            seed_nodes: Vec::new(),
            failure_detector_config: FailureDetectorConfig {
                phi_threshold: 8.0,
                sampling_window_size: 100,
                max_interval: interval * 10,
                // The default of five seconds would make a death known that much later.
                initial_interval: interval * 2,
                dead_node_grace_period: DEAD_KEPT,
            },
            marked_for_deletion_grace_period: DEAD_KEPT,
            catchup_callback: None,
            extra_liveness_predicate: None,
        }
    }
}

/// One run of the gossip library.
struct Round {
    handle: ChitchatHandle,
    changed: Arc<Notify>,
    _listener: ListenerHandle,
    calls: Calls,
    told: Option<(OwnState, Instant)>,
}

impl Round {
    async fn begin(keeper: &Keeper, interval: Duration, generation: u64) -> anyhow::Result<Self> {
        let transport = CallTransport {
            roads: Arc::new(FleetRoads(Arc::clone(&keeper.fleet))),
            inbox: keeper.inbox.clone(),
        };
        let own = keeper.own.borrow().pairs(keeper.fleet.term());
        let own = own
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect();
        let handle = spawn_chitchat(keeper.config(interval, generation), own, &transport).await?;
        let changed = Arc::new(Notify::new());
        let notify = Arc::clone(&changed);
        let listener = handle
            .with_chitchat(|chitchat| {
                let notify = Arc::clone(&notify);
                chitchat.subscribe_event("", move |_| notify.notify_one())
            })
            .await;
        Ok(Self {
            handle,
            changed,
            _listener: listener,
            calls: Calls::new(interval),
            told: None,
        })
    }

    /// Says what is new here, takes in what is new elsewhere, and calls who is not heard.
    async fn go(&mut self, keeper: &mut Keeper) {
        let now = Instant::now();
        let members = members(&*keeper.fleet);
        let own = keeper.own.borrow_and_update().clone();
        let pairs = own.pairs(keeper.fleet.term());
        let heard = self
            .handle
            .with_chitchat(|chitchat| {
                let state = chitchat.self_node_state();
                for (key, value) in &pairs {
                    state.set(key, value);
                }
                let live: HashSet<ChitchatId> = chitchat.live_nodes().cloned().collect();
                chitchat
                    .node_states()
                    .iter()
                    .map(|(id, state)| (id.node_id.to_string(), heard(id, state, live.contains(id))))
                    .collect::<Vec<_>>()
            })
            .await;
        keeper.directory.send_if_modified(|directory| {
            let mut changed = directory.set_members(&members, now);
            for (name, heard) in heard {
                changed |= directory.heard(&name, heard, now);
            }
            changed
        });
        let nodes = keeper.directory.borrow().nodes(now);
        for address in self.calls.due(&nodes, now) {
            self.call(address);
        }
        self.tell(own, &nodes, now);
    }

    /// Others may wait for a version or a readiness: in a small fleet they are told before the next round.
    fn tell(&mut self, own: OwnState, nodes: &[NodeView], now: Instant) {
        let recent = match &self.told {
            Some((told, at)) => told.same_news(&own) || now.saturating_duration_since(*at) < TELLING_GAP,
            None => false,
        };
        if recent || nodes.len() > TOLD_AT_ONCE {
            return;
        }
        self.told = Some((own, now));
        for node in nodes
            .iter()
            .filter(|node| !node.is_self && node.state == NodeState::Alive)
        {
            if let Ok(address) = node.address.parse() {
                self.call(address);
            }
        }
    }

    fn call(&self, address: SocketAddr) {
        if let Err(error) = self.handle.gossip(address) {
            tracing::debug!(%error, "gossip loop does not listen");
        }
    }
}

fn heard(id: &ChitchatId, state: &GossipState, live: bool) -> Heard {
    Heard {
        generation: id.generation_id,
        heartbeat: state.heartbeat().into(),
        live,
        said: Said::read(state.key_values()),
    }
}

fn dead_after(interval: Duration) -> Duration {
    DEAD_AFTER.max(interval * DEAD_INTERVALS)
}

/// When to call which member that is not heard: soon at first, then each second.
struct Calls {
    shortest: Duration,
    waits: HashMap<String, (Duration, Instant)>,
}

impl Calls {
    fn new(shortest: Duration) -> Self {
        Self {
            shortest,
            waits: HashMap::new(),
        }
    }

    fn due(&mut self, nodes: &[NodeView], now: Instant) -> Vec<SocketAddr> {
        let silent =
            |node: &&NodeView| !node.is_self && matches!(node.state, NodeState::Suspect | NodeState::Dead);
        let silent: BTreeMap<&str, &NodeView> = nodes
            .iter()
            .filter(silent)
            .map(|node| (node.address.as_str(), node))
            .collect();
        self.waits
            .retain(|address, _| silent.contains_key(address.as_str()));
        let mut due = Vec::new();
        for address in silent.keys() {
            let (wait, next) = self
                .waits
                .entry((*address).to_owned())
                .or_insert_with(|| (self.shortest, now));
            if *next > now {
                continue;
            }
            *next = now + *wait;
            *wait = (*wait * 2).min(CALL_GAP.max(self.shortest));
            due.extend(address.parse::<SocketAddr>().ok());
        }
        due
    }
}

#[cfg(test)]
#[path = "gossip_tests.rs"]
mod tests;
