use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fleetbal_raft::model::{FleetConfig, FleetId, KeyHash, Version};
use fleetbal_raft::types::ClusterMember;

use super::*;
use crate::gossip::{ConfigHash, Load};

const NOW: UnixMillis = UnixMillis(1_000_000_000);

fn raft() -> RaftStatus {
    let member = |id: u64| ClusterMember {
        name: format!("n{id}"),
        address: format!("10.0.0.{id}:7400"),
        key_hash: KeyHash([7; 32]),
        next_key_hash: None,
        feature_level: None,
    };
    RaftStatus {
        node_id: 1,
        leader: Some(1),
        term: 3,
        commit_index: 60,
        applied_index: 60,
        snapshot_index: 0,
        voters: BTreeSet::from([1, 2, 3]),
        learners: BTreeSet::new(),
        members: (1..=3).map(|id| (id, member(id))).collect(),
        has_quorum: true,
        voters_reachable: 2,
    }
}

fn fleet() -> FleetState {
    let mut fleet = FleetState::default();
    fleet.config = Arc::new(config(42));
    "acme".clone_into(&mut fleet.name);
    fleet.id = FleetId([0xab; 16]);
    fleet
}

fn config(version: u64) -> FleetConfig {
    let mut config = FleetConfig::default();
    config.version = Version(version);
    config
}

fn node(id: u64) -> NodeView {
    NodeView {
        name: format!("n{id}"),
        node_id: id,
        address: format!("10.0.0.{id}:7400"),
        is_self: id == 1,
        state: NodeState::Alive,
        seen: Some(if id == 1 {
            Duration::ZERO
        } else {
            Duration::from_millis(290)
        }),
        applied_version: Some(42),
        applied_index: Some(60),
        term: Some(3),
        hash: Some(ConfigHash::of(&config(42))),
        ready: Some(true),
        not_ready_because: None,
        software: Some("0.1.0".to_owned()),
        started: Some(UnixMillis(NOW.0 - 86_400_999)),
        requests_total: Some(1_234_567),
        load: Some(Load {
            connections: 9,
            in_flight: 3,
            queued: 2,
            cpu_percent: 41,
        }),
        troubles: Vec::new(),
        hindrances: Some(std::collections::BTreeSet::new()),
        backends: std::sync::Arc::default(),
    }
}

fn dead(id: u64) -> NodeView {
    NodeView {
        state: NodeState::Dead,
        seen: Some(Duration::from_secs(312)),
        applied_version: Some(40),
        applied_index: Some(58),
        hash: Some(ConfigHash::of(&config(40))),
        ready: Some(false),
        not_ready_because: Some("dead".to_owned()),
        started: None,
        requests_total: None,
        load: None,
        troubles: Vec::new(),
        hindrances: Some(std::collections::BTreeSet::new()),
        ..node(id)
    }
}

fn never_seen(id: u64) -> NodeView {
    NodeView {
        state: NodeState::Suspect,
        seen: None,
        applied_version: None,
        applied_index: None,
        term: None,
        hash: None,
        ready: None,
        software: None,
        started: None,
        requests_total: None,
        load: None,
        troubles: Vec::new(),
        hindrances: Some(std::collections::BTreeSet::new()),
        ..node(id)
    }
}

fn status(raft: &RaftStatus, nodes: &[NodeView]) -> FleetStatus {
    FleetStatus::assemble(raft, &fleet(), nodes, NOW)
}

/// The text, each hash as the digit it stands for, eight times.
fn text(raft: &RaftStatus, nodes: &[NodeView]) -> String {
    let text = status(raft, nodes).lines().join("\n");
    let text = text.replace(&ConfigHash::of(&config(42)).short(), "42424242");
    text.replace(&ConfigHash::of(&config(40)).short(), "40404040")
}

#[test]
fn a_dead_voter() {
    let expected = "  \
  NODE  ADDRESS        STATE    ROLE     TERM  VERSION  LAG  HASH      READY  SEEN  SOFTWARE  UPTIME  REQUESTS
* n1    10.0.0.1:7400  alive    leader   3     42       0    42424242  yes    0.0   0.1.0     86400   1234567
  n2    10.0.0.2:7400  alive    voter    3     42       0    42424242  yes    0.2   0.1.0     86400   1234567
  n3    10.0.0.3:7400  dead     voter    3     40       2    40404040  no     312   0.1.0     -       -
fleet acme, leader n1, version 42, quorum 2/3, tolerates 0, in sync no";
    assert_eq!(text(&raft(), &[node(1), node(2), dead(3)]), expected);
}

#[test]
fn all_well() {
    let raft = RaftStatus {
        leader: Some(2),
        ..raft()
    };
    let expected = "  \
  NODE  ADDRESS        STATE    ROLE     TERM  VERSION  LAG  HASH      READY  SEEN  SOFTWARE  UPTIME  REQUESTS
* n1    10.0.0.1:7400  alive    voter    3     42       0    42424242  yes    0.0   0.1.0     86400   1234567
  n2    10.0.0.2:7400  alive    leader   3     42       0    42424242  yes    0.2   0.1.0     86400   1234567
  n3    10.0.0.3:7400  alive    voter    3     42       0    42424242  yes    0.2   0.1.0     86400   1234567
fleet acme, leader n2, version 42, quorum 3/3, tolerates 1, in sync yes";
    let nodes = [node(1), node(2), node(3)];
    assert_eq!(text(&raft, &nodes), expected);
    assert!(!status(&raft, &nodes).is_degraded());
}

#[test]
fn no_leader_and_no_quorum() {
    let raft = RaftStatus {
        leader: None,
        has_quorum: false,
        voters_reachable: 1,
        term: 4,
        ..raft()
    };
    let nodes = [node(1), dead(2), dead(3)];
    let lines = text(&raft, &nodes);
    let last = "fleet acme, leader -, version 42, quorum 1/3, tolerates 0, in sync no";
    assert_eq!(lines.lines().last(), Some(last));
    let roles: Vec<_> = lines
        .lines()
        .skip(1)
        .take(3)
        .map(|line| line.split_whitespace().rev().nth(9))
        .collect();
    assert_eq!(roles, [Some("voter"); 3]);
    let status = status(&raft, &nodes);
    assert!(!status.quorum.ok);
    assert!(status.is_degraded());
}

#[test]
fn a_leader_without_a_majority_does_not_lead() {
    let raft = RaftStatus {
        has_quorum: false,
        voters_reachable: 1,
        ..raft()
    };
    let status = status(&raft, &[node(1), dead(2), dead(3)]);
    assert_eq!(
        (status.leader, status.nodes[0].role),
        (None, Some(NodeRole::Voter))
    );
    assert_eq!(status.quorum.reachable, 1);
}

#[test]
fn a_learner_that_was_never_heard_and_one_that_left() {
    let mut raft = raft();
    raft.voters = BTreeSet::from([1]);
    raft.learners = BTreeSet::from([2]);
    raft.voters_reachable = 1;
    raft.members.remove(&3);
    let left = NodeView {
        state: NodeState::Left,
        ..dead(3)
    };
    let expected = "  \
  NODE  ADDRESS        STATE    ROLE     TERM  VERSION  LAG  HASH      READY  SEEN  SOFTWARE  UPTIME  REQUESTS
* n1    10.0.0.1:7400  alive    leader   3     42       0    42424242  yes    0.0   0.1.0     86400   1234567
  n2    10.0.0.2:7400  suspect  learner  -     -        -    -         -      -     -         -       -
  n3    10.0.0.3:7400  left     -        3     40       2    40404040  no     312   0.1.0     -       -
fleet acme, leader n1, version 42, quorum 1/1, tolerates 0, in sync no";
    assert_eq!(text(&raft, &[node(1), never_seen(2), left.clone()]), expected);
    // Who has left does not count.
    let status = status(&raft, &[node(1), left]);
    assert!(status.in_sync);
    assert!(!status.is_degraded());
}

#[test]
fn a_node_of_its_own() {
    let raft = RaftStatus {
        voters: BTreeSet::from([1]),
        members: BTreeMap::new(),
        voters_reachable: 1,
        ..raft()
    };
    let alone = NodeView {
        address: String::new(),
        ..node(1)
    };
    let status = FleetStatus::assemble(&raft, &FleetState::default(), &[alone], NOW);
    let lines = status.lines();
    assert!(
        lines[1].starts_with("* n1    -        alive    leader   3 "),
        "{}",
        lines[1]
    );
    assert_eq!(
        lines[2],
        "fleet -, leader -, version 42, quorum 1/1, tolerates 0, in sync yes"
    );
    assert_eq!((status.cluster, status.id), (None, None));
}

#[test]
fn the_same_version_with_another_hash_is_not_in_sync() {
    let other = NodeView {
        hash: Some(ConfigHash::of(&config(40))),
        ..node(2)
    };
    assert!(!status(&raft(), &[node(1), other]).in_sync);
}

#[test]
fn a_version_that_no_member_balances_by_yet_is_not_in_sync() {
    let mut newer = fleet();
    newer.config = Arc::new(config(43));
    let status = FleetStatus::assemble(&raft(), &newer, &[node(1), node(2)], NOW);
    assert_eq!(status.version, 43);
    assert!(!status.in_sync);
}

#[test]
fn lagging_or_unready_is_degraded() {
    let behind = NodeView {
        applied_index: Some(59),
        ..node(2)
    };
    let draining = NodeView {
        ready: Some(false),
        not_ready_because: Some("draining".to_owned()),
        ..node(2)
    };
    assert!(!status(&raft(), &[node(1), node(2)]).is_degraded());
    assert!(status(&raft(), &[node(1), behind]).is_degraded());
    assert!(status(&raft(), &[node(1), draining]).is_degraded());
}

#[test]
fn seen_has_a_decimal_under_ten_seconds() {
    let shown = |millis| seconds(tenths(Duration::from_millis(millis)));
    assert_eq!([shown(0), shown(249), shown(9_999)], ["0.0", "0.2", "9.9"]);
    assert_eq!(
        [shown(10_000), shown(10_900), shown(312_000)],
        ["10", "10", "312"]
    );
}

#[test]
fn status_as_json() {
    let mut raft = raft();
    raft.members.remove(&3);
    let unready = NodeView {
        ready: Some(false),
        not_ready_because: Some("catching up with the fleet".to_owned()),
        ..never_seen(2)
    };
    let json = status(&raft, &[node(1), unready]).json();
    let json = json.replace(&ConfigHash::of(&config(42)).short(), "42424242");
    let expected = concat!(
        r#"{"cluster":"acme","id":"abababababababababababababababab","self":"n1","leader":"n1","term":3,"version":42,"#,
        r#""quorum":{"voters":3,"reachable":2,"ok":true,"tolerates":0},"in_sync":false,"nodes":["#,
        r#"{"name":"n1","address":"10.0.0.1:7400","state":"alive","role":"leader","term":3,"version":42,"lag":0,"#,
        r#""hash":"42424242","ready":true,"not_ready_because":null,"seen_seconds":0.0,"software":"0.1.0","#,
        r#""uptime_seconds":86400,"requests_total":1234567,"connections":9,"in_flight":3,"queued":2,"cpu_percent":41},"#,
        r#"{"name":"n2","address":"10.0.0.2:7400","state":"suspect","role":"voter","term":null,"version":null,"#,
        r#""lag":null,"hash":null,"ready":false,"not_ready_because":"catching up with the fleet","#,
        r#""seen_seconds":null,"software":null,"uptime_seconds":null,"requests_total":null,"connections":null,"#,
        r#""in_flight":null,"queued":null,"cpu_percent":null}]}"#,
    );
    assert_eq!(json, expected);
}

#[test]
fn load_by_node_and_in_all() {
    let lines = status(&raft(), &[node(1), node(2), dead(3)]).load_lines();
    let expected = [
        "NODE  REQUESTS  CONNECTIONS  IN_FLIGHT  QUEUED  CPU%",
        "n1    1234567   9            3          2       41",
        "n2    1234567   9            3          2       41",
        "n3    -         -            -          -       -",
        "all   2469134   18           6          4       82",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn members_have_no_live_figures() {
    let mut raft = raft();
    raft.voters.remove(&3);
    raft.learners.insert(3);
    let members = MembersStatus::assemble(&raft);
    let expected = [
        "n1  10.0.0.1:7400  voter    1",
        "n2  10.0.0.2:7400  voter    2",
        "n3  10.0.0.3:7400  learner  3",
    ];
    assert_eq!(members.lines(), expected);
    let json = members.json();
    let first =
        r#"{"members":[{"name":"n1","id":1,"address":"10.0.0.1:7400","role":"voter","key_hash":"0707"#;
    assert!(json.starts_with(first), "{json}");
    assert_eq!(json.lines().count(), 1);
}
