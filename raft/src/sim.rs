//! The consensus with our log and state machine through thousands of schedules, each made of one seed.
//!
//! Nodes, clients and the network between them are tasks of one thread under a clock that jumps to the next timer, and all
//! chance of ours and the library's comes from the seed: election timeouts, delays, losses, cuts, crashes, transfers, changes
//! of the voters. Which of two waiting tasks tokio wakes first is its own chance, unless it is built with
//! `--cfg tokio_unstable`; so a seed that fails nearly always fails again, and with that always.

mod client;
mod links;
mod node;
pub(crate) mod runtime;
mod schedule;

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Seeds that each test run goes through. `FLEETBAL_SEEDS=FIRST..LAST` has it go through others.
const SEEDS: std::ops::Range<u64> = 0..8;

fn seeds() -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("FLEETBAL_SEEDS") else {
        return SEEDS;
    };
    let (first, last) = text.split_once("..").expect("FLEETBAL_SEEDS is FIRST..LAST");
    first.parse().unwrap()..last.parse().unwrap()
}

#[test]
fn no_schedule_breaks_a_promise() {
    for seed in seeds() {
        let outcome = catch_unwind(AssertUnwindSafe(|| schedule::run(seed)));
        if let Err(panic) = outcome {
            eprintln!("FLEETBAL_SEEDS={seed}..{} fails", seed + 1);
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
#[cfg_attr(not(tokio_unstable), ignore = "needs RUSTFLAGS=--cfg=tokio_unstable")]
fn a_seed_makes_the_same_schedule_again() {
    assert_eq!(schedule::run(7), schedule::run(7));
    assert_ne!(schedule::run(7), schedule::run(9));
}
