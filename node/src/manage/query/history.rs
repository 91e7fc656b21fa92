//! `config history`, `config show`, `config diff`, `config verify`: who changed what.

use fleetbal_raft::model::{Cause, FleetState, History, Record, Version};
use serde::Serialize;

use super::super::plan;
use super::cluster::{aligned, json_line};
use crate::clock;

const COLUMNS: [&str; 6] = ["VERSION", "TIME", "NODE", "WHO", "CHANGES", "WHAT"];

/// The longest text that a table shows of a change.
const WHAT: usize = 72;

/// A version as `json` tells it.
#[derive(Debug, Serialize)]
struct RecordJson<'a> {
    version: u64,
    time: String,
    time_unix_ms: u64,
    node: &'a str,
    address: &'a str,
    token: Option<&'a str>,
    request: String,
    cause: String,
    changes: Vec<String>,
    undo: Vec<String>,
    hash: String,
    previous_hash: String,
}

impl<'a> RecordJson<'a> {
    fn of(record: &'a Record, history: &History) -> Self {
        let lines =
            |changes: &[fleetbal_raft::model::Change]| changes.iter().map(ToString::to_string).collect();
        Self {
            version: record.version.0,
            time: clock::rfc3339(record.time),
            time_unix_ms: record.time.0,
            node: &record.node,
            address: &record.typist.address,
            token: record.typist.token.as_deref(),
            request: record.request_id.to_string(),
            cause: record.cause.to_string(),
            changes: lines(&record.forward),
            undo: lines(&record.backward),
            hash: record.hash.to_string(),
            previous_hash: history.hash_before(record.version).to_string(),
        }
    }
}

/// The last versions, the newest first.
pub fn list(history: &History, count: usize) -> Vec<String> {
    let mut rows = vec![COLUMNS.map(str::to_owned).to_vec()];
    rows.extend(history.records().rev().take(count).map(|record| row(record)));
    let mut lines = aligned(&rows, &[]);
    lines.extend(history.pending().map(|pending| {
        format!(
            "version {} waits for confirm, {} s in all",
            pending.version, pending.seconds
        )
    }));
    lines
}

/// The same as one line of JSON.
pub fn list_json(history: &History, count: usize) -> String {
    let last = history.records().rev().take(count);
    json_line(
        &last
            .map(|record| RecordJson::of(record, history))
            .collect::<Vec<_>>(),
    )
}

/// The cells of a version in the list.
pub fn row(record: &Record) -> Vec<String> {
    vec![
        record.version.to_string(),
        clock::rfc3339(record.time),
        word(&record.node),
        word(&record.typist.to_string()),
        record.forward.len().to_string(),
        what(record),
    ]
}

/// A version in brief, for those who follow what happens.
pub fn summary(record: &Record) -> serde_json::Value {
    serde_json::json!({
        "version": record.version.0,
        "time": clock::rfc3339(record.time),
        "node": record.node,
        "who": record.typist.to_string(),
        "changes": record.forward.len(),
        "summary": what(record),
    })
}

/// One cell is one word, for `awk`.
fn word(text: &str) -> String {
    match text {
        "" => "-".to_owned(),
        text => text.replace(char::is_whitespace, "_"),
    }
}

fn what(record: &Record) -> String {
    let text = match (record.cause, record.forward.first()) {
        (Cause::Lines, Some(first)) => first.to_string(),
        (cause, _) => cause.to_string(),
    };
    if text.chars().count() <= WHAT {
        return text;
    }
    text.chars().take(WHAT).chain("…".chars()).collect()
}

/// One version: who, when, and the lines that came and went with it. None where it is not kept.
pub fn show(state: &FleetState, version: Version) -> Option<Vec<String>> {
    let history = state.history();
    let record = history.record(version)?;
    let before = state.config_at(Version(version.0.saturating_sub(1))).ok()?;
    let after = state.config_at(version).ok()?;
    let mut lines = vec![
        format!("version {version}"),
        format!("time {}", clock::rfc3339(record.time)),
        format!("node {}", record.node),
        format!("who {}", record.typist),
        format!("request {}", record.request_id),
        format!("what {}", record.cause),
        format!("hash {}", record.hash),
        format!("previous {}", history.hash_before(version)),
    ];
    lines.extend(plan::lines(&before, &after));
    Some(lines)
}

/// The same as one line of JSON.
pub fn show_json(history: &History, version: Version) -> Option<String> {
    let record = history.record(version)?;
    Some(json_line(&RecordJson::of(record, history)))
}

/// What differs between two versions.
///
/// # Errors
/// Where one of them is not kept.
pub fn diff(state: &FleetState, from: Version, to: Version) -> Result<Vec<String>, String> {
    let at = |version| state.config_at(version).map_err(|why| why.to_string());
    Ok(plan::lines(&*at(from)?, &*at(to)?))
}

/// Goes through the whole history.
///
/// # Errors
/// The first place where it does not hold.
pub fn verify(state: &FleetState) -> Result<Vec<String>, String> {
    let intact = state.verify_history().map_err(|error| error.to_string())?;
    Ok(vec![
        format!("records {}", intact.records),
        format!("oldest {}", intact.oldest),
        format!("version {}", state.config.version),
        format!("hash {}", intact.hash),
    ])
}
