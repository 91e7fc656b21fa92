//! More nodes than voters. `fleet_figures scale` measures the same with fifty.

use anyhow::ensure;
use fleetbal_cluster_tests::{Result, fifty, oracle, wait};

#[test]
fn eight_join_together_and_lose_three() -> Result {
    let mut fleet = fifty::of(8)?;
    fifty::apply_everywhere(&fleet, "CREATE POOL all")?;
    let killed = fifty::kill_some(&mut fleet, 3)?;
    ensure!(killed.len() == 3, "{killed:?} were killed");
    let left = fleet.running();
    let last = *left.last().unwrap_or(&1);
    let mut hand = fleet.node(last)?.manage()?;
    wait::for_true("a change after the kill", wait::PATIENCE, || {
        hand.change("CREATE POOL afterwards")?;
        Ok(true)
    })?;
    drop(hand);
    fifty::wait_version(&fleet, fleet.node(last)?.version()?)?;
    let nodes = left
        .iter()
        .map(|&number| fleet.node(number))
        .collect::<Result<Vec<_>>>()?;
    oracle::same_bytes(nodes)?;
    fleet.passed()
}
