//! The budget: instructions that each step may take.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result};

/// What a step may take beyond its budget: 5 % more is noticed, and so is a budget that has become too large for that.
const TOLERANCE: f64 = 0.03;

const HEAD: &str = "\
# Instructions of each step of a plain request (node/benches/support/work.rs). A step that takes 3 % more fails; one
# that takes 3 % less asks for a new budget: cargo bench --profile bench-ci --bench instructions -- --update

[instructions]
";

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/budget.toml")
}

/// The budget as it is written down.
pub(crate) fn read() -> Result<Vec<(String, f64)>> {
    let text = std::fs::read_to_string(path()).context("cannot read the budget")?;
    let lines = text.lines().filter_map(|line| line.split_once(" = "));
    let entries = lines.filter(|(name, _)| !name.starts_with('#'));
    entries
        .map(|(name, count)| Ok((name.trim().to_owned(), count.trim().parse()?)))
        .collect()
}

/// Writes what was counted down as the budget.
pub(crate) fn write(counted: &[(&str, f64)]) -> Result<()> {
    let mut text = HEAD.to_owned();
    for (name, count) in counted {
        writeln!(text, "{name} = {count:.0}")?;
    }
    std::fs::write(path(), text)?;
    print!("{}", std::fs::read_to_string(path())?);
    Ok(())
}

/// Whether every step keeps to its budget. Says so for each.
pub(crate) fn check(counted: &[(&str, f64)], budget: &[(String, f64)]) -> bool {
    let mut good = true;
    for (name, count) in counted {
        let Some((_, allowed)) = budget.iter().find(|(known, _)| known == name) else {
            println!("{name:>12} {count:9.1}  has no budget");
            good = false;
            continue;
        };
        let change = count / allowed - 1.0;
        let verdict = if change > TOLERANCE {
            "TOO MUCH"
        } else if change < -TOLERANCE {
            "less than that: write the new budget down (-- --update)"
        } else {
            "good"
        };
        good &= change.abs() <= TOLERANCE;
        println!(
            "{name:>12} {count:9.1} of {allowed:7.0} instructions ({:+.1} %)  {verdict}",
            change * 100.0
        );
    }
    good
}
