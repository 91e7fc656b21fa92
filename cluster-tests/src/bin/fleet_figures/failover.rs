//! How long no change is taken after the leader was killed, and what its traffic elsewhere notices.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::{Fleet, Load, Plan, Result, wait};

use crate::report::{Bound, Table};

const ROUNDS: usize = 20;

const BOUND: Bound = Bound {
    must: 1_500.0,
    aim: 700.0,
};

pub(crate) fn measure() -> Result<Table> {
    let mut fleet = Fleet::start(&Plan::default())?;
    let (mut times, mut requests) = (Vec::new(), 0);
    let mut slowest = Duration::ZERO;
    for round in 0..ROUNDS {
        let leader = fleet.leader()?;
        let others = fleet.followers()?;
        let loads = others
            .iter()
            .map(|&number| Load::start(fleet.node(number)?.traffic(), 2))
            .collect::<Result<Vec<_>>>()?;
        let typist = *others.get(round % others.len()).context("no follower")?;
        let mut hand = fleet.node(typist)?.manage()?;
        hand.change(&format!("CREATE POOL before{round}"))?;
        let start = Instant::now();
        fleet.kill(leader)?;
        wait::for_true("a change to be taken", wait::PATIENCE, || {
            hand.change(&format!("CREATE POOL after{round}"))?;
            Ok(true)
        })?;
        times.push(start.elapsed());
        for load in loads {
            load.pass(50)?;
            let report = load.finish();
            report.expect_flawless()?;
            requests += report.answered;
            slowest = slowest.max(report.slowest);
        }
        fleet.restart(leader)?;
        fleet.wait_settled()?;
    }
    ensure!(requests > 0, "there was no traffic");
    let mut table = Table::new("`kill -9` of the leader of three");
    table.times(
        "until a change is taken again at a follower",
        &mut times,
        Some(BOUND),
    )?;
    #[expect(clippy::cast_precision_loss, reason = "there are not that many requests")]
    table.tell(
        "requests at the two others meanwhile, none failed",
        requests as f64,
        "",
    );
    table.tell("the slowest of them", crate::report::millis(&slowest), "ms");
    fleet.passed()?;
    Ok(table)
}
