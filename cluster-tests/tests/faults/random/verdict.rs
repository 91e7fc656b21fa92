//! Whether what was answered is true.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::{Context, bail, ensure};
use fleetbal_cluster_tests::{Fleet, Result, oracle};
use serde_json::Value;
use todc_utils::linearizability::WGLChecker;
use todc_utils::linearizability::history::{Action, History};
use todc_utils::specifications::Specification;

use super::journal::{Journal, Operation, Outcome, Record};

/// What was judged.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) acknowledged: usize,
    reads: usize,
    refused: usize,
    unknown: usize,
    versions: u64,
    histories: usize,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} changes acknowledged, {} refused, {} left open; {} fresh reads; {} versions; {} histories linearizable",
            self.acknowledged, self.refused, self.unknown, self.reads, self.versions, self.histories
        )
    }
}

/// Judges a fleet that has settled, by all that it answered since it was at version `before`.
pub(super) fn judge(fleet: &Fleet, journal: &Journal, before: u64) -> Result<Figures> {
    let differing = journal.differing();
    ensure!(differing.is_empty(), "nodes differ: {differing:#?}");
    let running = fleet.running();
    let nodes = running
        .iter()
        .map(|&number| fleet.node(number))
        .collect::<Result<Vec<_>>>()?;
    oracle::same_bytes(nodes.iter().copied())?;
    let records = journal.records();
    let mut figures = Figures {
        versions: fleet.node(1)?.version()? - before,
        ..Figures::default()
    };
    let made = made_since(fleet, before)?;
    let mut outcomes = fleet.node(1)?.manage()?;
    let mut wanted = 0;
    for record in &records {
        let (Operation::Create(own) | Operation::Write { value: own, .. }) = &record.operation else {
            figures.reads += 1;
            continue;
        };
        let versions = made.get(own).map(Vec::as_slice).unwrap_or_default();
        wanted += versions.len() as u64;
        ensure!(versions.len() <= 1, "{record:?} was applied as {versions:?}");
        let applied = versions.first();
        match record.ended.as_ref().map(|(_, outcome)| outcome) {
            Some(Outcome::Done) => {
                figures.acknowledged += 1;
                ensure!(applied.is_some(), "{record:?} was acknowledged and is lost");
            }
            Some(Outcome::Refused(_)) => {
                figures.refused += 1;
                ensure!(
                    applied.is_none(),
                    "{record:?} was refused and is version {applied:?}"
                );
            }
            Some(Outcome::Unknown { request: Some(id) }) => {
                figures.unknown += 1;
                let told = outcomes.data(&format!("config request {id}"))?.join("\n");
                let is_true = match applied {
                    Some(version) => told == format!("applied as version {version}"),
                    None => told == "never applied",
                };
                ensure!(is_true, "of {record:?}, version {applied:?}, it is said: {told}");
            }
            Some(Outcome::Unknown { request: None }) | None => figures.unknown += 1,
            Some(Outcome::Value(_)) => bail!("a change was answered with a value: {record:?}"),
        }
    }
    ensure!(
        wanted == figures.versions,
        "{} versions were made, but {wanted} of what was typed",
        figures.versions
    );
    figures.histories = check_registers(&records)?;
    Ok(figures)
}

/// The versions in which each name or value was made, by the fleet's own history, which holds by its own hashes.
fn made_since(fleet: &Fleet, before: u64) -> Result<BTreeMap<String, Vec<u64>>> {
    let mut manage = fleet.node(1)?.manage()?;
    manage.data("config verify")?;
    let lines = manage.data("config history 10000 json")?;
    let history: Value = serde_json::from_str(lines.first().context("no history")?)?;
    let records = history.as_array();
    let mut made: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for record in records.context("no list of versions")? {
        let version = record
            .get("version")
            .and_then(Value::as_u64)
            .context("no version")?;
        if version <= before {
            continue;
        }
        let changes = record
            .get("changes")
            .and_then(Value::as_array)
            .context("no changes")?;
        for change in changes {
            let line = change.as_str().context("a change that is no text")?;
            let own = line.split_whitespace().last().unwrap_or_default();
            made.entry(own.to_owned()).or_default().push(version);
        }
    }
    Ok(made)
}

/// A register, as one would expect it to be.
struct Register;

#[derive(Debug, Clone)]
enum Step {
    Write(String),
    Read(Option<String>),
}

impl Specification for Register {
    type State = Option<String>;
    type Operation = Step;

    fn init() -> Self::State {
        None
    }

    fn apply(step: &Step, state: &Self::State) -> (bool, Self::State) {
        match step {
            Step::Write(value) => (true, Some(value.clone())),
            Step::Read(value) => (value == state, state.clone()),
        }
    }
}

/// Linearizability is a property of each object: of each register's history alone.
fn check_registers(records: &[Record]) -> Result<usize> {
    let registers: BTreeSet<u64> = records
        .iter()
        .filter_map(|record| register(&record.operation))
        .collect();
    for &number in &registers {
        let of_this = records
            .iter()
            .filter(|record| register(&record.operation) == Some(number));
        let history: Vec<_> = of_this.cloned().collect();
        ensure!(
            is_linearizable(&history),
            "register {number} has no linear history: {history:#?}"
        );
    }
    Ok(registers.len())
}

fn register(operation: &Operation) -> Option<u64> {
    match operation {
        Operation::Create(_) => None,
        Operation::Write { register, .. } | Operation::Read { register } => Some(*register),
    }
}

/// A write that nobody knows the end of may come at any time from its call on, or never, which is the same as after
/// all the others. What was refused did not happen; nor did a read that got no answer.
fn is_linearizable(records: &[Record]) -> bool {
    let mut events = Vec::new();
    for (process, record) in records.iter().enumerate() {
        let (at, step) = match (&record.operation, &record.ended) {
            (Operation::Write { value, .. }, Some((at, Outcome::Done))) => (*at, Step::Write(value.clone())),
            (Operation::Write { value, .. }, Some((_, Outcome::Unknown { .. })) | None) => {
                (usize::MAX, Step::Write(value.clone()))
            }
            (Operation::Read { .. }, Some((at, Outcome::Value(value)))) => (*at, Step::Read(value.clone())),
            _ => continue,
        };
        events.push((record.called, (process, Action::Call(step.clone()))));
        events.push((at, (process, Action::Response(step))));
    }
    if events.is_empty() {
        return true;
    }
    events.sort_by_key(|(at, _)| *at);
    let actions = events.into_iter().map(|(_, action)| action).collect();
    WGLChecker::<Register>::is_linearizable(History::from_actions(actions))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(operation: Operation, called: usize, ended: Option<(usize, Outcome)>) -> Record {
        Record {
            operation,
            called,
            ended,
        }
    }

    fn write(value: &str) -> Operation {
        Operation::Write {
            register: 1,
            value: value.to_owned(),
        }
    }

    fn read(value: &str, called: usize, ended: usize) -> Record {
        let seen = Outcome::Value(Some(value.to_owned()));
        record(Operation::Read { register: 1 }, called, Some((ended, seen)))
    }

    #[test]
    fn an_old_value_and_a_refused_one_are_found_out() {
        let first = record(write("a"), 0, Some((1, Outcome::Done)));
        let second = record(write("b"), 2, Some((5, Outcome::Done)));
        let open = record(write("c"), 2, Some((3, Outcome::Unknown { request: None })));
        let refused = record(write("d"), 2, Some((3, Outcome::Refused("no quorum".to_owned()))));
        let meanwhile = read("a", 3, 4);
        assert!(is_linearizable(&[first.clone(), second.clone(), meanwhile]));
        assert!(!is_linearizable(&[
            first.clone(),
            second.clone(),
            read("a", 6, 7)
        ]));
        assert!(!is_linearizable(&[
            first.clone(),
            read("b", 2, 3),
            read("a", 4, 5),
            second.clone()
        ]));
        let late = read("c", 8, 9);
        assert!(is_linearizable(&[
            first.clone(),
            second.clone(),
            open.clone(),
            late.clone()
        ]));
        assert!(!is_linearizable(&[first.clone(), open, late, read("a", 10, 11)]));
        assert!(!is_linearizable(&[first, refused, read("d", 8, 9)]));
    }
}
