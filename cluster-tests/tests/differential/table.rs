//! The table of differences in `docs/parity.md`, made from the rules and the exchanges.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::{Result, process};

use super::corpus::{Corpus, Exchange};

/// Compares the table in the docs with what it should be; writes it where `FLEETBAL_WRITE_DOCS` is set.
///
/// # Errors
/// When it is out of date, or exchanges and rules do not fit.
pub(crate) fn check(corpus: &Corpus) -> Result {
    replace("differential", &table(corpus)?)
}

/// Looks whether the docs say `text` between the marks of that name; puts it there where `FLEETBAL_WRITE_DOCS` is set.
///
/// # Errors
/// When they say something else.
pub(crate) fn replace(name: &str, text: &str) -> Result {
    // Two tables of one file, each written by a test of its own.
    static WRITES: Mutex<()> = Mutex::new(());
    let _writes = WRITES.lock().unwrap_or_else(PoisonError::into_inner);
    let path = process::workspace().join("docs/parity.md");
    let docs = fs::read_to_string(&path)?;
    let (begin, end) = (format!("<!-- {name}:begin -->\n"), format!("<!-- {name}:end -->"));
    let (before, rest) = docs.split_once(&begin).context("no begin of the table")?;
    let (now, after) = rest.split_once(&end).context("no end of the table")?;
    if std::env::var_os("FLEETBAL_WRITE_DOCS").is_some() {
        fs::write(&path, format!("{before}{begin}{text}{end}{after}"))?;
        return Ok(());
    }
    ensure!(
        now == text,
        "docs/parity.md is out of date: run this test with FLEETBAL_WRITE_DOCS=1"
    );
    Ok(())
}

fn table(corpus: &Corpus) -> Result<String> {
    let mut shows: BTreeMap<&str, usize> = BTreeMap::new();
    for exchange in &corpus.exchanges {
        for id in exchange.shows.iter().chain(&exchange.rest_ids) {
            *shows.entry(id).or_default() += 1;
        }
        ensure!(
            exchange.rest.is_empty() == exchange.rest_ids.is_empty(),
            "{}: lines that differ need a `differs`, and a `differs` needs lines",
            exchange.name
        );
    }
    let unknown = shows
        .keys()
        .find(|id| corpus.differences.iter().all(|one| one.id != **id));
    ensure!(unknown.is_none(), "no difference is called {unknown:?}");
    let mut text = String::from(
        "| difference | Perlbal | fleetbal | why | exchanges |\n| --- | --- | --- | --- | --- |\n",
    );
    for one in &corpus.differences {
        let count = shows.get(one.id.as_str()).copied().unwrap_or(0);
        ensure!(count > 0, "no exchange shows {}", one.id);
        writeln!(
            text,
            "| `{}` | {} | {} | {} | {count} |",
            one.id, one.perlbal, one.fleetbal, one.why
        )?;
    }
    areas(corpus, &mut text)?;
    Ok(text)
}

/// What is exchanged, area by area.
fn areas(corpus: &Corpus, text: &mut String) -> Result {
    let mut areas: BTreeMap<&str, Vec<(&str, &Exchange)>> = BTreeMap::new();
    for exchange in &corpus.exchanges {
        let (area, name) = exchange.name.split_once('/').context("no area")?;
        areas.entry(area).or_default().push((name, exchange));
    }
    text.push_str("\n| area | reference | exchanges | what |\n| --- | --- | --- | --- |\n");
    for (area, exchanges) in &areas {
        let mut sections: Vec<_> = exchanges.iter().map(|(_, one)| one.section.as_str()).collect();
        sections.sort_unstable();
        sections.dedup();
        let about: Vec<_> = exchanges
            .iter()
            .map(|(name, one)| format!("`{name}` {}", one.about))
            .collect();
        writeln!(
            text,
            "| {area} | {} | {} | {} |",
            sections.join(", "),
            exchanges.len(),
            about.join("; ")
        )?;
    }
    writeln!(text, "\n{} exchanges in all.", corpus.exchanges.len())?;
    Ok(())
}
