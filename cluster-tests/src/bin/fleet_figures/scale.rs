//! Fifty processes in one fleet.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::ensure;
use fleetbal_cluster_tests::{Result, fifty, wait};

use crate::idle;
use crate::report::{Bound, Table, millis};

const NODES: usize = 50;

/// Killed at the same moment.
const KILLED: usize = 10;

const WATCHED: Duration = Duration::from_secs(30);

pub(crate) fn measure() -> Result<Table> {
    let start = Instant::now();
    let mut fleet = fifty::of(NODES)?;
    let joined = start.elapsed();
    let mut table = Table::new("fifty processes, five voters");
    table.tell("until all have joined and agree", joined.as_secs_f64(), "s");
    let mut times = Vec::new();
    for round in 0..20 {
        times.push(fifty::apply_everywhere(
            &fleet,
            &format!("CREATE POOL all{round}"),
        )?);
    }
    table.times("a command until all fifty have applied it", &mut times, None)?;
    thread::sleep(Duration::from_secs(10));
    let percents = idle::percents(&mut fleet, WATCHED)?;
    figures(
        &mut table,
        percents.into_iter().map(|(_, percent)| percent),
        "CPU of an idle node",
        "%",
    )?;
    let mut resident = Vec::new();
    for number in fleet.running() {
        resident.push(mib(fleet.process(number)?.resident()?));
    }
    figures(
        &mut table,
        resident.into_iter(),
        "resident memory of a node",
        "MiB",
    )?;

    let start = Instant::now();
    let killed = fifty::kill_some(&mut fleet, KILLED)?;
    let survivor = fleet.running().into_iter().next().unwrap_or(1);
    let mut hand = fleet.node(survivor)?.manage()?;
    wait::for_true("a change after the kill", wait::PATIENCE, || {
        hand.change("CREATE POOL afterwards")?;
        Ok(true)
    })?;
    let bound = Bound {
        must: 1_500.0,
        aim: 700.0,
    };
    let what = format!(
        "`kill -9` of {}, the leader among them, until a change is taken",
        killed.len()
    );
    table.hold(&what, millis(&start.elapsed()), "ms", bound);
    fifty::wait_version(&fleet, fleet.node(survivor)?.version()?)?;
    table.tell(
        "the same, until the other forty have applied it",
        millis(&start.elapsed()),
        "ms",
    );
    ensure!(fleet.running().len() == NODES - KILLED, "others ended too");
    fleet.passed()?;
    Ok(table)
}

fn figures(table: &mut Table, values: impl Iterator<Item = f64>, what: &str, unit: &'static str) -> Result {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    ensure!(!values.is_empty(), "nothing was measured");
    for (name, index) in [("median", values.len() / 2), ("largest", values.len() - 1)] {
        let value = values.get(index).copied().unwrap_or_default();
        table.tell(&format!("{what}, {name}"), value, unit);
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a size of memory")]
fn mib(bytes: usize) -> f64 {
    bytes as f64 / 1_048_576.0
}
