//! The tables of tunables and of behaviours in `docs/parity.md`: for each, the tests and exchanges that show it. They
//! are made from `tunables.txt`, from raft's table of tunables and from the exchanges.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use fleetbal_cluster_tests::{Result, process};
use fleetbal_raft::model::{Role, TUNABLES};

use super::corpus::{Corpus, Exchange};
use super::table;

/// So many exchanges of an area are named one by one.
const NAMED: usize = 4;

/// Rows for settings that Perlbal does not have begin their notes so; the others need exchanges.
const OURS: [&str; 2] = ["not in Perlbal", "in Perlbal a setting of the plugin"];

/// What every exchange sets says so.
const ALWAYS: &str = "every exchange sets it";

/// These sections of the reference have a row each.
const SECTIONS: [&str; 30] = [
    "3.1", "3.2", "3.3", "3.4", "4.1", "4.2", "4.3", "4.4", "4.5", "4.6", "4.7", "4.8", "4.9", "4.10",
    "4.11", "4.12", "4.13", "5.1", "5.2", "5.3", "5.4", "5.5", "6.1", "6.2", "6.3", "6.4", "7.1", "7.2",
    "7.4", "8.2",
];

#[derive(Debug)]
struct Row {
    /// A tunable, or `section N` and its name.
    about: String,
    tests: Vec<String>,
    /// `AREA/NAME`.
    exchanges: BTreeSet<String>,
    note: String,
}

/// Compares the tables in the docs with what they should be; writes them where `FLEETBAL_WRITE_DOCS` is set.
///
/// # Errors
/// When they are out of date, a row is missing, or one names what does not exist.
pub(crate) fn check(corpus: &Corpus) -> Result {
    table::replace("tunables", &tables(corpus)?)
}

fn tables(corpus: &Corpus) -> Result<String> {
    let rows = rows(corpus)?;
    complete(&rows)?;
    let mut text = String::new();
    for (title, is_section) in [("tunable", false), ("section of the reference", true)] {
        writeln!(
            text,
            "| {title} | tests | exchanges | |\n| --- | --- | --- | --- |"
        )?;
        for row in rows.iter().filter(|row| row.section().is_some() == is_section) {
            let about = row.about.strip_prefix("section ");
            let about = about.map_or_else(|| format!("`{}`", row.about), str::to_owned);
            let tests: Vec<_> = row.tests.iter().map(|test| format!("`{test}`")).collect();
            let exchanges = shown(&row.exchanges, corpus);
            writeln!(
                text,
                "| {about} | {} | {exchanges} | {} |",
                tests.join(" "),
                row.note
            )?;
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    Ok(text)
}

impl Row {
    fn section(&self) -> Option<&str> {
        self.about.strip_prefix("section ")?.split(' ').next()
    }
}

fn rows(corpus: &Corpus) -> Result<Vec<Row>> {
    let path = process::workspace().join("cluster-tests/tests/differential/tunables.txt");
    let text = fs::read_to_string(&path)?;
    let tests = tests()?;
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let rows = lines.map(|line| row(line, corpus, &tests).with_context(|| line.to_owned()));
    rows.collect()
}

fn row(line: &str, corpus: &Corpus, tests: &BTreeSet<String>) -> Result<Row> {
    let mut parts = line.split('|').map(str::trim);
    let mut next = || parts.next().context("a part is missing");
    let (about, names, note) = (next()?, next()?, next()?);
    let mut row = Row {
        about: about.to_owned(),
        tests: Vec::new(),
        exchanges: BTreeSet::new(),
        note: note.to_owned(),
    };
    for name in names.split_ascii_whitespace() {
        let in_area = |exchange: &&Exchange| exchange.name == name || area(&exchange.name) == name;
        let exchanges: Vec<_> = corpus.exchanges.iter().filter(in_area).collect();
        if exchanges.is_empty() {
            ensure!(tests.contains(name), "there is no test or exchange '{name}'");
            row.tests.push(name.to_owned());
        }
        row.exchanges
            .extend(exchanges.into_iter().map(|one| one.name.clone()));
    }
    let section = row.section().map(str::to_owned);
    let shows = |exchange: &&Exchange| match &section {
        Some(section) => exchange.section.split(", ").any(|one| one == section),
        None => exchange.settings.iter().any(|setting| key(setting) == about),
    };
    let showing = corpus.exchanges.iter().filter(shows);
    row.exchanges.extend(showing.map(|one| one.name.clone()));
    ensure!(!row.tests.is_empty(), "no test");
    let may_lack = note == ALWAYS || OURS.iter().any(|ours| note.starts_with(ours));
    ensure!(may_lack || !row.exchanges.is_empty(), "no exchange");
    Ok(row)
}

/// That each tunable and section has its row, and no other has.
fn complete(rows: &[Row]) -> Result {
    let all: Vec<_> = rows.iter().map(|row| row.about.as_str()).collect();
    let tunables = TUNABLES.iter().filter(|one| {
        [Role::Echo, Role::ReverseProxy, Role::Selector, Role::WebServer]
            .iter()
            .any(|role| one.applies_to(Some(*role)))
    });
    let mut wanted: Vec<_> = tunables.map(|one| one.key).collect();
    if let Some(missing) = wanted.iter().find(|key| !all.contains(key)) {
        bail!("tunables.txt has no row for {missing}");
    }
    wanted.extend(SECTIONS);
    let mut found: Vec<_> = rows
        .iter()
        .map(|row| row.section().unwrap_or(&row.about))
        .collect();
    wanted.sort_unstable();
    found.sort_unstable();
    ensure!(wanted == found, "wanted are {wanted:?}, there are {found:?}");
    Ok(())
}

fn key(setting: &str) -> &str {
    setting.split('=').next().unwrap_or_default().trim()
}

fn area(name: &str) -> &str {
    name.split('/').next().unwrap_or_default()
}

/// Names of exchanges; where there are many of an area, their number, or that they are all of it.
fn shown(names: &BTreeSet<String>, corpus: &Corpus) -> String {
    let mut areas: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for name in names {
        areas.entry(area(name)).or_default().push(name);
    }
    let words = areas.into_iter().flat_map(|(of, names)| {
        let all = corpus.exchanges.iter().filter(|one| area(&one.name) == of);
        if names.len() == all.count() {
            vec![format!("all of {of}")]
        } else if names.len() > NAMED {
            vec![format!("{} of {of}", names.len())]
        } else {
            names.into_iter().map(|name| format!("`{name}`")).collect()
        }
    });
    words.collect::<Vec<_>>().join(", ")
}

/// The names of all functions behind `#[test]` and the like.
fn tests() -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for part in ["node", "raft", "cluster-tests"] {
        for below in ["src", "tests"] {
            read_tests(&process::workspace().join(part).join(below), &mut names)?;
        }
    }
    Ok(names)
}

fn read_tests(path: &Path, names: &mut BTreeSet<String>) -> Result {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            read_tests(&entry?.path(), names)?;
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        let mut is_test = false;
        for line in fs::read_to_string(path)?.lines().map(str::trim) {
            is_test |= line.starts_with("#[test") || line.starts_with("#[tokio::test");
            let name = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
            if let (true, Some(name)) = (is_test, name) {
                names.extend(name.split('(').next().map(str::to_owned));
                is_test = false;
            }
        }
    }
    Ok(())
}
