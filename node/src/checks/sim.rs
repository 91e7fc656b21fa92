//! What the nodes of a fleet think of their backends, through thousands of schedules, each made of one seed: nodes that come
//! and die, links to backends and between nodes that are cut, also one way, clocks that are apart, gossip that is late,
//! lost, said twice or out of order, backends that fail. No I/O, no clock, no thread: a seed is the same schedule again.

mod judge;
mod links;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Seeds that each test run goes through. `FLEETBAL_SEEDS=FIRST..LAST` has it go through others.
const SEEDS: std::ops::Range<u64> = 0..40;

fn seeds() -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("FLEETBAL_SEEDS") else {
        return SEEDS;
    };
    let (first, last) = text.split_once("..").expect("FLEETBAL_SEEDS is FIRST..LAST");
    first.parse().unwrap()..last.parse().unwrap()
}

#[test]
fn no_schedule_makes_a_wrong_verdict() {
    for seed in seeds() {
        let outcome = catch_unwind(AssertUnwindSafe(|| world::run(seed)));
        if let Err(panic) = outcome {
            eprintln!("FLEETBAL_SEEDS={seed}..{} fails", seed + 1);
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn a_seed_makes_the_same_schedule_again() {
    assert_eq!(world::run(3), world::run(3));
    assert_ne!(world::run(3), world::run(4));
}
