//! Members that leave, and votes that move.

use std::time::Duration;

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::load::Load;
use fleetbal_cluster_tests::{Fleet, Plan, Result, wait};

/// How long a removed node may drain.
const LEAVING: Duration = Duration::from_secs(40);

/// Waits until a node sees another one in a role.
fn wait_role(fleet: &Fleet, seen_by: usize, name: &str, role: &str) -> Result {
    wait::for_true(format!("{name} as {role}"), wait::PATIENCE, || {
        let status = fleet.node(seen_by)?.status()?;
        let now = status.node_text(name, "role")?.to_owned();
        ensure!(now == role, "it is {now}");
        Ok(true)
    })
}

/// Waits until a node's table holds no line of another one.
fn wait_gone(fleet: &Fleet, seen_by: usize, name: &str) -> Result {
    wait::for_true(format!("{name} to be gone"), wait::PATIENCE, || {
        let members = fleet.node(seen_by)?.manage()?.data("cluster members")?;
        Ok(!members
            .iter()
            .any(|line| line.split_whitespace().any(|word| word == name)))
    })
}

#[test]
fn a_removed_leader_hands_over_wipes_itself_and_stays_out() -> Result {
    let mut fleet = Fleet::start(&Plan {
        nodes: 4,
        ..Plan::default()
    })?;
    let leader = fleet.leader()?;
    let followers = fleet.followers()?;
    let other = *followers.first().context("no follower")?;
    let load = Load::start(fleet.node(other)?.traffic(), 4)?;
    load.pass(50)?;
    let name = format!("n{leader}");
    fleet
        .node(other)?
        .manage()?
        .change(&format!("cluster remove {name}"))?;
    let code = fleet.wait_gone(leader, LEAVING)?;
    ensure!(code == Some(0), "it ended with {code:?}");
    for &number in &followers {
        wait_gone(&fleet, number, &name)?;
    }
    // The three that are left all vote, and go on taking changes.
    wait::for_true("three voters", wait::PATIENCE, || {
        Ok(fleet.node(other)?.status()?.quorum("voters")? == 3)
    })?;
    fleet.node(other)?.manage()?.change("CREATE POOL afterwards")?;
    load.pass(50)?;
    load.finish().expect_flawless()?;

    let flags = fleet.node(leader)?.flags.clone();
    fleet.launch_only(leader, flags)?;
    let code = fleet.wait_gone(leader, wait::PATIENCE)?;
    ensure!(code == Some(78), "started again it ended with {code:?}");
    let log = fleet.node(leader)?.log_text();
    ensure!(log.contains("was removed from fleet 'acme'"), "it says: {log}");
    fleet.passed()
}

#[test]
fn a_node_that_was_away_when_it_was_removed_learns_of_it() -> Result {
    let mut fleet = Fleet::of_three()?;
    fleet.node(1)?.manage()?.change("cluster transfer n1")?;
    fleet.kill(3)?;
    fleet.node(1)?.manage()?.change("cluster remove n3")?;
    wait_gone(&fleet, 2, "n3")?;
    let flags = fleet.node(3)?.flags.clone();
    fleet.launch_only(3, flags)?;
    let code = fleet.wait_gone(3, LEAVING)?;
    ensure!(code == Some(0), "it ended with {code:?}");
    fleet.passed()
}

#[test]
fn a_removed_node_that_joins_again_under_its_name_is_seen_alive() -> Result {
    let mut fleet = Fleet::of_three()?;
    // The others heard of a higher count of its starts than the new life begins with.
    for _ in 0..2 {
        fleet.kill(3)?;
        fleet.restart(3)?;
        fleet.wait_settled()?;
    }
    fleet.node(1)?.manage()?.change("cluster remove n3")?;
    let code = fleet.wait_gone(3, LEAVING)?;
    ensure!(code == Some(0), "it ended with {code:?}");
    std::fs::remove_dir_all(&fleet.node(3)?.data)?;
    let token = fleet.token("")?;
    fleet.join(3, &token)?;
    fleet.wait_settled()?;
    fleet.passed()
}

#[test]
fn a_node_that_comes_back_at_another_address_is_found_there() -> Result {
    let mut fleet = Fleet::of_three()?;
    fleet.kill(3)?;
    let before = fleet.node(3)?.cluster();
    let now = std::net::SocketAddr::new(before.ip(), before.port() + 1);
    let moved = |flag: String| {
        if flag == before.to_string() {
            now.to_string()
        } else {
            flag
        }
    };
    let flags = fleet.node(3)?.flags.clone().into_iter().map(moved).collect();
    fleet.launch(3, flags)?;
    fleet.wait_settled()?;
    for number in 1..=3 {
        wait::for_true(format!("n{number} to know of it"), wait::PATIENCE, || {
            let status = fleet.node(number)?.status()?;
            Ok(status.node_text("n3", "address")? == now.to_string())
        })?;
    }
    fleet.node(3)?.manage()?.change("CREATE POOL afterwards")?;
    fleet.passed()
}

#[test]
fn leadership_and_votes_go_where_they_are_sent() -> Result {
    let fleet = Fleet::start(&Plan {
        nodes: 4,
        extra: "CLUSTER SET voters = 3\n".to_owned(),
        ..Plan::default()
    })?;
    for name in ["n1", "n2", "n3"] {
        fleet
            .node(2)?
            .manage()?
            .change(&format!("cluster transfer {name}"))?;
        wait_role(&fleet, 4, name, "leader")?;
    }
    let refused = fleet.node(1)?.manage()?.refused("cluster transfer n4")?;
    ensure!(refused.contains("has no vote"), "it says: {refused}");
    let unknown = fleet.node(1)?.manage()?.refused("cluster remove n9")?;
    ensure!(unknown.contains("there is no node 'n9'"), "it says: {unknown}");
    fleet.node(4)?.manage()?.change("cluster promote n4")?;
    wait_role(&fleet, 1, "n4", "voter")?;
    ensure!(
        fleet.node(1)?.status()?.quorum("voters")? == 3,
        "not three voters"
    );
    fleet.node(1)?.manage()?.change("cluster demote n3")?;
    wait_role(&fleet, 2, "n3", "learner")?;
    wait::for_true("three voters", wait::PATIENCE, || {
        Ok(fleet.node(1)?.status()?.quorum("voters")? == 3)
    })?;
    fleet.passed()
}

#[test]
fn a_dead_voter_is_replaced_by_a_learner() -> Result {
    let mut fleet = Fleet::start(&Plan {
        nodes: 4,
        extra: "CLUSTER SET voters = 3\nCLUSTER SET dead_voter_after = 2\n".to_owned(),
        ..Plan::default()
    })?;
    fleet.node(1)?.manage()?.change("cluster transfer n1")?;
    wait_role(&fleet, 1, "n4", "learner")?;
    fleet.kill(3)?;
    wait_role(&fleet, 1, "n4", "voter")?;
    wait_role(&fleet, 1, "n3", "learner")?;
    // With the new voter the fleet survives what it could not have without.
    fleet.kill(2)?;
    wait::for_true("a change with the new voter", wait::PATIENCE, || {
        fleet.node(1)?.manage()?.change("CREATE POOL afterwards")?;
        Ok(true)
    })?;
    fleet.passed()
}
