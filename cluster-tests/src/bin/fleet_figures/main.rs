//! The figures that a fleet is held to, measured with real processes.
//!
//! `fleet_figures [failover] [latency] [idle] [disk] [scale] [--write-docs]` measures what it is asked for, or all of it,
//! prints a table for each, and fails where a bound is missed. `--write-docs` puts each table into `docs/benchmarks.md`
//! between its markers. With release binaries (`cargo run --release --bin fleet_figures`), or it measures the compiler.

mod disk;
mod failover;
mod idle;
mod latency;
mod report;
mod scale;

use anyhow::{bail, ensure};
use fleetbal_cluster_tests::Result;

use self::report::Table;

/// A measurement, and the name by which it is asked for.
type Part = (&'static str, fn() -> Result<Table>);

const PARTS: [Part; 5] = [
    ("failover", failover::measure),
    ("latency", latency::measure),
    ("idle", idle::measure),
    ("disk", disk::measure),
    ("scale", scale::measure),
];

fn main() -> Result {
    let (mut asked, mut writes) = (Vec::new(), false);
    for word in std::env::args().skip(1) {
        match PARTS.iter().find(|(name, _)| *name == word) {
            Some(part) => asked.push(*part),
            None if word == "--write-docs" => writes = true,
            None => bail!("'{word}' is neither a part ({}) nor --write-docs", names()),
        }
    }
    if asked.is_empty() {
        asked = PARTS.to_vec();
    }
    let mut missed = Vec::new();
    for (name, measure) in asked {
        let load = report::load_average()?;
        let table = measure()?;
        let text = table.text(&load);
        println!("\n{text}");
        if writes {
            report::write_docs(name, &text)?;
        }
        missed.extend(table.missed());
    }
    ensure!(missed.is_empty(), "missed: {}", missed.join("; "));
    Ok(())
}

fn names() -> String {
    PARTS.map(|(name, _)| name).join(", ")
}
