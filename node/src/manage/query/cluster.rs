//! `cluster status` and `cluster members`: the fleet at a glance, from what this node knows.
//!
//! Nothing here asks another node, so that the answer comes in full without a leader and without a quorum.

use std::time::Duration;

use fleetbal_raft::cluster::RaftStatus;
use fleetbal_raft::model::{FleetState, UnixMillis};
use fleetbal_raft::types::{ClusterMember, NodeId};
use serde::Serialize;

use crate::gossip::{NodeState, NodeView};

/// What a column shows where nothing is known.
const UNKNOWN: &str = "-";

const COLUMNS: [&str; 13] = [
    "NODE", "ADDRESS", "STATE", "ROLE", "TERM", "VERSION", "LAG", "HASH", "READY", "SEEN", "SOFTWARE",
    "UPTIME", "REQUESTS",
];

const LOAD_COLUMNS: [&str; 6] = ["NODE", "REQUESTS", "CONNECTIONS", "IN_FLIGHT", "QUEUED", "CPU%"];

/// Wide enough for any state or role, so that the columns stay where they are while a node comes and goes.
const WORD_WIDTH: usize = "suspect".len();
const STATE_COLUMN: usize = 2;
const ROLE_COLUMN: usize = 3;

/// What a node is to Raft.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeRole {
    /// It leads.
    Leader,
    /// It votes.
    Voter,
    /// It gets every change, and has no vote.
    Learner,
}

impl NodeRole {
    /// As `cluster status` prints it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Voter => "voter",
            Self::Learner => "learner",
        }
    }
}

/// Who can decide.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct QuorumStatus {
    /// How many voters there are.
    pub voters: usize,
    /// How many of them this node takes for reachable, itself included.
    pub reachable: usize,
    /// Whether a change can be committed.
    pub ok: bool,
    /// How many more voters may fail.
    pub tolerates: usize,
}

/// One line of `cluster status`. What is none is not known.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// Its cluster port.
    pub address: Option<String>,
    /// `alive`, `suspect`, `dead` or `left`.
    pub state: &'static str,
    /// None once it has left.
    pub role: Option<NodeRole>,
    /// The Raft term it is in.
    pub term: Option<u64>,
    /// The version it balances by.
    pub version: Option<u64>,
    /// How many committed log entries it has still to apply.
    pub lag: Option<u64>,
    /// The first eight hex digits of its configuration's hash.
    pub hash: Option<String>,
    /// Whether it should get traffic.
    pub ready: Option<bool>,
    /// Why not.
    pub not_ready_because: Option<String>,
    /// Seconds since it was last heard of.
    pub seen_seconds: Option<f64>,
    /// Its release.
    pub software: Option<String>,
    /// Seconds since its start.
    pub uptime_seconds: Option<u64>,
    /// Requests since its start.
    pub requests_total: Option<u64>,
    /// Client connections that are open.
    pub connections: Option<u64>,
    /// Requests that are being served.
    pub in_flight: Option<u64>,
    /// Those of them that wait for a backend.
    pub queued: Option<u64>,
    /// Per cent of one CPU that it takes.
    pub cpu_percent: Option<u64>,
}

/// The fleet at a glance; as JSON its fields are those of `cluster status json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FleetStatus {
    /// The fleet's name.
    pub cluster: Option<String>,
    /// Its id, in hex.
    pub id: Option<String>,
    /// The name of the node that answers.
    #[serde(rename = "self")]
    pub own_name: String,
    /// The leader's name.
    pub leader: Option<String>,
    /// This node's Raft term.
    pub term: u64,
    /// The highest version any node is known to have.
    pub version: u64,
    /// Who can decide.
    pub quorum: QuorumStatus,
    /// Whether every member is alive and balances by `version`, with the same configuration.
    pub in_sync: bool,
    /// By name.
    pub nodes: Vec<NodeStatus>,
}

impl FleetStatus {
    /// Puts together what Raft and gossip know.
    pub fn assemble(raft: &RaftStatus, fleet: &FleetState, nodes: &[NodeView], now: UnixMillis) -> Self {
        let own = nodes.iter().find(|node| node.is_self);
        let leader = leader(raft).and_then(|id| raft.members.get(&id));
        let version = highest_version(fleet, nodes);
        Self {
            cluster: Some(fleet.name.clone()).filter(|name| !name.is_empty()),
            id: Some(fleet.id.to_string()).filter(|_| !fleet.name.is_empty()),
            own_name: own.map(|own| own.name.clone()).unwrap_or_default(),
            leader: leader.map(|leader| leader.name.clone()),
            term: raft.term,
            version,
            quorum: quorum(raft, nodes),
            in_sync: in_sync(version, nodes),
            nodes: nodes.iter().map(|node| node_status(raft, node, now)).collect(),
        }
    }

    /// Whether a member is away, lags or is not ready, or quorum is lost.
    pub fn is_degraded(&self) -> bool {
        let away = |node: &NodeStatus| {
            node.role.is_some()
                && (node.state != NodeState::Alive.as_str()
                    || node.lag != Some(0)
                    || node.ready != Some(true))
        };
        !self.quorum.ok || self.nodes.iter().any(away)
    }

    /// `cluster status`: header, a line a node, summary; the line `.` is the protocol's.
    pub fn lines(&self) -> Vec<String> {
        let mut rows = vec![COLUMNS.map(str::to_owned).to_vec()];
        rows.extend(self.nodes.iter().map(NodeStatus::cells));
        let mut lines = aligned(&rows, &[(STATE_COLUMN, WORD_WIDTH), (ROLE_COLUMN, WORD_WIDTH)]);
        let own = self.nodes.iter().position(|node| node.name == self.own_name);
        for (index, line) in lines.iter_mut().enumerate() {
            let mark = if index.checked_sub(1).is_some_and(|row| Some(row) == own) {
                "* "
            } else {
                "  "
            };
            line.insert_str(0, mark);
        }
        lines.push(self.summary());
        lines
    }

    fn summary(&self) -> String {
        format!(
            "fleet {}, leader {}, version {}, quorum {}/{}, tolerates {}, in sync {}",
            self.cluster.as_deref().unwrap_or(UNKNOWN),
            self.leader.as_deref().unwrap_or(UNKNOWN),
            self.version,
            self.quorum.reachable,
            self.quorum.voters,
            self.quorum.tolerates,
            yes_no(self.in_sync),
        )
    }

    /// `cluster load`: what each node has to do, and all of them together.
    pub fn load_lines(&self) -> Vec<String> {
        let mut rows = vec![LOAD_COLUMNS.map(str::to_owned).to_vec()];
        rows.extend(self.nodes.iter().map(|node| {
            let mut row = vec![node.name.clone()];
            row.extend(node.figures().map(known));
            row
        }));
        let all = self.nodes.iter().map(NodeStatus::figures);
        let sum = all.fold([0; 5], |sum, figures| {
            let mut both = sum.iter().zip(figures);
            [(); 5].map(|()| both.next().map_or(0, |(sum, figure)| sum + figure.unwrap_or(0)))
        });
        let mut last = vec!["all".to_owned()];
        last.extend(sum.map(|figure| figure.to_string()));
        rows.push(last);
        aligned(&rows, &[])
    }

    /// `cluster status json`: one line.
    pub fn json(&self) -> String {
        json_line(self)
    }
}

impl NodeStatus {
    fn figures(&self) -> [Option<u64>; 5] {
        [
            self.requests_total,
            self.connections,
            self.in_flight,
            self.queued,
            self.cpu_percent,
        ]
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            known(self.address.as_ref()),
            self.state.to_owned(),
            known(self.role.map(NodeRole::as_str)),
            known(self.term),
            known(self.version),
            known(self.lag),
            known(self.hash.as_ref()),
            known(self.ready.map(yes_no)),
            known(self.seen_seconds.map(seconds)),
            known(self.software.as_ref()),
            known(self.uptime_seconds),
            known(self.requests_total),
        ]
    }
}

/// One line of `cluster members`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemberStatus {
    /// Its name.
    pub name: String,
    /// Its Raft id.
    pub id: u64,
    /// Its cluster port.
    pub address: String,
    /// `voter` or `learner`; who leads is a live figure.
    pub role: NodeRole,
    /// SHA-256 of its public key, in hex.
    pub key_hash: String,
}

/// The replicated membership; as JSON it is `cluster members json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MembersStatus {
    /// By name.
    pub members: Vec<MemberStatus>,
}

impl MembersStatus {
    /// From what Raft knows.
    pub fn assemble(raft: &RaftStatus) -> Self {
        let member = |(id, member): (&u64, &ClusterMember)| MemberStatus {
            name: member.name.clone(),
            id: *id,
            address: member.address.clone(),
            role: if raft.voters.contains(id) {
                NodeRole::Voter
            } else {
                NodeRole::Learner
            },
            key_hash: member.key_hash.to_string(),
        };
        let mut members: Vec<_> = raft.members.iter().map(member).collect();
        members.sort_by(|a, b| a.name.cmp(&b.name));
        Self { members }
    }

    /// `cluster members`: a line a member, `NAME ADDRESS ROLE ID`, aligned.
    pub fn lines(&self) -> Vec<String> {
        let cells = |member: &MemberStatus| {
            let address = Some(member.address.as_str()).filter(|address| !address.is_empty());
            vec![
                member.name.clone(),
                known(address),
                member.role.as_str().to_owned(),
                member.id.to_string(),
            ]
        };
        let rows: Vec<_> = self.members.iter().map(cells).collect();
        aligned(&rows, &[])
    }

    /// `cluster members json`: one line.
    pub fn json(&self) -> String {
        json_line(self)
    }
}

fn node_status(raft: &RaftStatus, node: &NodeView, now: UnixMillis) -> NodeStatus {
    let applied = if node.is_self {
        Some(raft.applied_index)
    } else {
        node.applied_index
    };
    NodeStatus {
        name: node.name.clone(),
        address: Some(node.address.clone()).filter(|address| !address.is_empty()),
        state: node.state.as_str(),
        role: role(raft, node),
        term: if node.is_self { Some(raft.term) } else { node.term },
        version: node.applied_version,
        lag: applied.map(|applied| raft.commit_index.saturating_sub(applied)),
        hash: node.hash.map(|hash| hash.short()),
        ready: node.ready,
        not_ready_because: node.not_ready_because.clone(),
        seen_seconds: node.seen.map(tenths),
        software: node.software.clone(),
        uptime_seconds: node.uptime(now).map(|uptime| uptime.as_secs()),
        requests_total: node.requests_total,
        connections: node.load.map(|load| load.connections),
        in_flight: node.load.map(|load| load.in_flight),
        queued: node.load.map(|load| load.queued),
        cpu_percent: node.load.map(|load| load.cpu_percent),
    }
}

/// A leader whom no majority acknowledges cannot lead.
fn leader(raft: &RaftStatus) -> Option<NodeId> {
    raft.leader.filter(|_| raft.has_quorum)
}

fn role(raft: &RaftStatus, node: &NodeView) -> Option<NodeRole> {
    if node.state == NodeState::Left {
        None
    } else if leader(raft) == Some(node.node_id) {
        Some(NodeRole::Leader)
    } else if raft.voters.contains(&node.node_id) {
        Some(NodeRole::Voter)
    } else {
        Some(NodeRole::Learner)
    }
}

fn highest_version(fleet: &FleetState, nodes: &[NodeView]) -> u64 {
    let said = nodes.iter().filter_map(|node| node.applied_version);
    said.fold(fleet.config.version.0, u64::max)
}

/// The leader counts who acknowledges it; any other node goes by gossip.
fn quorum(raft: &RaftStatus, nodes: &[NodeView]) -> QuorumStatus {
    let voters = raft.voters.len();
    let reachable = if raft.leader == Some(raft.node_id) {
        raft.voters_reachable as usize
    } else {
        let alive = |node: &&NodeView| node.state == NodeState::Alive && raft.voters.contains(&node.node_id);
        nodes.iter().filter(alive).count()
    };
    let majority = voters / 2 + 1;
    QuorumStatus {
        voters,
        reachable,
        ok: raft.has_quorum,
        tolerates: reachable.saturating_sub(majority),
    }
}

/// Whether all members live by the newest version that this node has heard of. What a node has just applied itself is
/// heard of before it balances by it: until then, and until the others have followed, they are not in sync.
fn in_sync(version: u64, nodes: &[NodeView]) -> bool {
    let mut members = nodes.iter().filter(|node| node.state != NodeState::Left);
    let Some(first) = members.next() else {
        return false;
    };
    let there = |node: &NodeView| {
        node.state == NodeState::Alive && node.applied_version == Some(version) && node.hash.is_some()
    };
    there(first) && members.all(|node| there(node) && node.hash == first.hash)
}

/// Seconds to the tenth, which is what heartbeats can tell.
fn tenths(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10.0).floor() / 10.0
}

/// One decimal under ten seconds, whole ones above.
fn seconds(seconds: f64) -> String {
    if seconds < 10.0 {
        format!("{seconds:.1}")
    } else {
        format!("{:.0}", seconds.floor())
    }
}

fn yes_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

fn known<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), |value| value.to_string())
}

/// Columns two blanks apart, each as wide as its widest cell or its given least width; no blank at the end.
pub(super) fn aligned(rows: &[Vec<String>], least: &[(usize, usize)]) -> Vec<String> {
    let width = |column: usize| {
        let widest = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(String::len)
            .max();
        let least = least
            .iter()
            .find(|(at, _)| *at == column)
            .map(|(_, width)| *width);
        widest.max(least).unwrap_or_default()
    };
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// One line; these structs have text keys and finite numbers only, so there is nothing that could fail.
pub(super) fn json_line<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
#[path = "cluster_tests.rs"]
mod tests;
