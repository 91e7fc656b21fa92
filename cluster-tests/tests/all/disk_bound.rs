//! What a node keeps on its disk is bounded, however many changes there were: 100,000 of them are `fleet_figures disk`.

use std::time::Instant;

use anyhow::ensure;
use fleetbal_cluster_tests::{Fleet, Plan, Result, churn, oracle};

/// Changes of 2 kB. The log is cut behind a snapshot each thousand entries, so that the first half is enough for the most
/// that there ever is.
const CHANGES: usize = 4_000;

/// What a node may take, and by how much the second half may be above the first.
const MOST_MIB: f64 = 100.0;
const GROWTH: f64 = 1.5;

#[test]
fn a_disk_does_not_grow_with_the_number_of_changes() -> Result {
    let mut fleet = Fleet::start(&Plan {
        backends: 1,
        pooled: 1,
        ..Plan::default()
    })?;
    fleet.node(1)?.manage()?.change("SERVER config_history = 10")?;
    let begin = Instant::now();
    let looks = churn::large_changes(&fleet, CHANGES)?;
    println!("{looks:?} bytes within {:?}", begin.elapsed());
    let (early, late) = looks.split_at(looks.len() / 2);
    let halves = churn::largest(early).into_iter().zip(churn::largest(late));
    for (node, (early, late)) in fleet.nodes().iter().zip(halves) {
        let (early, late) = (mib(early), mib(late));
        ensure!(
            late < MOST_MIB && late < early * GROWTH,
            "{} took {early:.1} MiB, then {late:.1} MiB",
            node.name
        );
    }
    // What is left is all that it needs.
    let wanted = oracle::same_bytes(fleet.nodes())?;
    fleet.kill(2)?;
    fleet.restart(2)?;
    fleet.wait_settled()?;
    ensure!(fleet.node(2)?.dump()? == wanted, "n2 came back otherwise");
    fleet.passed()
}

#[expect(clippy::cast_precision_loss, reason = "a size of a directory")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}
