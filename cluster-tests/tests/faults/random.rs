//! Random faults under load and concurrent changes, and what must be true of what came of them.
//!
//! One seed makes the same schedule again, though not the same interleaving: the processes and their network are real.

mod journal;
mod schedule;
mod typist;
mod verdict;

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::node::Node;
use fleetbal_cluster_tests::world::World;
use fleetbal_cluster_tests::{Fleet, Plan, Result};

use self::journal::Journal;
use self::schedule::Schedule;
use self::typist::Typists;

/// Three members at first, and a fourth that comes and goes.
const PLACES: u8 = 4;

/// How many type at once.
const TYPISTS: usize = 4;

/// How many of the registers there are for each second, so that no history of one grows long.
const REGISTERS_A_SECOND: u64 = 2;

#[test]
fn random_faults_for_a_moment_break_no_promise() -> Result {
    run(1, Duration::from_secs(8))
}

/// `FLEETBAL_SEED` repeats a schedule, `FLEETBAL_SECONDS` makes it longer or shorter than a minute.
#[test]
#[ignore = "takes more than a minute; CONTRIBUTING.md has its command"]
fn random_faults_for_a_minute_break_no_promise() -> Result {
    let seed = setting("FLEETBAL_SEED")?.unwrap_or_else(rand::random);
    let seconds = setting("FLEETBAL_SECONDS")?.unwrap_or(60);
    run(seed, Duration::from_secs(seconds))
}

fn setting(name: &str) -> Result<Option<u64>> {
    match std::env::var(name) {
        Ok(text) => Ok(Some(text.parse().with_context(|| format!("{name} is a number"))?)),
        Err(_) => Ok(None),
    }
}

fn run(seed: u64, time: Duration) -> Result {
    eprintln!("FLEETBAL_SEED={seed}");
    try_run(seed, time).with_context(|| format!("with FLEETBAL_SEED={seed}"))
}

fn try_run(seed: u64, time: Duration) -> Result {
    let Some(world) = World::enter(PLACES)? else {
        return Ok(());
    };
    let registers = time.as_secs() * REGISTERS_A_SECOND;
    let mut extra = "SERVER config_history = 10000\n".to_owned();
    for register in 0..registers {
        writeln!(extra, "CREATE POOL {}", journal::register_name(register))?;
    }
    let mut fleet = Fleet::start(&Plan {
        backends: 2,
        pooled: 2,
        extra,
        ..Plan::default()
    })?;
    let before = fleet.node(1)?.version()?;
    fleet.add_place()?;
    let journal = Journal::default();
    let addresses = fleet.nodes().iter().map(Node::management).collect::<Vec<_>>();
    let typists = Typists::start(TYPISTS, seed, &addresses, &journal, registers);
    let mut schedule = Schedule::new(fleet, &world, seed)?;
    let outcome = schedule.run(time, &typists);
    typists.stop();
    let told = schedule.told();
    let (fleet, requests) = outcome
        .and_then(|()| schedule.end())
        .with_context(|| told.clone())?;
    let figures = verdict::judge(&fleet, &journal, before).with_context(|| told.clone())?;
    eprintln!("{told}\n{figures}; {requests} requests at live nodes");
    ensure!(figures.acknowledged > 20, "hardly a change was taken: {figures}");
    fleet.passed()
}
