//! Two releases in one fleet, and two clocks.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver as _;

use super::super::Proposed;
use super::harness::{Fleet, Node, WITHIN, batch, clock, run, until};
use crate::error::{JoinError, ProposeError};
use crate::model::{
    Answer, BackendAddress, Batch, Certificate, CertificateName, Change, Command, FEATURE_LEVEL, FleetConfig,
    PoolName, UnixMillis, Version,
};

/// Waits until every node knows what a member can apply.
fn known(fleet: &Fleet, name: &str, level: u32) {
    until("the level to be known", WITHIN * 2, || {
        fleet.nodes.iter().all(|node| {
            let members = node.cluster.status().members;
            let member = members.values().find(|member| member.name == name);
            member.is_some_and(|member| member.feature_level == Some(level))
        })
    });
}

/// A change that the first release does not know.
fn certificate(node: &Node) -> Change {
    let name = CertificateName::parse("www").unwrap();
    let certificate = Arc::new(Certificate {
        chain: vec![b"chain"[..].into()],
        key: node.cluster.seal().seal(&name, b"key").unwrap(),
    });
    Change::PutCertificate { name, certificate }
}

fn add_certificate(node: &Node) -> Result<Proposed, ProposeError> {
    propose(node, batch(certificate(node)))
}

fn propose(node: &Node, command: Command) -> Result<Proposed, ProposeError> {
    run(node.cluster.propose(command, "test", WITHIN))
}

fn expect_refused<T>(outcome: Result<T, ProposeError>, told: &str) {
    match outcome {
        Err(ProposeError::Refused(why)) => assert!(why.contains(told), "{why}"),
        Err(error) => panic!("not refused: {error}"),
        Ok(_) => panic!("not refused"),
    }
}

#[test]
fn what_an_older_member_cannot_apply_is_refused_by_its_name() {
    let mut fleet = Fleet::of_three();
    for name in ["n1", "n2", "n3"] {
        known(&fleet, name, FEATURE_LEVEL);
    }
    fleet.nodes[0].create("before").unwrap();
    let (name, address) = fleet.kill((fleet.leader() + 1) % 3);
    fleet.restart_as(&name, address, FEATURE_LEVEL - 1);
    known(&fleet, &name, FEATURE_LEVEL - 1);
    // At the leader and at a follower, that one itself included.
    for node in &fleet.nodes {
        let Err(ProposeError::Refused(why)) = add_certificate(node) else {
            panic!("not refused at {}", node.name);
        };
        assert!(
            why.contains(&format!("{name} has {}", FEATURE_LEVEL - 1)),
            "{why}"
        );
    }
    // What both releases know goes on.
    fleet.nodes[0].create("meanwhile").unwrap();
    let place = fleet.nodes.iter().position(|node| node.name == name).unwrap();
    let (name, address) = fleet.kill(place);
    fleet.restart(&name, address);
    known(&fleet, &name, FEATURE_LEVEL);
    let proposed = add_certificate(&fleet.nodes[0]).unwrap();
    assert!(matches!(proposed.answer, Answer::Applied(_)), "{proposed:?}");
    // Whoever sealed it, each member can open it.
    let name = CertificateName::parse("www").unwrap();
    for node in &fleet.nodes {
        let config = || node.cluster.feed().latest().state.config.clone();
        until("the certificate", WITHIN, || {
            config().certificate("www").is_some()
        });
        let config = config();
        let key = node
            .cluster
            .seal()
            .open(&name, &config.certificate("www").unwrap().key);
        assert_eq!(key.as_deref(), Ok(&b"key"[..]), "{}", node.name);
    }
}

#[test]
fn a_backup_or_a_rollback_with_what_an_older_member_cannot_apply_is_refused_by_its_name() {
    let mut fleet = Fleet::of_three();
    fleet.nodes[0].create("before").unwrap();
    let (name, address) = fleet.kill((fleet.leader() + 1) % 3);
    fleet.restart_as(&name, address, FEATURE_LEVEL - 1);
    known(&fleet, &name, FEATURE_LEVEL - 1);
    let told = format!("{name} has {}", FEATURE_LEVEL - 1);
    for node in &fleet.nodes {
        let backup = Batch::of(vec![certificate(node)]);
        let backup = Arc::new(FleetConfig::default().with_batch(&backup).unwrap());
        expect_refused(propose(node, batch(Change::Restore(backup))), &told);
        let plain = Arc::clone(&node.cluster.feed().latest().state.config);
        propose(node, batch(Change::Restore(plain))).unwrap();
    }
    // Once the history knows a certificate, a version with it may be gone back to.
    let place = fleet.nodes.iter().position(|node| node.name == name).unwrap();
    let (name, address) = fleet.kill(place);
    fleet.restart(&name, address);
    known(&fleet, &name, FEATURE_LEVEL);
    let added = add_certificate(&fleet.nodes[0]).unwrap().answer;
    let Answer::Applied(Version(version)) = added else {
        panic!("{added:?}");
    };
    let certificate = CertificateName::parse("www").unwrap();
    propose(&fleet.nodes[0], batch(Change::RemoveCertificate(certificate))).unwrap();
    let place = (fleet.leader() + 1) % 3;
    let (name, address) = fleet.kill(place);
    fleet.restart_as(&name, address, FEATURE_LEVEL - 1);
    known(&fleet, &name, FEATURE_LEVEL - 1);
    let back = Command::Rollback {
        to: Version(version),
        if_version: None,
    };
    let told = format!("{name} has {}", FEATURE_LEVEL - 1);
    expect_refused(propose(&fleet.nodes[0], back), &told);
}

#[test]
fn who_is_too_old_for_what_the_fleet_has_cannot_join_it() {
    let mut fleet = Fleet::found();
    let token = fleet.token(None);
    // While there is nothing that it would not understand, it can.
    let older = |fleet: &Fleet, name: &str| {
        fleet.join_with(name, name, &token, |joiner| {
            joiner.feature_level = FEATURE_LEVEL - 1;
        })
    };
    let joined = older(&fleet, "n2").unwrap();
    fleet.nodes.push(joined);
    known(&fleet, "n2", FEATURE_LEVEL - 1);
    let (_, address) = fleet.kill(1);
    fleet.restart("n2", address);
    known(&fleet, "n2", FEATURE_LEVEL);
    add_certificate(&fleet.nodes[0]).unwrap();
    let Err(JoinError::Refused(why)) = older(&fleet, "n3") else {
        panic!("not refused");
    };
    let told = format!("level {FEATURE_LEVEL}, and n3 has {}", FEATURE_LEVEL - 1);
    assert!(why.contains(&told), "{why}");
    fleet.join("n3", &token).unwrap();
}

#[test]
fn who_has_another_time_is_told_both_and_not_taken_up() {
    let mut fleet = Fleet::found();
    let token = fleet.token(Some(1));
    let aside = |fleet: &Fleet, by: Duration| {
        fleet.join_with("n2", "n2", &token, |joiner| {
            let right = clock();
            let by = u64::try_from(by.as_millis()).unwrap();
            joiner.clock = Arc::new(move || UnixMillis(right().0 + by));
        })
    };
    let Err(JoinError::Refused(why)) = aside(&fleet, Duration::from_mins(6)) else {
        panic!("not refused");
    };
    let told =
        why.contains("the clock of n2 says 20") && why.contains("that of n1, which leads the fleet, 20");
    assert!(told, "{why}");
    assert_eq!(fleet.nodes[0].cluster.feed().latest().state.members().len(), 1);
    // The token is not used up, and a small difference is none.
    let joined = aside(&fleet, Duration::from_mins(4)).unwrap();
    fleet.nodes.push(joined);
}

/// Adds a backend and takes it away again, so often that the log is cut behind a snapshot.
fn change_often(node: &Node) {
    const AT_ONCE: usize = 32;
    const EACH: usize = 30;
    let pool = || PoolName::parse("often").unwrap();
    if !node.has_pool("often") {
        node.create("often").unwrap();
    }
    let one = |n: usize| async move {
        let backend = BackendAddress::parse(&format!("10.1.0.{n}:80")).unwrap();
        for _ in 0..EACH {
            let add = Change::PoolAdd {
                pool: pool(),
                backend,
                weight: 1,
            };
            let remove = Change::PoolRemove {
                pool: pool(),
                backend,
            };
            for change in [add, remove] {
                let proposing = node.cluster.propose(batch(change), "test", WITHIN);
                proposing.await.unwrap();
            }
        }
    };
    run(futures::future::join_all((0..AT_ONCE).map(one)));
}

/// The last entry that a node has no more but in a snapshot.
fn purged(node: &Node) -> Option<u64> {
    let purged = node.cluster.0.raft.metrics().borrow_watched().purged;
    purged.map(|id| id.index)
}

#[test]
fn a_member_of_an_older_release_is_told_and_not_sent_a_snapshot_that_it_cannot_apply() {
    let mut fleet = Fleet::of_three();
    for name in ["n1", "n2", "n3"] {
        known(&fleet, name, FEATURE_LEVEL);
    }
    add_certificate(&fleet.nodes[0]).unwrap();
    let (name, address) = fleet.kill((fleet.leader() + 1) % 3);
    fleet.restart_as(&name, address, FEATURE_LEVEL - 1);
    known(&fleet, &name, FEATURE_LEVEL - 1);
    let place = fleet.nodes.iter().position(|node| node.name == name).unwrap();
    let id = fleet.nodes[place].cluster.node_id();
    let last = fleet.nodes[place]
        .cluster
        .0
        .raft
        .metrics()
        .borrow_watched()
        .last_log_index;
    fleet.kill(place);
    while fleet.nodes.iter().any(|node| purged(node) <= last) {
        change_often(&fleet.nodes[0]);
    }
    fleet.restart_as(&name, address, FEATURE_LEVEL - 1);
    until("the leader to see it", WITHIN * 4, || {
        let nodes = fleet.nodes.iter();
        nodes
            .filter(|node| node.name != name)
            .any(|node| node.cluster.0.channels.told_too_old(id) == Some(FEATURE_LEVEL))
    });
    let is_behind = |fleet: &Fleet| !fleet.nodes.last().unwrap().has_pool("often");
    assert!(is_behind(&fleet), "it was sent one");
    fleet.kill(2);
    fleet.restart(&name, address);
    until("all of it", WITHIN * 4, || !is_behind(&fleet));
    let config = Arc::clone(&fleet.nodes.last().unwrap().cluster.feed().latest().state.config);
    assert!(config.certificate("www").is_some());
}
