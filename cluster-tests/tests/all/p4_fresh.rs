//! P4: after `sync` a node reads all that was committed when it was typed.

use std::time::{Duration, Instant};

use anyhow::ensure;
use fleetbal_cluster_tests::{Fleet, Plan, Result, wait};

#[test]
fn sync_reads_what_another_node_was_told() -> Result {
    let fleet = Fleet::start(&Plan {
        pooled: 1,
        ..Plan::default()
    })?;
    for round in 0..30 {
        let (writer, reader) = (round % 3 + 1, (round + 1) % 3 + 1);
        let word = if round % 2 == 0 { "ADD" } else { "REMOVE" };
        let mut reading = fleet.node(reader)?.manage()?;
        fleet
            .node(writer)?
            .manage()?
            .change(&format!("POOL web {word} 127.0.0.1:9"))?;
        reading.change("sync")?;
        let pool = reading.data("show pool web")?;
        let is_there = pool.iter().any(|line| line.starts_with("127.0.0.1:9 "));
        ensure!(
            is_there == (word == "ADD"),
            "after {word} at n{writer}, n{reader} reads {pool:?}"
        );
    }
    fleet.passed()
}

#[test]
fn sync_without_quorum_says_so() -> Result {
    let mut fleet = Fleet::of_three()?;
    fleet.kill_together(&[1, 2])?;
    let start = Instant::now();
    let text = fleet.node(3)?.manage()?.refused("sync")?;
    ensure!(text.contains("no quorum"), "refused with '{text}'");
    ensure!(
        start.elapsed() < Duration::from_millis(5_500),
        "it took {:?}",
        start.elapsed()
    );
    // A plain read still answers at once.
    fleet.node(3)?.manage()?.data("show pool web")?;
    for number in [1, 2] {
        let flags = fleet.node(number)?.flags.clone();
        fleet.launch_only(number, flags)?;
    }
    let mut manage = fleet.node(3)?.manage()?;
    wait::for_true("a sync with a quorum", wait::PATIENCE, || {
        manage.change("sync")?;
        Ok(true)
    })?;
    fleet.wait_settled()?;
    fleet.passed()
}
