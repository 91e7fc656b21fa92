//! Who is alive, by heartbeats that advance. Pure: it is told the time and what gossip holds.
//!
//! The members are those of the replicated membership; gossip adds what it knows of them, and never a member. Of
//! each name only the highest generation counts, since earlier ones stay in gossip for a while after a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fleetbal_raft::model::UnixMillis;
use tokio::time::Instant;

use super::keys::{ConfigHash, Said, Trouble};
use super::load::Load;
use crate::health::Told;

/// How long a node that has left is still shown.
const LEFT_SHOWN: Duration = Duration::from_mins(10);

/// What is known of a node's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NodeState {
    /// Its heartbeats arrive.
    Alive,
    /// They stopped a moment ago, or were never heard yet.
    Suspect,
    /// They stopped.
    Dead,
    /// It is no member any more.
    Left,
}

impl NodeState {
    /// As `cluster status` prints it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Suspect => "suspect",
            Self::Dead => "dead",
            Self::Left => "left",
        }
    }
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One node as this node sees it. What is none was never heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    /// Its name.
    pub name: String,
    /// Its Raft id.
    pub node_id: u64,
    /// Its cluster port, `ip:port`; empty where there is none.
    pub address: String,
    /// Whether it is this node.
    pub is_self: bool,
    /// Whether it lives.
    pub state: NodeState,
    /// How long ago its heartbeat last advanced; zero for this node.
    pub seen: Option<Duration>,
    /// The version it balances by.
    pub applied_version: Option<u64>,
    /// The last log entry it has applied.
    pub applied_index: Option<u64>,
    /// The Raft term it is in.
    pub term: Option<u64>,
    /// Of its configuration.
    pub hash: Option<ConfigHash>,
    /// Whether it should get traffic; a node that is dead or has left should not.
    pub ready: Option<bool>,
    /// Why not.
    pub not_ready_because: Option<String>,
    /// Its release.
    pub software: Option<String>,
    /// When it started, by its clock; unknown once it is dead.
    pub started: Option<UnixMillis>,
    /// Requests answered since its start; unknown once it is dead.
    pub requests_total: Option<u64>,
    /// What it has to do; unknown once it is dead.
    pub load: Option<Load>,
    /// What it could not do of the configuration.
    pub troubles: Vec<Trouble>,
    /// What keeps it from serving, by name; none where it does not say.
    pub hindrances: Option<BTreeSet<String>>,
    /// What it tells of backends.
    pub backends: Arc<Told>,
}

impl NodeView {
    /// One of which nothing is known but this.
    #[cfg(test)]
    pub(crate) fn unheard(name: &str, state: NodeState) -> Self {
        Self {
            name: name.to_owned(),
            node_id: 0,
            address: String::new(),
            is_self: false,
            state,
            seen: None,
            applied_version: None,
            applied_index: None,
            term: None,
            hash: None,
            ready: None,
            not_ready_because: None,
            software: None,
            started: None,
            requests_total: None,
            load: None,
            troubles: Vec::new(),
            hindrances: None,
            backends: Arc::default(),
        }
    }

    /// How long it has been running, its clock compared to ours.
    pub fn uptime(&self, now: UnixMillis) -> Option<Duration> {
        let started = self.started?;
        Some(Duration::from_millis(now.0.saturating_sub(started.0)))
    }
}

/// A node as one of those that tell of backends.
#[derive(Debug, Clone)]
pub struct Voice {
    /// Its name.
    pub name: Arc<str>,
    /// Whether it lives: else what it told is old.
    pub is_alive: bool,
    /// Whether it is this node.
    pub is_self: bool,
    /// What it tells.
    pub told: Arc<Told>,
}

/// A member, as the replicated membership has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MemberFacts {
    pub(super) node_id: u64,
    pub(super) name: String,
    pub(super) address: String,
}

/// What gossip holds of one generation of a node.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    pub(super) generation: u64,
    pub(super) heartbeat: u64,
    pub(super) live: bool,
    pub(super) said: Said,
}

/// How silence is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    /// Heard within this time is alive, whatever the failure detector has to say yet.
    pub(super) alive_within: Duration,
    /// Silent for this long is dead.
    pub(super) dead_after: Duration,
}

/// Every node this one knows of, by name; itself always.
#[derive(Debug, Clone)]
pub(super) struct Directory {
    own_name: String,
    pace: Pace,
    nodes: BTreeMap<String, Known>,
}

#[derive(Debug, Clone)]
struct Known {
    node_id: u64,
    address: String,
    since: Instant,
    is_member: bool,
    left: Option<Instant>,
    generation: u64,
    heartbeat: Option<u64>,
    seen: Option<Instant>,
    live: bool,
    said: Said,
}

impl Directory {
    /// Of one node, which knows nobody else yet.
    pub(super) fn new(own: &MemberFacts, pace: Pace, now: Instant) -> Self {
        let known = Known {
            is_member: false,
            ..Known::new(own, now)
        };
        Self {
            own_name: own.name.clone(),
            pace,
            nodes: BTreeMap::from([(own.name.clone(), known)]),
        }
    }

    pub(super) fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
    }

    /// Takes over the membership. True when that changed what can be seen.
    pub(super) fn set_members(&mut self, members: &[MemberFacts], now: Instant) -> bool {
        let mut changed = false;
        for member in members {
            changed |= self.set_member(member, now);
        }
        for (name, known) in &mut self.nodes {
            if known.is_member && known.left.is_none() && !members.iter().any(|member| member.name == *name) {
                known.left = Some(now);
                changed = true;
            }
        }
        let before = self.nodes.len();
        self.nodes.retain(|_, known| {
            known
                .left
                .is_none_or(|left| now.saturating_duration_since(left) < LEFT_SHOWN)
        });
        changed || self.nodes.len() != before
    }

    fn set_member(&mut self, member: &MemberFacts, now: Instant) -> bool {
        match self.nodes.get_mut(&member.name) {
            Some(known) if known.node_id == member.node_id => {
                let changed = known.address != member.address || known.left.is_some();
                known.address.clone_from(&member.address);
                known.is_member = true;
                known.left = None;
                changed
            }
            Some(known) if member.name == self.own_name => {
                // A joiner learns its id with its membership.
                known.node_id = member.node_id;
                known.address.clone_from(&member.address);
                known.is_member = true;
                true
            }
            Some(_) | None => {
                self.nodes.insert(member.name.clone(), Known::new(member, now));
                true
            }
        }
    }

    /// Takes over what gossip holds of a node. True when that changed what can be seen, its age aside.
    pub(super) fn heard(&mut self, name: &str, heard: Heard, now: Instant) -> bool {
        // What this node says of itself it knows first: see `set_own`.
        let Some(known) = self.nodes.get_mut(name).filter(|_| name != self.own_name) else {
            return false;
        };
        if heard.generation < known.generation {
            return false;
        }
        // The first heartbeat of a generation may be an old one that was passed on: only an advance is life.
        if heard.generation == known.generation && known.heartbeat.is_some_and(|last| heard.heartbeat > last)
        {
            known.seen = Some(now);
        }
        known.generation = heard.generation;
        known.heartbeat = Some(heard.heartbeat);
        let changed = known.live != heard.live || known.said != heard.said;
        known.live = heard.live;
        known.said = heard.said;
        changed
    }

    /// Of nodes that gossip does not hold at all it knows nothing any more.
    pub(super) fn only_heard(&mut self, names: &BTreeSet<String>) -> bool {
        let mut changed = false;
        for (name, known) in &mut self.nodes {
            if known.live && !names.contains(name) {
                known.live = false;
                changed = true;
            }
        }
        changed
    }

    /// Takes over what this node says of itself. True when that is new.
    pub(super) fn set_own(&mut self, said: Said) -> bool {
        let Some(known) = self.nodes.get_mut(&self.own_name) else {
            return false;
        };
        let changed = known.said != said;
        known.said = said;
        changed
    }

    /// The addresses of other members that the failure detector does not hold for alive.
    pub(super) fn silent(&self) -> BTreeSet<String> {
        let silent = |(name, known): &(&String, &Known)| {
            **name != self.own_name && known.left.is_none() && !known.live
        };
        let silent = self.nodes.iter().filter(silent);
        silent.map(|(_, known)| known.address.clone()).collect()
    }

    /// What each node says of backends, and whether it lives.
    pub(super) fn voices(&self, now: Instant) -> Vec<Voice> {
        let voices = self.nodes.iter().map(|(name, known)| {
            let is_self = *name == self.own_name;
            Voice {
                name: name.as_str().into(),
                is_alive: known.state(is_self, self.pace, now) == NodeState::Alive,
                is_self,
                told: Arc::clone(&known.said.backends),
            }
        });
        voices.collect()
    }

    /// All nodes by name, those that have left last a while.
    pub(super) fn nodes(&self, now: Instant) -> Vec<NodeView> {
        self.nodes
            .iter()
            .map(|(name, known)| known.view(name, *name == self.own_name, self.pace, now))
            .collect()
    }
}

impl Known {
    fn new(member: &MemberFacts, now: Instant) -> Self {
        Self {
            node_id: member.node_id,
            address: member.address.clone(),
            since: now,
            is_member: true,
            left: None,
            generation: 0,
            heartbeat: None,
            seen: None,
            live: false,
            said: Said::default(),
        }
    }

    fn state(&self, is_self: bool, pace: Pace, now: Instant) -> NodeState {
        let silent = |since: Instant| now.saturating_duration_since(since);
        if self.left.is_some() {
            NodeState::Left
        } else if is_self || self.live || self.seen.is_some_and(|seen| silent(seen) < pace.alive_within) {
            NodeState::Alive
        } else if silent(self.seen.unwrap_or(self.since)) < pace.dead_after {
            NodeState::Suspect
        } else {
            NodeState::Dead
        }
    }

    fn view(&self, name: &str, is_self: bool, pace: Pace, now: Instant) -> NodeView {
        let state = self.state(is_self, pace, now);
        let seen = self.seen.map(|seen| now.saturating_duration_since(seen));
        let said = self.said.clone();
        let mut view = NodeView {
            name: name.to_owned(),
            node_id: self.node_id,
            address: self.address.clone(),
            is_self,
            state,
            seen: if is_self { Some(Duration::ZERO) } else { seen },
            applied_version: said.version,
            applied_index: said.log_index,
            term: said.term,
            hash: said.hash,
            ready: said.ready,
            not_ready_because: said.not_ready_because,
            software: said.software,
            started: said.started,
            requests_total: said.requests_total,
            load: said.load,
            troubles: said.troubles,
            hindrances: said.hindrances,
            backends: said.backends,
        };
        if matches!(state, NodeState::Dead | NodeState::Left) {
            view.ready = Some(false);
            view.not_ready_because = Some(state.as_str().to_owned());
            view.started = None;
            view.requests_total = None;
            view.load = None;
        }
        view
    }
}

#[cfg(test)]
#[path = "liveness_tests.rs"]
mod tests;
