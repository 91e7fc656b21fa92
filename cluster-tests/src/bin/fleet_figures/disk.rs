//! What many changes leave on disk.

use std::time::Instant;

use fleetbal_cluster_tests::{Fleet, Plan, Result, churn};

use crate::report::{Bound, Table};

const CHANGES: usize = 100_000;

#[expect(clippy::cast_precision_loss, reason = "sizes of directories")]
pub(crate) fn measure() -> Result<Table> {
    let fleet = Fleet::start(&Plan::default())?;
    let start = Instant::now();
    let largest = churn::changes(&fleet, CHANGES)?;
    let pace = CHANGES as f64 / start.elapsed().as_secs_f64();
    let mut table = Table::new("100,000 changes on a fleet of three");
    for (node, bytes) in fleet.nodes().iter().zip(largest) {
        let bound = Bound {
            must: 100.0,
            aim: 100.0,
        };
        let what = format!("largest data directory of {} meanwhile", node.name);
        table.hold(&what, bytes as f64 / 1_048_576.0, "MiB", bound);
    }
    table.tell("changes a second, each a version", pace, "");
    fleet.passed()?;
    Ok(table)
}
