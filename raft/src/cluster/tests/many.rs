//! Hundreds of learners behind a few voters.

use std::time::{Duration, Instant};

use super::harness::{Fleet, WITHIN, batch, create, run, until};
use crate::cluster::JoinToken;
use crate::model::Change;

const LEARNERS: usize = 200;
const VOTERS: usize = 5;

/// Nodes that join at the same time.
const AT_ONCE: usize = 25;

/// How long so many nodes may take on a machine of two CPUs.
const PATIENCE: Duration = Duration::from_mins(3);

/// Has nodes of these numbers join, all at the same time.
fn join_together(fleet: &mut Fleet, numbers: &[usize], token: &JoinToken) {
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

/// Changes something at the last of them, and says how long it took until each had it.
fn change_everywhere(fleet: &Fleet, pool: &str) -> Duration {
    let begin = Instant::now();
    let last = fleet.nodes.last().unwrap();
    run(last.cluster.propose(create(pool), "test", PATIENCE)).unwrap();
    until("all to have it", PATIENCE, || {
        fleet.nodes.iter().all(|node| node.has_pool(pool))
    });
    begin.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// `cargo test --release --workspace --lib two_hundred -- --ignored --nocapture`.
#[test]
#[ignore = "205 nodes in one process: with a release, on a machine that has nothing else to do"]
fn two_hundred_learners_join_together_follow_five_voters_and_lose_the_leader() {
    let mut fleet = Fleet::found();
    let token = fleet.token(None);
    for number in 2..=VOTERS {
        fleet.join(&format!("n{number}"), &token).unwrap();
    }
    fleet.wait_for_voters(VOTERS);
    let begin = Instant::now();
    let learners: Vec<usize> = (VOTERS + 1..=VOTERS + LEARNERS).collect();
    for some in learners.chunks(AT_ONCE) {
        join_together(&mut fleet, some, &token);
    }
    println!("{LEARNERS} learners have joined after {:.1?}", begin.elapsed());
    wait_known(&fleet);
    println!("all know all after {:.1?}", begin.elapsed());
    let status = fleet.nodes[0].cluster.status();
    assert_eq!((status.voters.len(), status.learners.len()), (VOTERS, LEARNERS));
    let times = (0..20)
        .map(|n| change_everywhere(&fleet, &format!("p{n}")))
        .collect();
    println!("a change until all have it, median of 20: {:.1?}", median(times));

    // The leader and some learners end at the same moment.
    let leader = fleet.leader();
    for place in [150, 120, 90, 60, 30, leader] {
        fleet.kill(place);
    }
    let begin = Instant::now();
    until("a change to be taken", PATIENCE, || {
        let last = fleet.nodes.last().unwrap();
        run(last.cluster.propose(create("afterwards"), "test", WITHIN)).is_ok()
    });
    println!("a change is taken again after {:.1?}", begin.elapsed());
    until("all to have it", PATIENCE, || {
        fleet.nodes.iter().all(|node| node.has_pool("afterwards"))
    });
    println!(
        "the other {} have it after {:.1?}",
        fleet.nodes.len(),
        begin.elapsed()
    );
    let first = fleet.nodes[0].cluster.feed().latest().state.config.clone();
    for node in &fleet.nodes {
        assert_eq!(node.cluster.feed().latest().state.config, first, "{}", node.name);
    }
}

/// The same with a few, whose changes of the membership get into each other's way.
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
