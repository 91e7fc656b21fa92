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
