//! Keys that are renewed while the fleet works.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::harness::{Fleet, Node, WITHIN, create, run, until};
use crate::error::ProposeError;
use crate::model::{Answer, FEATURE_LEVEL, KeyHash};

/// The key by which every node knows a member, where it is one key and all agree.
fn key_of(fleet: &Fleet, name: &str) -> Option<KeyHash> {
    let known = |node: &Node| {
        let members = node.cluster.status().members;
        let member = members.into_values().find(|member| member.name == name)?;
        (member.next_key_hash.is_none()).then_some(member.key_hash)
    };
    let first = known(&fleet.nodes[0])?;
    let alike = fleet.nodes.iter().all(|node| known(node) == Some(first));
    alike.then_some(first)
}

fn wait_for_another_key(fleet: &Fleet, name: &str, before: KeyHash) {
    until("another key everywhere", Duration::from_secs(20), || {
        key_of(fleet, name).is_some_and(|now| now != before)
    });
}

#[test]
fn keys_are_renewed_and_no_change_fails() {
    let mut fleet = Fleet::of_three();
    let before = ["n1", "n2", "n3"].map(|name| (name, key_of(&fleet, name).unwrap()));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for (lane, node) in fleet.nodes.iter().enumerate() {
            let done = &done;
            scope.spawn(move || {
                for count in 0.. {
                    if done.load(Ordering::Relaxed) {
                        return;
                    }
                    let pool = format!("p{lane}x{count}");
                    let proposed = run(node.cluster.propose(create(&pool), "test", WITHIN));
                    let proposed = proposed.unwrap_or_else(|error| panic!("{pool}: {error}"));
                    assert!(matches!(proposed.answer, Answer::Applied(_)), "{proposed:?}");
                }
            });
        }
        // All of them at once, the leader too.
        let renewals: Vec<_> = fleet
            .nodes
            .iter()
            .map(|node| scope.spawn(|| run(node.cluster.rekey(Duration::from_secs(20)))))
            .collect();
        for renewal in renewals {
            let outcome = renewal.join().unwrap();
            done.store(outcome.is_err(), Ordering::Relaxed);
            outcome.unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    for (name, before) in before {
        wait_for_another_key(&fleet, name, before);
    }
    // All restart, and know each other.
    let killed: Vec<_> = (0..3).rev().map(|place| fleet.kill(place)).collect();
    for (name, address) in &killed {
        fleet.restart(name, *address);
    }
    for node in &fleet.nodes {
        node.create(&format!("after_{}", node.name)).unwrap();
    }
}

#[test]
fn a_member_that_is_away_is_waited_for() {
    let mut fleet = Fleet::of_three();
    let leader = fleet.leader();
    let before = key_of(&fleet, "n1").unwrap();
    let away = (0..3)
        .find(|place| *place != leader && fleet.nodes[*place].name != "n1")
        .unwrap();
    let (name, address) = fleet.kill(away);
    let first = fleet.nodes.iter().find(|node| node.name == "n1").unwrap();
    let Err(ProposeError::Refused(why)) = run(first.cluster.rekey(Duration::from_secs(3))) else {
        panic!("not refused");
    };
    assert!(why.contains(&name), "{why}");
    fleet.nodes[0].create("meanwhile").unwrap();
    fleet.restart(&name, address);
    wait_for_another_key(&fleet, "n1", before);
    fleet.nodes[2].create("afterwards").unwrap();
}

#[test]
fn a_key_that_is_old_is_renewed_by_itself() {
    let mut fleet = Fleet::of_three();
    let before = key_of(&fleet, "n2").unwrap();
    let place = fleet.nodes.iter().position(|node| node.name == "n2").unwrap();
    let (name, address) = fleet.kill(place);
    fleet.restart_with(&name, address, FEATURE_LEVEL, Duration::from_secs(1));
    wait_for_another_key(&fleet, "n2", before);
    fleet.nodes[2].create("afterwards").unwrap();
}

#[test]
fn a_member_that_does_not_know_how_is_named() {
    let mut fleet = Fleet::of_three();
    let place = (fleet.leader() + 1) % 3;
    let (name, address) = fleet.kill(place);
    fleet.restart_as(&name, address, 1);
    until("its level to be known", WITHIN * 2, || {
        let members = fleet.nodes[0].cluster.status().members;
        let member = members.values().find(|member| member.name == name);
        member.is_some_and(|member| member.feature_level == Some(1))
    });
    let Err(ProposeError::Refused(why)) = run(fleet.nodes[0].cluster.rekey(WITHIN)) else {
        panic!("not refused");
    };
    assert!(why.contains(&format!("{name} has 1")), "{why}");
}
