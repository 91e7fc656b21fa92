//! Founding and joining.

use std::net::TcpListener;

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::process::Process;
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

/// `localhost` is a name that every machine knows; a founder that listens everywhere is found by it.
#[test]
fn a_node_joins_by_a_name() -> Result {
    let mut fleet = Fleet::prepare(&Plan {
        nodes: 2,
        ..Plan::default()
    })?;
    let nowhere = replaced(fleet.place_flags(2)?, "--node", "n9");
    let nowhere = replaced(
        nowhere,
        "--data-dir",
        &fleet.dir().join("n9").display().to_string(),
    );
    let nowhere = replaced(
        nowhere,
        "--cluster-listen",
        &format!("{}:7499", fleet.node(2)?.address),
    );
    let nowhere = replaced(
        nowhere,
        "--management",
        &format!("{}:60099", fleet.node(2)?.address),
    );
    let free = TcpListener::bind("0.0.0.0:0")?.local_addr()?.port();
    let own = format!("{}:{free}", fleet.node(1)?.address);
    let flags = replaced(
        fleet.place_flags(1)?,
        "--cluster-listen",
        &format!("0.0.0.0:{free}"),
    );
    let mut flags = replaced(flags, "--advertise", &own);
    let config = fleet.config_path().display().to_string();
    flags.extend(["--init", "--config", &config].map(str::to_owned));
    fleet.launch(1, flags)?;
    let token = fleet.token("")?;
    let by_name = |flags: Vec<String>, name: &str| -> Vec<String> {
        let more = ["--join", name, "--token", &token].map(str::to_owned);
        flags.into_iter().chain(more).collect()
    };
    // It takes a while to give up.
    let log = fleet.dir().join("n9.log");
    let command = fleet.command(&by_name(nowhere, "no-such-host.invalid:7400"))?;
    let mut nowhere = Process::start(command, &log)?;
    fleet.launch(2, by_name(fleet.place_flags(2)?, &format!("localhost:{free}")))?;
    wait::for_true("n2 to know both", wait::PATIENCE, || {
        Ok(fleet.node(2)?.status()?.nodes()?.len() == 2)
    })?;
    ensure!(nowhere.wait_end(wait::PATIENCE * 2)?.code() == Some(78));
    let said = std::fs::read_to_string(log)?;
    ensure!(
        said.contains("no-such-host.invalid:7400: cannot find the address of that name: "),
        "{said}"
    );
    fleet.passed()
}

/// Flags with another value of one of them.
fn replaced(mut flags: Vec<String>, flag: &str, value: &str) -> Vec<String> {
    let at = flags.iter().position(|have| have == flag);
    if let Some(old) = at.and_then(|at| flags.get_mut(at + 1)) {
        value.clone_into(old);
    }
    flags
}
