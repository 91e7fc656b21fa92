//! P6: a node balances with its last configuration, whatever became of the others.

use anyhow::ensure;
use fleetbal_cluster_tests::{Fleet, Plan, Result};

#[test]
fn a_node_that_starts_alone_balances_with_what_it_knew_last() -> Result {
    let mut fleet = Fleet::start(&Plan {
        pooled: 1,
        ..Plan::default()
    })?;
    let second = fleet.backend(2)?.address();
    fleet
        .node(1)?
        .manage()?
        .change(&format!("POOL web ADD {second}"))?;
    fleet.node(1)?.manage()?.change("barrier 10")?;
    let before = fleet.node(2)?.dump()?;
    fleet.kill_together(&[1, 2, 3])?;
    fleet.restart(2)?;
    fleet.wait_served_by(2, &["b1", "b2"])?;
    ensure!(fleet.node(2)?.dump()? == before, "it knew something else last");
    let status = fleet.node(2)?.status()?;
    ensure!(status.leader().is_none(), "it sees a leader: {}", status.json);
    ensure!(status.quorum("reachable")? == 1, "{}", status.json);
    let text = fleet.node(2)?.manage()?.refused("CREATE POOL never")?;
    ensure!(
        text == "no quorum (1 of 3 voters reachable); nothing was changed",
        "refused with '{text}'"
    );
    fleet.passed()
}

#[test]
fn a_dead_backend_costs_no_request_that_another_can_answer() -> Result {
    let mut fleet = Fleet::of_three()?;
    fleet.backend(2)?.stop();
    for number in 1..=3 {
        for _ in 0..30 {
            let answer = fleet.node(number)?.get("/anyone")?;
            ensure!(answer.status()? == 200, "n{number} answered '{}'", answer.start);
            ensure!(answer.text() != "b2", "the dead answered");
        }
    }
    fleet.backend(2)?.restart()?;
    for number in 1..=3 {
        fleet.wait_served_by(number, &["b1", "b2", "b3"])?;
    }
    fleet.passed()
}

#[test]
fn without_any_backend_the_answer_is_503_and_not_silence() -> Result {
    let mut fleet = Fleet::start(&Plan {
        nodes: 1,
        backends: 1,
        pooled: 1,
        ..Plan::default()
    })?;
    fleet.backend(1)?.stop();
    let answer = fleet.node(1)?.get("/nobody")?;
    ensure!(answer.status()? == 503, "answered '{}'", answer.start);
    fleet.backend(1)?.restart()?;
    fleet.wait_served_by(1, &["b1"])?;
    fleet.passed()
}
