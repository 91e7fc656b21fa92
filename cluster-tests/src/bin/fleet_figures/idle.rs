//! What a fleet takes that nobody asks anything.

use std::thread;
use std::time::{Duration, Instant};

use fleetbal_cluster_tests::{Fleet, Plan, Result};

use crate::report::{Bound, Table};

/// Left out: what a start leaves to be done.
const CALM: Duration = Duration::from_secs(10);

const WATCHED: Duration = Duration::from_mins(1);

pub(crate) fn measure() -> Result<Table> {
    let mut fleet = Fleet::start(&Plan::default())?;
    thread::sleep(CALM);
    let mut table = Table::new("an idle fleet of three");
    for (number, percent) in percents(&mut fleet, WATCHED)? {
        let role = if number == fleet.leader()? {
            "the leader"
        } else {
            "a follower"
        };
        let bound = Bound { must: 2.0, aim: 1.0 };
        table.hold(&format!("CPU of {role}"), percent, "%", bound);
    }
    fleet.passed()?;
    Ok(table)
}

/// How much of a CPU each running node takes.
pub(crate) fn percents(fleet: &mut Fleet, watched: Duration) -> Result<Vec<(usize, f64)>> {
    let running = fleet.running();
    let mut before = Vec::new();
    let start = Instant::now();
    for &number in &running {
        before.push(fleet.process(number)?.cpu_time()?);
    }
    thread::sleep(watched);
    let mut percents = Vec::new();
    for (number, before) in running.into_iter().zip(before) {
        let took = fleet.process(number)?.cpu_time()?.saturating_sub(before);
        percents.push((number, took.as_secs_f64() / start.elapsed().as_secs_f64() * 100.0));
    }
    Ok(percents)
}
