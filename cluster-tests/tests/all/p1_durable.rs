//! P1: a change that was answered `OK` survives.

use anyhow::ensure;
use fleetbal_cluster_tests::{Fleet, Plan, Result, oracle, wait};

#[test]
fn all_three_killed_at_once_come_back_with_every_change() -> Result {
    let mut fleet = Fleet::start(&Plan {
        pooled: 1,
        ..Plan::default()
    })?;
    // Each through another node, the last one acknowledged right before the lights go out.
    for number in 1..=3 {
        fleet
            .node(number)?
            .manage()?
            .change(&format!("CREATE POOL spare{number}"))?;
    }
    let second = fleet.backend(2)?.address();
    fleet
        .node(2)?
        .manage()?
        .change(&format!("POOL web ADD {second}"))?;
    let (version, before) = (fleet.node(2)?.version()?, fleet.node(2)?.dump()?);
    fleet.kill_together(&[1, 2, 3])?;

    for number in 1..=3 {
        let flags = fleet.node(number)?.flags.clone();
        fleet.launch_only(number, flags)?;
    }
    for number in 1..=3 {
        fleet.wait_answers(number)?;
    }
    fleet.wait_settled()?;
    for number in 1..=3 {
        let node = fleet.node(number)?;
        ensure!(node.version()? == version, "n{number} is at {}", node.version()?);
        ensure!(
            node.dump()? == before,
            "n{number} came back with another configuration"
        );
        fleet.wait_served_by(number, &["b1", "b2"])?;
    }
    let third = fleet.backend(3)?.address();
    fleet
        .node(3)?
        .manage()?
        .change(&format!("POOL web ADD {third}"))?;
    for number in 1..=3 {
        fleet.wait_served_by(number, &["b1", "b2", "b3"])?;
    }
    fleet.passed()
}

#[test]
fn the_config_file_does_not_overwrite_the_fleet_at_the_next_start() -> Result {
    let mut fleet = Fleet::start(&Plan {
        pooled: 1,
        ..Plan::default()
    })?;
    let second = fleet.backend(2)?.address();
    fleet
        .node(1)?
        .manage()?
        .change(&format!("POOL web ADD {second}"))?;
    let version = fleet.node(1)?.version()?;
    ensure!(fleet.terminate(1)? == Some(0), "n1 did not end well");
    fleet.restart(1)?;
    fleet.wait_settled()?;
    ensure!(fleet.node(1)?.version()? == version, "the restart made a version");
    fleet.wait_served_by(1, &["b1", "b2"])?;
    fleet.passed()
}

#[test]
fn a_killed_node_catches_up() -> Result {
    let mut fleet = Fleet::start(&Plan {
        pooled: 1,
        ..Plan::default()
    })?;
    for number in [1, 2, 3] {
        fleet.kill(number)?;
        let other = number % 3 + 1;
        let mut manage = fleet.node(other)?.manage()?;
        wait::for_true("a change without the killed node", wait::PATIENCE, || {
            manage.change(&format!("CREATE POOL while{number}"))?;
            Ok(true)
        })?;
        let backend = fleet.backend(number)?.address();
        if number > 1 {
            manage.change(&format!("POOL web ADD {backend}"))?;
        }
        // Resumed with its bare place: neither --init nor --join is needed any more.
        let flags = fleet.place_flags(number)?;
        fleet.launch(number, flags)?;
        fleet.wait_settled()?;
        let wanted: &[&str] = match number {
            1 => &["b1"],
            2 => &["b1", "b2"],
            _ => &["b1", "b2", "b3"],
        };
        fleet.wait_served_by(number, wanted)?;
    }
    oracle::same_bytes(fleet.nodes())?;
    fleet.passed()
}

/// Long enough away that the log it misses is gone: it gets a snapshot.
#[test]
fn a_node_that_missed_thousands_of_changes_catches_up() -> Result {
    let mut fleet = Fleet::start(&Plan {
        pooled: 1,
        ..Plan::default()
    })?;
    fleet.kill(3)?;
    let third = fleet.backend(3)?.address();
    let mut manage = fleet.node(1)?.manage()?;
    wait::for_true("a change without the killed node", wait::PATIENCE, || {
        manage.change("CREATE POOL busy")?;
        Ok(true)
    })?;
    for round in 0..1_100 {
        let word = if round % 2 == 0 { "ADD" } else { "REMOVE" };
        manage.change(&format!("POOL busy {word} 127.0.0.1:9"))?;
        manage.change(&format!("POOL busy {word} 127.0.0.1:10"))?;
    }
    manage.change(&format!("POOL web ADD {third}"))?;
    fleet.restart(3)?;
    fleet.wait_settled()?;
    fleet.wait_served_by(3, &["b1", "b3"])?;
    oracle::same_bytes([fleet.node(1)?, fleet.node(3)?])?;
    // And it is a full member again: with the other two it outlives the loss of one.
    fleet.kill(1)?;
    wait::for_true("a change by the two", wait::PATIENCE, || {
        fleet.node(3)?.manage()?.change("CREATE POOL after")?;
        Ok(true)
    })?;
    fleet.passed()
}
