//! P5: no quorum, no lie.

use std::time::{Duration, Instant};

use anyhow::ensure;
use fleetbal_cluster_tests::{Fleet, Load, Plan, Result, wait};

#[test]
fn with_two_nodes_down_traffic_goes_on_and_a_change_is_refused_within_5_s() -> Result {
    let mut fleet = Fleet::start(&Plan {
        pooled: 2,
        ..Plan::default()
    })?;
    // Once with the leader as the one that is left, once with a follower.
    for keep_leader in [true, false] {
        let leader = fleet.leader()?;
        let left = if keep_leader { leader } else { leader % 3 + 1 };
        let gone: Vec<_> = (1..=3).filter(|&number| number != left).collect();
        let before = fleet.node(left)?.dump()?;
        let load = Load::start(fleet.node(left)?.traffic(), 4)?;
        fleet.kill_together(&gone)?;
        refuses_and_reads(&fleet, left, &before)?;
        load.pass(100)?;
        load.finish().expect_flawless()?;
        for &number in &gone {
            let flags = fleet.node(number)?.flags.clone();
            fleet.launch_only(number, flags)?;
        }
        for &number in &gone {
            fleet.wait_answers(number)?;
        }
        fleet.wait_settled()?;
        // What was refused never happens, also not later.
        for node in fleet.nodes() {
            ensure!(node.dump()? == before, "{} changed its configuration", node.name);
        }
    }
    fleet.passed()
}

fn refuses_and_reads(fleet: &Fleet, left: usize, before: &str) -> Result {
    let node = fleet.node(left)?;
    let mut manage = node.manage()?;
    // The quorum's loss has to be noticed before a refusal can be certain of itself; what is typed earlier may end
    // in `outcome unknown`. `cluster status` says when it was.
    wait::for_true("the loss to be seen", wait::PATIENCE, || {
        Ok(node.status()?.quorum("reachable")? == 1)
    })?;
    let start = Instant::now();
    let text = manage.refused("CREATE POOL never")?;
    let took = start.elapsed();
    ensure!(took < Duration::from_millis(5_500), "the refusal took {took:?}");
    ensure!(
        text == "no quorum (1 of 3 voters reachable); nothing was changed",
        "refused with '{text}'"
    );
    // Reads answer from the node itself, at once.
    for line in [
        "show service",
        "show pool web",
        "cluster status",
        "dumpconfig",
        "uptime",
    ] {
        let start = Instant::now();
        let lines = manage.data(line)?;
        ensure!(!lines.is_empty(), "'{line}' said nothing");
        ensure!(
            start.elapsed() < Duration::from_secs(1),
            "'{line}' took {:?}",
            start.elapsed()
        );
    }
    ensure!(node.dump()? == before, "a refused change changed something");
    fleet.wait_served_by(left, &["b1", "b2"])
}

#[test]
fn with_one_node_down_changes_go_on() -> Result {
    let mut fleet = Fleet::start(&Plan {
        pooled: 1,
        ..Plan::default()
    })?;
    let follower = fleet.followers()?[0];
    fleet.kill(follower)?;
    let second = fleet.backend(2)?.address();
    for number in fleet.running() {
        let mut manage = fleet.node(number)?.manage()?;
        manage.change(&format!("POOL web ADD {second}"))?;
        manage.change(&format!("POOL web REMOVE {second}"))?;
    }
    wait::for_true("the loss to be seen by all", wait::PATIENCE, || {
        for number in fleet.running() {
            let status = fleet.node(number)?.status()?;
            let state = status.node_text(&format!("n{follower}"), "state")?.to_owned();
            ensure!(state == "dead", "n{number} sees it as {state}");
            ensure!(status.quorum("reachable")? == 2, "{}", status.json);
            ensure!(status.quorum("tolerates")? == 0, "{}", status.json);
        }
        Ok(true)
    })?;
    fleet.passed()
}

/// A leader that was frozen, not killed, must not answer with what is no longer true.
#[test]
fn a_frozen_leader_wakes_up_as_a_follower() -> Result {
    let mut fleet = Fleet::start(&Plan {
        pooled: 1,
        ..Plan::default()
    })?;
    let leader = fleet.leader()?;
    let other = leader % 3 + 1;
    fleet.freeze(leader)?;
    let mut manage = fleet.node(other)?.manage()?;
    wait::for_true("a change by the others", wait::PATIENCE, || {
        manage.change("CREATE POOL meanwhile")?;
        Ok(true)
    })?;
    fleet.thaw(leader)?;
    let mut back = fleet.node(leader)?.manage()?;
    let text = wait::until("the change to be refused as done", wait::PATIENCE, || {
        let text = back.refused("CREATE POOL meanwhile")?;
        Ok((!text.starts_with("no quorum")).then_some(text))
    })?;
    ensure!(text == "pool 'meanwhile' already exists", "refused with '{text}'");
    fleet.wait_settled()?;
    fleet.passed()
}
