//! A node's key that is renewed while it works.

use anyhow::Context;
use fleetbal_cluster_tests::load::Load;
use fleetbal_cluster_tests::{Fleet, Result, wait};

/// The key by which a node knows a member.
fn key_of(fleet: &Fleet, seen_by: usize, name: &str) -> Result<String> {
    let lines = fleet.node(seen_by)?.manage()?.data("cluster members json")?;
    let members: serde_json::Value = serde_json::from_str(&lines.concat())?;
    let members = members.get("members").and_then(serde_json::Value::as_array);
    let text = |member: &serde_json::Value, field: &str| {
        let value = member.get(field).and_then(serde_json::Value::as_str);
        value.map(str::to_owned)
    };
    let member = members
        .context("no members")?
        .iter()
        .find(|member| text(member, "name").as_deref() == Some(name));
    member
        .and_then(|member| text(member, "key_hash"))
        .context("no such member")
}

#[test]
fn keys_are_renewed_under_traffic_and_changes() -> Result {
    let mut fleet = Fleet::of_three()?;
    let load = Load::start(fleet.node(2)?.traffic(), 4)?;
    load.pass(20)?;
    let leader = fleet.leader()?;
    for (count, number) in (0..).zip([1, 2, 3, leader]) {
        let name = format!("n{number}");
        let before = key_of(&fleet, 1, &name)?;
        // Each from a neighbour, and every other one by its own management port.
        let (at, line) = if count % 2 == 0 {
            (number, "cluster rekey".to_owned())
        } else {
            (number % 3 + 1, format!("on {name} cluster rekey"))
        };
        let at = fleet.node(at)?.management();
        let renewal =
            std::thread::spawn(move || fleetbal_cluster_tests::client::Manage::connect(at)?.change(&line));
        let mut changes = 0;
        while !renewal.is_finished() || changes < 5 {
            let typist = changes % 3 + 1;
            fleet
                .node(typist)?
                .manage()?
                .change(&format!("CREATE POOL during_{count}_{changes}"))?;
            changes += 1;
        }
        renewal.join().expect("it does not panic")?;
        for seen_by in 1..=3 {
            wait::for_true(format!("another key of {name}"), wait::PATIENCE, || {
                Ok(key_of(&fleet, seen_by, &name)? != before)
            })?;
        }
        load.pass(20)?;
    }
    load.finish().expect_flawless()?;
    for number in 1..=3 {
        fleet.kill(number)?;
    }
    for number in 1..=3 {
        fleet.restart(number)?;
    }
    fleet.wait_settled()?;
    fleet.node(3)?.manage()?.change("CREATE POOL afterwards")?;
    fleet.passed()
}
