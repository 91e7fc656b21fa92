//! Founding and joining.

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::{Fleet, Plan, Result, wait};

#[test]
fn three_nodes_found_a_fleet_and_carry_traffic() -> Result {
    let fleet = Fleet::of_three()?;
    for number in 1..=3 {
        let status = fleet.node(number)?.status()?;
        let roles = status.roles()?;
        ensure!(
            roles.get("leader") == Some(&1) && roles.get("voter") == Some(&2),
            "n{number} sees {roles:?}"
        );
        ensure!(status.quorum("voters")? == 3, "n{number}: {}", status.json);
        ensure!(status.quorum("reachable")? == 3, "n{number}: {}", status.json);
        ensure!(status.quorum("tolerates")? == 1, "n{number}: {}", status.json);
        fleet.wait_served_by(number, &["b1", "b2", "b3"])?;
    }
    fleet.passed()
}

#[test]
fn status_is_a_table_for_eyes_and_awk() -> Result {
    let fleet = Fleet::of_three()?;
    let lines = fleet.node(2)?.manage()?.data("cluster status")?;
    let head = lines.first().context("no line")?;
    let columns: Vec<_> = head.split_whitespace().collect();
    let wanted = "NODE ADDRESS STATE ROLE TERM VERSION LAG HASH READY SEEN SOFTWARE UPTIME REQUESTS";
    ensure!(columns.join(" ") == wanted, "columns are {columns:?}");
    let own: Vec<_> = lines.iter().filter(|line| line.starts_with("* ")).collect();
    ensure!(own.len() == 1, "{own:?} are marked as the node that answers");
    ensure!(
        own.iter().all(|line| line.starts_with("* n2 ")),
        "{own:?} is marked"
    );
    let last = lines.last().context("no line")?;
    ensure!(
        last.starts_with("fleet acme, leader n"),
        "the last line is '{last}'"
    );
    ensure!(
        last.ends_with("quorum 3/3, tolerates 1, in sync yes"),
        "the last line is '{last}'"
    );
    let members = fleet.node(3)?.manage()?.data("cluster members")?;
    for name in ["n1", "n2", "n3"] {
        ensure!(
            members.iter().any(|line| line.contains(name)),
            "no {name} in {members:?}"
        );
    }
    fleet.passed()
}

#[test]
fn a_fourth_node_learns_what_was_decided_before_it_came() -> Result {
    let mut fleet = Fleet::start(&Plan {
        pooled: 1,
        ..Plan::default()
    })?;
    let third = fleet.backend(3)?.address();
    fleet
        .node(3)?
        .manage()?
        .change(&format!("POOL web ADD {third}"))?;
    let number = fleet.add_place()?;
    let token = fleet.token("ttl 60 uses 1")?;
    fleet.join(number, &token)?;
    fleet.wait_served_by(number, &["b1", "b3"])?;
    wait::for_true("the fourth node to be ready", wait::PATIENCE, || {
        fleet.node(number)?.ready()
    })?;
    fleet
        .node(number)?
        .manage()?
        .change(&format!("POOL web REMOVE {third}"))?;
    for other in 1..=3 {
        fleet.wait_served_by(other, &["b1"])?;
    }
    fleet.passed()
}

#[test]
fn a_single_node_is_a_fleet_too() -> Result {
    let mut fleet = Fleet::start(&Plan {
        nodes: 1,
        backends: 2,
        pooled: 1,
        ..Plan::default()
    })?;
    let second = fleet.backend(2)?.address();
    fleet
        .node(1)?
        .manage()?
        .change(&format!("POOL web ADD {second}"))?;
    let before = fleet.node(1)?.dump()?;
    fleet.kill(1)?;
    fleet.restart(1)?;
    fleet.wait_served_by(1, &["b1", "b2"])?;
    ensure!(fleet.node(1)?.dump()? == before, "the configuration changed");
    fleet.passed()
}
