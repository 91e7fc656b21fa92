//! P3: whoever reads `OK` is served by it already; after `barrier` so is everybody.

use std::time::Duration;

use anyhow::ensure;
use fleetbal_cluster_tests::{Fleet, Plan, Result};

fn one_pooled() -> Plan {
    Plan {
        pooled: 1,
        ..Plan::default()
    }
}

#[test]
fn a_command_at_each_node_steers_the_traffic_of_the_others() -> Result {
    let mut fleet = Fleet::start(&one_pooled())?;
    let second = fleet.backend(2)?.address();
    for number in 1..=3 {
        for (word, wanted) in [("ADD", vec!["b1", "b2"]), ("REMOVE", vec!["b1"])] {
            fleet
                .node(number)?
                .manage()?
                .change(&format!("POOL web {word} {second}"))?;
            for other in 1..=3 {
                fleet.wait_served_within(other, &wanted, Duration::from_secs(5))?;
            }
        }
    }
    fleet.passed()
}

#[test]
fn the_node_that_said_ok_balances_by_it_already() -> Result {
    let mut fleet = Fleet::start(&one_pooled())?;
    let (first, second) = (fleet.backend(1)?.address(), fleet.backend(2)?.address());
    for number in 1..=3 {
        let mut manage = fleet.node(number)?.manage()?;
        for _ in 0..10 {
            for (out, into, name) in [(first, second, "b2"), (second, first, "b1")] {
                manage.change(&format!("POOL web ADD {into}"))?;
                manage.change(&format!("POOL web REMOVE {out}"))?;
                let answer = fleet.node(number)?.get("/at-once")?;
                ensure!(
                    answer.text() == name,
                    "n{number} answered '{}', not {name}",
                    answer.text()
                );
            }
        }
    }
    fleet.passed()
}

#[test]
fn after_a_barrier_every_node_balances_by_it() -> Result {
    let mut fleet = Fleet::start(&one_pooled())?;
    let (first, second) = (fleet.backend(1)?.address(), fleet.backend(2)?.address());
    for number in 1..=3 {
        let mut manage = fleet.node(number)?.manage()?;
        for (out, into, name) in [(first, second, "b2"), (second, first, "b1")] {
            manage.change(&format!("POOL web ADD {into}"))?;
            manage.change(&format!("POOL web REMOVE {out}"))?;
            manage.change("barrier 10")?;
            for node in fleet.nodes() {
                let answer = node.get("/after-barrier")?;
                ensure!(
                    answer.text() == name,
                    "after a barrier at n{number}, {} answered '{}', not {name}",
                    node.name,
                    answer.text()
                );
            }
        }
    }
    fleet.passed()
}

#[test]
fn a_service_enabled_at_one_node_listens_at_all() -> Result {
    let fleet = Fleet::start(&one_pooled())?;
    let mut manage = fleet.node(2)?.manage()?;
    for line in [
        "CREATE SERVICE second",
        "SET role = reverse_proxy",
        "SET listen = ${node:ip}:8081",
        "SET pool = web",
        "ENABLE second",
    ] {
        manage.change(line)?;
    }
    for node in fleet.nodes() {
        let answer = fleetbal_cluster_tests::client::get((node.address, 8081).into(), "/")?;
        ensure!(
            answer.text() == "b1",
            "{} answered '{}'",
            node.name,
            answer.text()
        );
    }
    manage.change("DISABLE second")?;
    manage.change("barrier 10")?;
    for node in fleet.nodes() {
        let after = fleetbal_cluster_tests::client::get((node.address, 8081).into(), "/");
        ensure!(after.is_err(), "{} still listens on 8081", node.name);
    }
    fleet.passed()
}
