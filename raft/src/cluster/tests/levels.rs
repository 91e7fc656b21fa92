//! Two releases in one fleet.

use super::harness::{Fleet, WITHIN, until};
use crate::error::ProposeError;
use crate::model::FEATURE_LEVEL;

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
        let Err(ProposeError::Refused(why)) = node.create("never") else {
            panic!("not refused at {}", node.name);
        };
        assert!(
            why.contains(&format!("{name} has {}", FEATURE_LEVEL - 1)),
            "{why}"
        );
    }
    let place = fleet.nodes.iter().position(|node| node.name == name).unwrap();
    let (name, address) = fleet.kill(place);
    fleet.restart(&name, address);
    known(&fleet, &name, FEATURE_LEVEL);
    fleet.nodes[0].create("after").unwrap();
    assert!(!fleet.nodes[0].has_pool("never"));
}
