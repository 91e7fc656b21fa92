//! How long a command takes from a follower until all three nodes have applied it.
//!
//! `command_latency [COUNT]` founds three nodes, types COUNT commands (1,000) at a follower, and prints median and p99
//! of two times: until `OK`, and until every node's `config version` is that of the change. With release binaries
//! (`cargo run --release --bin command_latency`), or it measures the compiler.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::{Fleet, Manage, Plan, Result};

/// Left out at the start: connections and caches are warm then.
const WARM_UP: usize = 50;

fn main() -> Result {
    let count = match std::env::args().nth(1) {
        Some(text) => text.parse().context("COUNT is a number")?,
        None => 1_000,
    };
    let fleet = Fleet::start(&Plan {
        backends: 1,
        pooled: 1,
        ..Plan::default()
    })?;
    let followers = fleet.followers()?;
    let typist = *followers.first().context("no follower")?;
    let mut hand = fleet.node(typist)?.manage()?;
    let mut eyes = Vec::new();
    for node in fleet.nodes() {
        eyes.push(node.manage()?);
    }
    let mut version = config_version(&mut hand)?;
    let (mut answered, mut everywhere) = (Vec::new(), Vec::new());
    for round in 0..WARM_UP + count {
        let word = if round % 2 == 0 { "ADD" } else { "REMOVE" };
        let start = Instant::now();
        hand.change(&format!("POOL web {word} 127.0.0.1:9"))?;
        let until_ok = start.elapsed();
        version += 1;
        for eye in &mut eyes {
            while config_version(eye)? < version {
                ensure!(
                    start.elapsed() < Duration::from_secs(30),
                    "version {version} never came"
                );
            }
        }
        if round >= WARM_UP {
            answered.push(until_ok);
            everywhere.push(start.elapsed());
        }
    }
    println!("{count} commands typed at a follower of three");
    report("until OK", answered)?;
    report("until all three have applied it", everywhere)?;
    drop((hand, eyes));
    fleet.passed()
}

fn config_version(manage: &mut Manage) -> Result<u64> {
    let lines = manage.data("config version")?;
    let words = lines.iter().flat_map(|line| line.split_whitespace());
    let mut numbers = words.into_iter().filter_map(|word| word.parse().ok());
    numbers.next().with_context(|| format!("no version in {lines:?}"))
}

fn report(what: &str, mut times: Vec<Duration>) -> Result {
    times.sort_unstable();
    let at = |percent: usize| {
        let index = (times.len() * percent / 100).min(times.len().saturating_sub(1));
        times.get(index).context("nothing was measured")
    };
    println!(
        "{what}: median {:.2?}, p99 {:.2?}, longest {:.2?}",
        at(50)?,
        at(99)?,
        at(100)?
    );
    Ok(())
}
