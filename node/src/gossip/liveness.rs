//! Who is alive, by heartbeats that advance. Pure: it is told the time and what gossip holds.
//!
//! The members are those of the replicated membership; gossip adds what it knows of them, and never a member. Of
//! each name only the highest generation counts, since earlier ones stay in gossip for a while after a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use fleetbal_raft::model::UnixMillis;
use tokio::time::Instant;

use super::keys::{ConfigHash, Said, Trouble};

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
    /// What it could not do of the configuration.
    pub troubles: Vec<Trouble>,
}

impl NodeView {
    /// How long it has been running, its clock compared to ours.
    pub fn uptime(&self, now: UnixMillis) -> Option<Duration> {
        let started = self.started?;
        Some(Duration::from_millis(now.0.saturating_sub(started.0)))
    }
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
            troubles: said.troubles.clone(),
        };
        if matches!(state, NodeState::Dead | NodeState::Left) {
            view.ready = Some(false);
            view.not_ready_because = Some(state.as_str().to_owned());
            view.started = None;
            view.requests_total = None;
        }
        view
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEAD_AFTER: Duration = Duration::from_secs(3);
    const PACE: Pace = Pace {
        alive_within: Duration::from_millis(400),
        dead_after: DEAD_AFTER,
    };

    fn member(node_id: u64, name: &str) -> MemberFacts {
        MemberFacts {
            node_id,
            name: name.to_owned(),
            address: format!("10.0.0.{node_id}:7400"),
        }
    }

    fn heard(generation: u64, heartbeat: u64, live: bool) -> Heard {
        Heard {
            generation,
            heartbeat,
            live,
            said: Said {
                version: Some(heartbeat),
                ready: Some(true),
                requests_total: Some(5),
                ..Said::default()
            },
        }
    }

    fn fleet(now: Instant) -> Directory {
        let mut directory = Directory::new(&member(1, "n1"), PACE, now);
        assert!(directory.set_members(&[member(1, "n1"), member(2, "n2")], now));
        directory
    }

    fn n2(directory: &Directory, now: Instant) -> NodeView {
        let nodes = directory.nodes(now);
        nodes.into_iter().find(|node| node.name == "n2").unwrap()
    }

    fn states(directory: &Directory, now: Instant) -> Vec<(String, NodeState)> {
        let nodes = directory.nodes(now);
        nodes.into_iter().map(|node| (node.name, node.state)).collect()
    }

    #[test]
    fn a_member_never_heard_is_suspect_and_then_dead() {
        let start = Instant::now();
        let mut directory = fleet(start);
        assert!(!directory.set_members(&[member(1, "n1"), member(2, "n2")], start));
        assert_eq!(n2(&directory, start).state, NodeState::Suspect);
        assert_eq!(n2(&directory, start).ready, None);
        let later = start + DEAD_AFTER;
        assert_eq!(n2(&directory, later).state, NodeState::Dead);
        assert_eq!(n2(&directory, later).seen, None);
        let own = directory.nodes(later).remove(0);
        assert_eq!((own.state, own.seen), (NodeState::Alive, Some(Duration::ZERO)));
    }

    #[test]
    fn seen_follows_heartbeats_that_advance() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut directory = fleet(start);
        assert!(directory.heard("n2", heard(1, 10, false), at(1)));
        assert_eq!(n2(&directory, at(1)).seen, None);
        directory.heard("n2", heard(1, 11, true), at(2));
        directory.heard("n2", heard(1, 11, true), at(4));
        assert_eq!(n2(&directory, at(4)).seen, Some(Duration::from_secs(2)));
        assert_eq!(n2(&directory, at(4)).state, NodeState::Alive);
        assert_eq!(n2(&directory, at(4)).requests_total, Some(5));
    }

    #[test]
    fn silence_is_suspect_and_then_dead() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut directory = fleet(start);
        directory.heard("n2", heard(1, 1, true), at(10));
        directory.heard("n2", heard(1, 2, true), at(10));
        directory.heard("n2", heard(1, 2, false), at(11));
        assert_eq!(n2(&directory, at(11)).state, NodeState::Suspect);
        assert_eq!(n2(&directory, at(11)).ready, Some(true));
        let dead = n2(&directory, at(13));
        assert_eq!(dead.state, NodeState::Dead);
        assert_eq!((dead.ready, dead.requests_total), (Some(false), None));
        assert_eq!(dead.applied_version, Some(2));
    }

    #[test]
    fn an_old_generation_says_nothing() {
        let start = Instant::now();
        let mut directory = fleet(start);
        directory.heard("n2", heard(2, 5, true), start);
        assert!(!directory.heard("n2", heard(1, 900, false), start));
        assert_eq!(n2(&directory, start).applied_version, Some(5));
        assert_eq!(n2(&directory, start).seen, None);
    }

    #[test]
    fn gossip_adds_no_member() {
        let start = Instant::now();
        let mut directory = fleet(start);
        assert!(!directory.heard("stranger", heard(1, 1, true), start));
        assert_eq!(directory.nodes(start).len(), 2);
    }

    #[test]
    fn a_removed_member_has_left_for_a_while_and_may_come_back() {
        let start = Instant::now();
        let mut directory = fleet(start);
        assert!(directory.set_members(&[member(1, "n1")], start));
        let left = [
            ("n1".to_owned(), NodeState::Alive),
            ("n2".to_owned(), NodeState::Left),
        ];
        assert_eq!(states(&directory, start), left);
        assert!(directory.set_members(&[member(1, "n1"), member(7, "n2")], start));
        assert_eq!(n2(&directory, start).node_id, 7);
        directory.set_members(&[member(1, "n1")], start);
        assert!(directory.set_members(&[member(1, "n1")], start + LEFT_SHOWN));
        assert_eq!(states(&directory, start), left[..1]);
    }

    #[test]
    fn who_was_just_heard_is_alive_though_gossip_begins_anew() {
        let start = Instant::now();
        let mut directory = fleet(start);
        directory.heard("n2", heard(1, 1, false), start);
        directory.heard("n2", heard(1, 2, false), start);
        assert_eq!(
            n2(&directory, start + PACE.alive_within / 2).state,
            NodeState::Alive
        );
        assert_eq!(
            n2(&directory, start + PACE.alive_within).state,
            NodeState::Suspect
        );
        directory.heard("n2", heard(1, 3, true), start);
        assert!(!directory.only_heard(&BTreeSet::from(["n2".to_owned()])));
        assert_eq!(directory.silent(), BTreeSet::new());
        assert!(directory.only_heard(&BTreeSet::new()));
        assert_eq!(
            n2(&directory, start + PACE.alive_within).state,
            NodeState::Suspect
        );
    }

    #[test]
    fn a_joiner_sees_itself_before_it_is_a_member() {
        let start = Instant::now();
        let mut directory = Directory::new(&member(0, "n1"), PACE, start);
        assert!(!directory.set_members(&[], start));
        assert_eq!(states(&directory, start), [("n1".to_owned(), NodeState::Alive)]);
        assert!(directory.set_members(&[member(3, "n1")], start));
        assert_eq!(directory.nodes(start).remove(0).node_id, 3);
        assert!(directory.set_members(&[], start));
        assert_eq!(states(&directory, start), [("n1".to_owned(), NodeState::Left)]);
    }
}
