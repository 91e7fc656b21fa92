//! Runs the gossip library: says what is new here, takes in what is new elsewhere, calls who is not heard.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chitchat::transport::Transport;
use chitchat::{
    ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, ListenerHandle,
    NodeState as GossipState, spawn_chitchat,
};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, sleep, sleep_until};

use super::keys::{OwnState, Said};
use super::liveness::{Directory, Heard, NodeState, NodeView, Pace};
use super::{GossipOptions, Surroundings, interval_for, members, told};
use crate::health::Told;

/// Between this library's messages and those of another fleet stands TLS; this only tells releases apart.
const GOSSIP_PROTOCOL: &str = "fleetbal-1";
/// A node that was heard within so many intervals is alive.
const ALIVE_INTERVALS: u32 = 3;
/// A node is dead after so many intervals of silence, and not before [`DEAD_AFTER`].
const DEAD_INTERVALS: u32 = 10;
const DEAD_AFTER: Duration = Duration::from_secs(3);
/// How long a dead generation stays in gossip.
const DEAD_KEPT: Duration = Duration::from_mins(10);
/// Up to so many nodes are told at once of what others wait for; larger fleets leave it to the next round.
const TOLD_AT_ONCE: usize = 8;
/// The least time between two such tellings.
const TELLING_GAP: Duration = Duration::from_millis(25);
/// How long a member that is not heard waits for the next call, at most.
const CALL_GAP: Duration = Duration::from_secs(1);
/// So many of those that are not heard are called within one interval, at most. Who answers has heard of the others: if a
/// node called all of a large fleet at once, each would send it everything.
const CALLS_AT_ONCE: usize = 8;
/// How long to wait before gossip that broke begins anew.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// Restarts of gossip within one start of the node that still leave its generations in order.
const INCARNATIONS: u64 = 1 << 20;

/// The task that keeps gossip running and the directory true.
pub(super) struct Keeper {
    pub(super) fleet: Arc<dyn Surroundings>,
    pub(super) options: GossipOptions,
    pub(super) own: watch::Receiver<OwnState>,
    pub(super) directory: watch::Sender<Directory>,
    pub(super) transport: Box<dyn Transport>,
}

impl Keeper {
    pub(super) async fn run(mut self) {
        for incarnation in 0..INCARNATIONS {
            let interval = self.interval();
            let generation = self
                .options
                .generation
                .saturating_mul(INCARNATIONS)
                .saturating_add(incarnation);
            self.directory
                .send_modify(|directory| directory.set_pace(pace(interval)));
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
                () = sleep_until(round.tell_at()), if round.is_untold(self) => {}
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
                initial_interval: interval * 2 / 3,
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
    told: OwnState,
    told_at: Instant,
    /// What gossip holds of this node's word about backends.
    said_of_backends: Arc<Told>,
    /// What was read of each node, and at which version of its state: most nodes say nothing new.
    read: HashMap<ChitchatId, (u64, Said)>,
}

impl Round {
    async fn begin(keeper: &Keeper, interval: Duration, generation: u64) -> anyhow::Result<Self> {
        let own = keeper.own.borrow().clone();
        let pairs = own.pairs(keeper.fleet.term());
        let pairs = pairs.into_iter().map(|(key, value)| (key.to_owned(), value));
        let pairs = pairs.chain(told::pairs(&own.backends)).collect();
        let handle = spawn_chitchat(keeper.config(interval, generation), pairs, &*keeper.transport).await?;
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
            said_of_backends: Arc::clone(&own.backends),
            told: own,
            told_at: Instant::now(),
            read: HashMap::new(),
        })
    }

    /// Says what is new here, takes in what is new elsewhere, and calls who is not heard.
    async fn go(&mut self, keeper: &mut Keeper) {
        let now = Instant::now();
        let members = members(&*keeper.fleet);
        let own = keeper.own.borrow_and_update().clone();
        let pairs = own.pairs(keeper.fleet.term());
        let before = std::mem::replace(&mut self.said_of_backends, Arc::clone(&own.backends));
        let mut read = std::mem::take(&mut self.read);
        let (heard, read) = self
            .handle
            .with_chitchat(|chitchat| {
                let state = chitchat.self_node_state();
                for (key, value) in &pairs {
                    state.set(key, value);
                }
                told::say(state, &before, &own.backends);
                let live: HashSet<ChitchatId> = chitchat.live_nodes().cloned().collect();
                let states = chitchat.node_states();
                read.retain(|id, _| states.contains_key(id));
                let heard = states.iter().map(|(id, state)| {
                    let said = said(&mut read, id, state);
                    (id.node_id.to_string(), heard(id, state, live.contains(id), said))
                });
                let heard: Vec<_> = heard.collect();
                (heard, std::mem::take(&mut read))
            })
            .await;
        self.read = read;
        keeper.directory.send_if_modified(|directory| {
            let mut changed = directory.set_members(&members, now);
            let mut names = BTreeSet::new();
            for (name, heard) in heard {
                changed |= directory.heard(&name, heard, now);
                names.insert(name);
            }
            directory.only_heard(&names) || changed
        });
        let (nodes, silent) = {
            let directory = keeper.directory.borrow();
            (directory.nodes(now), directory.silent())
        };
        for address in self.calls.due(&silent, now) {
            self.call(address);
        }
        self.tell(own, &nodes, now);
    }

    /// Others may wait for a version or a readiness: in a small fleet they are told before the next round.
    fn tell(&mut self, own: OwnState, nodes: &[NodeView], now: Instant) {
        if self.told.same_news(&own) || now < self.tell_at() {
            return;
        }
        self.told = own;
        self.told_at = now;
        if nodes.len() > TOLD_AT_ONCE {
            return;
        }
        for node in nodes
            .iter()
            .filter(|node| !node.is_self && node.state == NodeState::Alive)
        {
            if let Ok(address) = node.address.parse() {
                self.call(address);
            }
        }
    }

    fn tell_at(&self) -> Instant {
        self.told_at + TELLING_GAP
    }

    fn is_untold(&self, keeper: &Keeper) -> bool {
        !self.told.same_news(&keeper.own.borrow())
    }

    fn call(&self, address: SocketAddr) {
        if let Err(error) = self.handle.gossip(address) {
            tracing::debug!(%error, "gossip loop does not listen");
        }
    }
}

/// What a node says, read anew where its state is another one than when it was read last.
fn said(read: &mut HashMap<ChitchatId, (u64, Said)>, id: &ChitchatId, state: &GossipState) -> Said {
    let version = state.max_version();
    match read.get(id) {
        Some((at, said)) if *at == version => said.clone(),
        Some(_) | None => {
            let said = Said::read(state.key_values());
            read.insert(id.clone(), (version, said.clone()));
            said
        }
    }
}

fn heard(id: &ChitchatId, state: &GossipState, live: bool, said: Said) -> Heard {
    Heard {
        generation: id.generation_id,
        heartbeat: state.heartbeat().into(),
        live,
        said,
    }
}

pub(super) fn pace(interval: Duration) -> Pace {
    Pace {
        alive_within: interval * ALIVE_INTERVALS,
        dead_after: DEAD_AFTER.max(interval * DEAD_INTERVALS),
    }
}

/// When to call which member that is not heard: soon at first, then each second; where many are not, in turn.
struct Calls {
    shortest: Duration,
    waits: HashMap<String, (Duration, Instant)>,
    /// When the interval began in which so many were called.
    since: Option<Instant>,
    called: usize,
}

impl Calls {
    fn new(shortest: Duration) -> Self {
        Self {
            shortest,
            waits: HashMap::new(),
            since: None,
            called: 0,
        }
    }

    fn due(&mut self, silent: &BTreeSet<String>, now: Instant) -> Vec<SocketAddr> {
        if self.since.is_none_or(|since| now >= since + self.shortest) {
            (self.since, self.called) = (Some(now), 0);
        }
        self.waits.retain(|address, _| silent.contains(address));
        for address in silent {
            if !self.waits.contains_key(address) {
                self.waits.insert(address.clone(), (self.shortest, now));
            }
        }
        let mut due: Vec<_> = self
            .waits
            .iter_mut()
            .filter(|(_, (_, next))| *next <= now)
            .collect();
        // Who has waited longest comes first.
        due.sort_unstable_by(|(one, (_, first)), (other, (_, second))| (first, one).cmp(&(second, other)));
        due.truncate(CALLS_AT_ONCE - self.called);
        self.called += due.len();
        let call = |(address, (wait, next)): (&String, &mut (Duration, Instant))| {
            *next = now + *wait;
            *wait = (*wait * 2).min(CALL_GAP.max(self.shortest));
            address.parse().ok()
        };
        due.into_iter().filter_map(call).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_member_is_called_less_and_less_often() {
        let silent = BTreeSet::from(["127.0.0.1:2".to_owned()]);
        let mut calls = Calls::new(Duration::from_millis(100));
        let start = Instant::now();
        let mut at = Vec::new();
        for tick in 0..40 {
            if !calls
                .due(&silent, start + Duration::from_millis(tick * 100))
                .is_empty()
            {
                at.push(tick);
            }
        }
        assert_eq!(at, [0, 1, 3, 7, 15, 25, 35]);
        let later = start + Duration::from_secs(5);
        assert!(calls.due(&BTreeSet::new(), later).is_empty());
        assert_eq!(calls.due(&silent, later).len(), 1, "it was heard in between");
    }

    #[test]
    fn many_silent_members_are_called_in_turn() {
        let silent: BTreeSet<_> = (1..=20).map(|number| format!("127.0.0.1:{number}")).collect();
        let interval = Duration::from_millis(100);
        let mut calls = Calls::new(interval);
        let start = Instant::now();
        let mut called = BTreeSet::new();
        for tick in 0..3 {
            let due = calls.due(&silent, start + interval * tick);
            assert!(due.len() <= CALLS_AT_ONCE, "{due:?}");
            called.extend(due.into_iter().map(|address| address.port()));
            // News comes at any time, and calls nobody more.
            let more = calls.due(&silent, start + interval * tick + interval / 2);
            assert!(called.len() == silent.len() || more.is_empty(), "{more:?}");
        }
        assert_eq!(called, (1..=20).collect());
    }
}
