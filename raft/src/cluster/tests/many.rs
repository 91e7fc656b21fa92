//! Many that join at the same time.

use std::time::Duration;

use super::harness::{Fleet, WITHIN, batch, create, run, until};
use crate::cluster::JoinToken;
use crate::model::Change;

pub(super) const VOTERS: usize = 5;

/// How long so many nodes may take on a small machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// Has nodes of these numbers join, all at the same time.
pub(super) fn join_together(fleet: &mut Fleet, numbers: &[usize], token: &JoinToken) {
    let one = |number: &usize| {
        let name = format!("n{number}");
        fleet.join_with(&name, &name, token, |_| {}).unwrap()
    };
    let joined: Vec<_> = std::thread::scope(|scope| {
        let joining: Vec<_> = numbers
            .iter()
            .map(|number| {
                let one = &one;
                scope.spawn(move || one(number))
            })
            .collect();
        joining.into_iter().map(|one| one.join().unwrap()).collect()
    });
    fleet.nodes.extend(joined);
}

/// Waits until every node knows all members, with what each can apply.
fn wait_known(fleet: &Fleet) {
    let all = fleet.nodes.len();
    until("all to know all", PATIENCE, || {
        fleet.nodes.iter().all(|node| {
            let members = node.cluster.status().members;
            members.len() == all && members.values().all(|member| member.feature_level.is_some())
        })
    });
}

/// Changes something at the last of them, and waits until each has it.
fn change_everywhere(fleet: &Fleet, pool: &str) {
    let last = fleet.nodes.last().unwrap();
    run(last.cluster.propose(create(pool), "test", PATIENCE)).unwrap();
    until("all to have it", PATIENCE, || {
        fleet.nodes.iter().all(|node| node.has_pool(pool))
    });
}

/// Their changes of the membership get into each other's way.
#[test]
fn those_who_join_together_are_all_taken_up() {
    let mut fleet = Fleet::found();
    let token = fleet.token(None);
    join_together(&mut fleet, &[2, 3, 4, 5, 6, 7, 8, 9], &token);
    wait_known(&fleet);
    fleet.wait_for_voters(VOTERS);
    change_everywhere(&fleet, "all");
    // From the most that vote to the fewest that survive a loss.
    for voters in [7, 3] {
        let set = batch(Change::SetVoters(u32::try_from(voters).unwrap()));
        run(fleet.nodes[0].cluster.propose(set, "test", WITHIN)).unwrap();
        fleet.wait_for_voters(voters);
        change_everywhere(&fleet, &format!("with{voters}"));
    }
}
