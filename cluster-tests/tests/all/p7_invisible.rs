//! P7: no change of configuration, leader or membership is seen by a client.

use std::time::{Duration, Instant};

use anyhow::ensure;
use fleetbal_cluster_tests::{Fleet, Load, Plan, Result, wait};

/// Nothing that the control plane does may delay a request this long.
const NOTICED: Duration = Duration::from_millis(1_500);

fn check(loads: Vec<Load>) -> Result {
    for load in loads {
        load.pass(50)?;
        let report = load.finish();
        report.expect_flawless()?;
        ensure!(report.slowest < NOTICED, "a request took {:?}", report.slowest);
    }
    Ok(())
}

#[test]
fn kill_9_of_the_leader_under_load_fails_no_request_and_commands_go_on_within_2_s() -> Result {
    let mut fleet = Fleet::start(&Plan {
        pooled: 2,
        ..Plan::default()
    })?;
    let third = fleet.backend(3)?.address();
    for round in 0..3 {
        let leader = fleet.leader()?;
        let others = fleet.followers()?;
        let mut loads = Vec::new();
        for &number in &others {
            loads.push(Load::start(fleet.node(number)?.traffic(), 4)?);
        }
        let word = if round % 2 == 0 { "ADD" } else { "REMOVE" };
        let line = format!("POOL web {word} {third}");
        fleet.kill(leader)?;
        let killed = Instant::now();
        let mut manage = fleet.node(others[round % 2])?.manage()?;
        manage.change(&line)?;
        let took = killed.elapsed();
        ensure!(
            took < Duration::from_secs(2),
            "a change was accepted only after {took:?}"
        );
        check(loads)?;
        fleet.restart(leader)?;
        fleet.wait_settled()?;
    }
    fleet.wait_served_by(1, &["b1", "b2", "b3"])?;
    fleet.passed()
}

#[test]
fn changes_under_load_fail_no_request() -> Result {
    let mut fleet = Fleet::start(&Plan {
        pooled: 2,
        ..Plan::default()
    })?;
    let (second, third) = (fleet.backend(2)?.address(), fleet.backend(3)?.address());
    let mut loads = Vec::new();
    for node in fleet.nodes() {
        loads.push(Load::start(node.traffic(), 3)?);
    }
    for round in 0..20 {
        let mut manage = fleet.node(round % 3 + 1)?.manage()?;
        manage.change(&format!("POOL web ADD {third}"))?;
        manage.change(&format!("POOL web REMOVE {second}"))?;
        manage.change(&format!("POOL web ADD {second}"))?;
        manage.change(&format!("POOL web REMOVE {third}"))?;
        manage.change(&format!("SET www.idle_timeout = {}", 20 + round))?;
        for load in &loads {
            load.pass(10)?;
        }
    }
    check(loads)?;
    fleet.passed()
}

#[test]
fn what_is_in_flight_ends_by_the_rules_it_began_with() -> Result {
    let mut fleet = Fleet::start(&Plan {
        pooled: 1,
        ..Plan::default()
    })?;
    let (first, second) = (fleet.backend(1)?.address(), fleet.backend(2)?.address());
    let at = fleet.node(2)?.traffic();
    let before = fleet.backend(1)?.count();
    let slow = std::thread::spawn(move || fleetbal_cluster_tests::client::get(at, "/slow/1500"));
    let backend = fleet.backend(1)?;
    wait::for_true("the slow request to be under way", wait::PATIENCE, || {
        Ok(backend.count() > before)
    })?;
    let mut manage = fleet.node(1)?.manage()?;
    manage.change(&format!("POOL web ADD {second}"))?;
    manage.change(&format!("POOL web REMOVE {first}"))?;
    manage.change("DISABLE www")?;
    manage.change("barrier 10")?;
    ensure!(
        !slow.is_finished(),
        "the slow request was over too early to tell anything"
    );
    let answer = slow
        .join()
        .map_err(|_| anyhow::anyhow!("the client panicked"))??;
    ensure!(
        answer.status()? == 200 && answer.text() == "b1",
        "answered {answer:?}"
    );
    fleet.passed()
}

#[test]
fn term_lets_what_is_in_flight_finish() -> Result {
    let mut fleet = Fleet::start(&Plan {
        pooled: 1,
        ..Plan::default()
    })?;
    let leader = fleet.leader()?;
    let at = fleet.node(leader)?.traffic();
    let before = fleet.backend(1)?.count();
    let slow = std::thread::spawn(move || fleetbal_cluster_tests::client::get(at, "/slow/1000"));
    let backend = fleet.backend(1)?;
    wait::for_true("the slow request to be under way", wait::PATIENCE, || {
        Ok(backend.count() > before)
    })?;
    let code = fleet.terminate(leader)?;
    ensure!(code == Some(0), "it ended with {code:?}");
    let answer = slow
        .join()
        .map_err(|_| anyhow::anyhow!("the client panicked"))??;
    ensure!(
        answer.status()? == 200 && answer.text() == "b1",
        "answered {answer:?}"
    );
    // The leadership was handed over, not lost.
    let start = Instant::now();
    fleet
        .node(leader % 3 + 1)?
        .manage()?
        .change("CREATE POOL after")?;
    ensure!(
        start.elapsed() < Duration::from_secs(2),
        "it took {:?}",
        start.elapsed()
    );
    fleet.passed()
}

#[test]
fn a_node_that_joins_under_load_is_not_noticed() -> Result {
    let mut fleet = Fleet::of_three()?;
    let mut loads = Vec::new();
    for node in fleet.nodes() {
        loads.push(Load::start(node.traffic(), 3)?);
    }
    let number = fleet.add_place()?;
    let token = fleet.token("")?;
    fleet.join(number, &token)?;
    wait::for_true("the newcomer to be ready", wait::PATIENCE, || {
        fleet.node(number)?.ready()
    })?;
    check(loads)?;
    fleet.passed()
}
