//! Instructions of a plain request, counted by valgrind: they do not wobble, so a budget can be checked anywhere.
//!
//! `cargo bench --profile bench-ci --bench instructions` compares with `benches/budget.toml` and fails where a step
//! takes more. With `-- --update` it writes the budget; with `-- --step NAME COUNT` it is what valgrind runs.

#[path = "support/budget.rs"]
mod budget;
#[path = "support/work.rs"]
mod work;

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};

/// Two lengths of run; start and end cancel out in the difference.
const COUNTS: [u64; 2] = [500, 2500];

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("ERROR: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool> {
    let arguments: Vec<_> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["--step", name, count] => {
            let mut step = find(name)?()?;
            for _ in 0..count.parse()? {
                step()?;
            }
            Ok(true)
        }
        [] => check(),
        ["--update"] => budget::write(&count_all()?).map(|()| true),
        _ => bail!("what is {words:?}?"),
    }
}

fn find(name: &str) -> Result<work::Make> {
    let step = work::STEPS.iter().find(|(known, _)| *known == name);
    step.map(|(_, make)| *make)
        .with_context(|| format!("no step {name}"))
}

fn check() -> Result<bool> {
    let counted = count_all()?;
    let mut good = budget::check(&counted, &budget::read()?);
    let of = |wanted| counted.iter().find(|(name, _)| *name == wanted);
    if let (Some((_, few)), Some((_, many))) = (of("route_10"), of("route_1000")) {
        // A tree of 1,000 names is two levels deeper than one of 10; a list would be a hundred times as long.
        let constant = *many < 3.0 * few;
        println!(
            "looking up one of 1,000 services, against one of 10: {:.2}",
            many / few
        );
        good &= constant;
    }
    Ok(good)
}

fn count_all() -> Result<Vec<(&'static str, f64)>> {
    let place = tempfile::tempdir()?;
    let mut counted = Vec::new();
    for (name, _) in work::STEPS {
        let [short, long] = COUNTS.map(|count| count_run(place.path(), name, count));
        let each = long?.checked_sub(short?).context("a longer run took less")?;
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        counted.push((name, each as f64 / (COUNTS[1] - COUNTS[0]) as f64));
    }
    Ok(counted)
}

/// Instructions of a whole run.
fn count_run(place: &Path, name: &str, count: u64) -> Result<u64> {
    let out = place.join(format!("{name}-{count}"));
    let done = Command::new("valgrind")
        .args(["--tool=callgrind", "--separate-threads=yes", "--fair-sched=yes"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe()?)
        .args(["--step", name, &count.to_string()])
        .output()
        .context("cannot run valgrind (Debian: apt-get install valgrind)")?;
    ensure!(
        done.status.success(),
        "{name}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    // Threads are numbered from 1, the main one; what the worker did is the first that was started.
    let thread = if name == "worker" { 2 } else { 1 };
    let path = place.join(format!("{name}-{count}-{thread:02}"));
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
    Ok(total.context("valgrind wrote no total")?.trim().parse()?)
}
