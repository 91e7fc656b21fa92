//! The same bytes through the real Perlbal and through fleetbal, in one run: what backends and clients see is the same
//! but for the differences that are listed, each with its reason.
//!
//! The exchanges are the text files below `cases/`, whose form [`corpus`] describes; the differences in
//! `differences.txt`;
//! and the table of them in `docs/parity.md` is generated. It needs Debian's package `perlbal`.

mod backend;
mod bridge;
mod client;
mod compare;
mod corpus;
mod management;
mod nginx;
mod pages;
mod play;
mod rules;
mod sides;
mod table;
mod text;
mod transcript;
mod tunables;

use std::fmt::Write;

use anyhow::ensure;
use fleetbal_cluster_tests::Result;

use self::corpus::Corpus;

#[test]
fn perlbal_and_fleetbal_differ_only_as_listed() -> Result {
    let corpus = Corpus::read()?;
    let outcomes = play::all(&corpus)?;
    let mut report = String::new();
    let mut wrong = 0;
    for outcome in &outcomes {
        if let Some(complaint) = outcome.complaint() {
            wrong += 1;
            writeln!(report, "\n==== {}\n{complaint}", outcome.name)?;
        }
    }
    ensure!(
        wrong == 0,
        "{wrong} of {} exchanges are not as listed:\n{report}",
        outcomes.len()
    );
    Ok(())
}

#[test]
fn the_table_of_differences_is_true() -> Result {
    table::check(&Corpus::read()?)
}

#[test]
fn the_tables_of_tunables_are_true() -> Result {
    tunables::check(&Corpus::read()?)
}

#[test]
fn there_are_enough_exchanges() -> Result {
    let corpus = Corpus::read()?;
    let count = corpus.exchanges.len();
    ensure!(
        count >= corpus::WANTED,
        "{count} exchanges, {} wanted",
        corpus::WANTED
    );
    Ok(())
}
