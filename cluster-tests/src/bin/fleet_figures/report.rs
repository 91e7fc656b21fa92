//! Tables of figures, as Markdown.

use std::fs;
use std::time::Duration;

use anyhow::Context;
use fleetbal_cluster_tests::{Result, process};

/// What a figure must not exceed, and should not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bound {
    pub(crate) must: f64,
    pub(crate) aim: f64,
}

/// Figures that belong together.
#[derive(Debug, Default)]
pub(crate) struct Table {
    title: String,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    what: String,
    value: f64,
    unit: &'static str,
    bound: Option<Bound>,
}

impl Table {
    pub(crate) fn new(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            rows: Vec::new(),
        }
    }

    /// Adds a figure that nothing is asked of.
    pub(crate) fn tell(&mut self, what: &str, value: f64, unit: &'static str) {
        self.row(what, value, unit, None);
    }

    /// Adds a figure with its bound, in the same unit.
    pub(crate) fn hold(&mut self, what: &str, value: f64, unit: &'static str, bound: Bound) {
        self.row(what, value, unit, Some(bound));
    }

    /// Adds the median of times and the longest of them, both in milliseconds; the median is held to the bound.
    pub(crate) fn times(&mut self, what: &str, times: &mut [Duration], bound: Option<Bound>) -> Result {
        times.sort_unstable();
        let at = |percent: usize| {
            let index = (times.len() * percent / 100).min(times.len().saturating_sub(1));
            times.get(index).map(millis).context("nothing was measured")
        };
        let (median, late, longest) = (at(50)?, at(99)?, at(100)?);
        self.row(&format!("{what}, median of {}", times.len()), median, "ms", bound);
        if times.len() > 100 {
            self.tell(&format!("{what}, p99"), late, "ms");
        }
        self.tell(&format!("{what}, longest"), longest, "ms");
        Ok(())
    }

    fn row(&mut self, what: &str, value: f64, unit: &'static str, bound: Option<Bound>) {
        let what = what.to_owned();
        println!("{what}: {value:.2} {unit}");
        self.rows.push(Row {
            what,
            value,
            unit,
            bound,
        });
    }

    /// What is not as it must be.
    pub(crate) fn missed(&self) -> Vec<String> {
        let missed = self
            .rows
            .iter()
            .filter(|row| row.bound.is_some_and(|bound| row.value > bound.must));
        missed
            .map(|row| format!("{} ({:.2} {})", row.what, row.value, row.unit))
            .collect()
    }

    pub(crate) fn text(&self, load: &str) -> String {
        let mut lines = vec![
            format!("| {} |  | must / aim |  |", self.title),
            "| --- | ---: | ---: | ---: |".to_owned(),
        ];
        lines.extend(self.rows.iter().map(Row::line));
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let built = if cfg!(debug_assertions) {
            "for debugging: these figures mean nothing"
        } else {
            "as a release"
        };
        lines.push(format!(
            "\n{cpus} CPUs; load average before: {load}; built {built}."
        ));
        lines.join("\n")
    }
}

impl Row {
    fn line(&self) -> String {
        let Self {
            what, value, unit, ..
        } = self;
        let Some(bound) = self.bound else {
            return format!("| {what} | {value:.2} {unit} | – |  |");
        };
        let verdict = match *value {
            value if value <= bound.aim => "aim met",
            value if value <= bound.must => "met",
            _ => "**missed**",
        };
        let Bound { must, aim } = bound;
        format!(
            "| {what} | {value:.2} {unit} | {} / {} {unit} | {verdict} |",
            short(must),
            short(aim)
        )
    }
}

/// A bound without the digits that it does not have.
fn short(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

pub(crate) fn millis(time: &Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

pub(crate) fn load_average() -> Result<String> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text.split_whitespace().take(3).collect::<Vec<_>>().join("/"))
}

/// Puts a table between its markers.
pub(crate) fn write_docs(name: &str, table: &str) -> Result {
    let path = process::workspace().join("docs/benchmarks.md");
    let text = fs::read_to_string(&path)?;
    let (begin, end) = (
        format!("<!-- fleet-{name}:begin -->"),
        format!("<!-- fleet-{name}:end -->"),
    );
    let (before, rest) = text.split_once(&begin).with_context(|| format!("no {begin}"))?;
    let (_, after) = rest.split_once(&end).with_context(|| format!("no {end}"))?;
    fs::write(&path, format!("{before}{begin}\n\n{table}\n\n{end}{after}"))?;
    Ok(())
}
