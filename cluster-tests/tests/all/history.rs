//! Who changed what, and the way back: the same on every node, whatever happens to them.

use std::net::SocketAddrV4;

use anyhow::ensure;
use fleetbal_cluster_tests::client::Http;
use fleetbal_cluster_tests::node::Node;
use fleetbal_cluster_tests::{Fleet, Load, Plan, Result, oracle, ports, wait};

/// More entries than the log keeps without a snapshot.
const MANY: usize = 1_100;

fn small() -> Result<Fleet> {
    Fleet::start(&Plan {
        pooled: 2,
        ..Plan::default()
    })
}

/// All that a node tells of its history, and that it holds.
fn told(node: &Node) -> Result<String> {
    let mut manage = node.manage()?;
    let mut lines = manage.data("config history 10000 json")?;
    lines.extend(manage.data("config verify")?);
    Ok(lines.join("\n"))
}

/// Waits until all running nodes tell the same; that.
fn same_everywhere(fleet: &Fleet) -> Result<String> {
    fleet.wait_settled()?;
    let first = told(fleet.node(1)?)?;
    for number in fleet.running() {
        ensure!(
            told(fleet.node(number)?)? == first,
            "n{number} tells another history"
        );
    }
    Ok(first)
}

#[test]
fn it_survives_restarts_snapshots_leaders_and_is_there_for_newcomers() -> Result {
    let mut fleet = small()?;
    fleet.node(2)?.manage()?.change("SERVER config_history = 100")?;
    let mut manage = fleet.node(2)?.manage()?;
    for round in 0..MANY {
        manage.change(&format!("SET www.queue_limit = {}", round + 1))?;
    }
    fleet.wait_settled()?;
    let lines = fleet.node(3)?.manage()?.data("config history 3")?;
    ensure!(lines.len() == 4, "{lines:#?}");
    for (line, limit) in lines.iter().skip(1).zip([MANY, MANY - 1, MANY - 2]) {
        let words: Vec<_> = line.split_whitespace().collect();
        ensure!(
            words.get(2) == Some(&"n2") && words.get(4) == Some(&"1"),
            "{line}"
        );
        ensure!(
            line.ends_with(&format!("SET www.queue_limit = {limit}")),
            "{line}"
        );
    }
    let before = same_everywhere(&fleet)?;
    let leader = fleet.leader()?;
    fleet.kill(leader)?;
    wait::for_true("another leader", wait::PATIENCE, || Ok(fleet.leader()? != leader))?;
    for number in fleet.running() {
        ensure!(told(fleet.node(number)?)? == before, "n{number} changed its mind");
    }
    fleet.restart(leader)?;
    fleet.wait_settled()?;
    fleet.kill_together(&[1, 2, 3])?;
    let snapshot = fleet.node(1)?.data.join("raft/snapshots/snapshot");
    ensure!(snapshot.exists(), "there is no {}", snapshot.display());
    for number in 1..=3 {
        let flags = fleet.node(number)?.flags.clone();
        fleet.launch_only(number, flags)?;
    }
    for number in 1..=3 {
        fleet.wait_answers(number)?;
    }
    ensure!(
        same_everywhere(&fleet)? == before,
        "the restart changed the history"
    );
    let token = fleet.token("")?;
    let number = fleet.add_place()?;
    fleet.join(number, &token)?;
    ensure!(
        same_everywhere(&fleet)? == before,
        "the newcomer has another history"
    );
    // The way back works from what was carried over.
    let version = fleet.node(4)?.version()?;
    let mut manage = fleet.node(4)?.manage()?;
    manage.change(&format!("config rollback {}", version - 50))?;
    let dump = fleet.node(4)?.dump()?;
    let line = format!("SET queue_limit = {}", MANY - 50);
    ensure!(dump.contains(&line), "no '{line}' in\n{dump}");
    fleet.wait_settled()?;
    oracle::same_bytes(fleet.nodes())?;
    fleet.passed()
}

#[test]
fn a_rollback_under_load_costs_no_request() -> Result {
    let mut fleet = small()?;
    let (second, third) = (fleet.backend(2)?.address(), fleet.backend(3)?.address());
    let (version, dump) = (fleet.node(1)?.version()?, fleet.node(1)?.dump()?);
    let mut loads = Vec::new();
    for node in fleet.nodes() {
        loads.push(Load::start(node.traffic(), 3)?);
    }
    for round in 0..10 {
        let mut manage = fleet.node(round % 3 + 1)?.manage()?;
        for line in [
            "begin",
            "CREATE POOL other",
            &format!("POOL other ADD {third}"),
            "SET www.pool = other",
            &format!("POOL web REMOVE {second}"),
            "SET www.idle_timeout = 21",
            "CREATE SERVICE extra",
            "SET role = reverse_proxy",
            "commit",
        ] {
            manage.change(line)?;
        }
        for load in &loads {
            load.pass(10)?;
        }
        let mut manage = fleet.node((round + 1) % 3 + 1)?.manage()?;
        manage.change("sync")?;
        manage.change(&format!("config rollback {version}"))?;
        for load in &loads {
            load.pass(10)?;
        }
    }
    fleet.wait_settled()?;
    let after = oracle::same_bytes(fleet.nodes())?;
    ensure!(after == dump, "it is not what it was:\n{after}");
    for load in loads {
        load.finish().expect_flawless()?;
    }
    fleet.passed()
}

#[test]
fn a_rollback_of_one_tunable_closes_no_listener_and_no_connection() -> Result {
    let mut fleet = small()?;
    let version = fleet.node(1)?.version()?;
    let mut clients = Vec::new();
    for node in fleet.nodes() {
        let mut client = Http::connect(node.traffic())?;
        ensure!(client.request("GET", "/who", &[])?.status()? == 200);
        clients.push(client);
    }
    let sockets = |fleet: &mut Fleet| -> Result<Vec<_>> {
        let mut all = Vec::new();
        for number in 1..=3 {
            let address = SocketAddrV4::new(fleet.node(number)?.address, ports::TRAFFIC);
            all.push(fleet.process(number)?.sockets_at(address)?);
        }
        Ok(all)
    };
    let before = sockets(&mut fleet)?;
    ensure!(before.iter().all(|open| open.len() == 2), "{before:?}");
    fleet.node(2)?.manage()?.change("SET www.max_backend_uses = 7")?;
    fleet.node(3)?.manage()?.change("sync")?;
    fleet
        .node(3)?
        .manage()?
        .change(&format!("config rollback {version}"))?;
    fleet.wait_settled()?;
    for node in fleet.nodes() {
        ensure!(node.version()? == version + 2, "{} is not there yet", node.name);
    }
    ensure!(sockets(&mut fleet)? == before, "a socket was closed or opened");
    for client in &mut clients {
        ensure!(client.request("GET", "/who", &[])?.status()? == 200);
    }
    drop(clients);
    fleet.passed()
}
