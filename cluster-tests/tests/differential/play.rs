//! Plays all exchanges on both sides, many at a time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::Context;
use fleetbal_cluster_tests::Result;
use fleetbal_cluster_tests::ports::Net;

use super::compare::Outcome;
use super::corpus::{Corpus, Exchange};
use super::sides::{Program, Side};

/// How many exchanges are under way; most of them wait.
const AT_ONCE: usize = 32;

/// Plays all of them. One that is not as listed is played once more, with nothing beside it: a Perlbal that is short of
/// time or of descriptors closes clients unanswered. Fleetbal is not excused by that: see [`Outcome::again`].
///
/// # Errors
/// When a program does not start, or dies.
pub(crate) fn all(corpus: &Corpus) -> Result<Vec<Outcome>> {
    let net = Net::claim()?;
    let mut perlbal = Side::start(Program::Perlbal, corpus, &net)?;
    let mut fleetbal = Side::start(Program::Fleetbal, corpus, &net)?;
    let outcomes = Mutex::new(Vec::new());
    let started = AtomicUsize::new(0);
    let order = order(corpus);
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((number, exchange)) = order.get(started.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = one(corpus, (&perlbal, &fleetbal), *number, exchange);
                    let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
                    outcomes.push((*number, outcome));
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    for (number, outcome) in &mut outcomes {
        let Some(exchange) = corpus
            .exchanges
            .get(*number)
            .filter(|_| outcome.complaint().is_some())
        else {
            continue;
        };
        eprintln!(
            "{} once more; Perlbal's log so far:\n{}",
            outcome.name,
            perlbal.said()
        );
        outcome.again(one(corpus, (&perlbal, &fleetbal), *number, exchange));
    }
    perlbal.lives().context("Perlbal")?;
    fleetbal.lives().context("fleetbal")?;
    outcomes.sort_by_key(|(number, _)| *number);
    Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
}

/// Those that wait for timeouts begin first.
fn order(corpus: &Corpus) -> Vec<(usize, &Exchange)> {
    let only = std::env::var("FLEETBAL_EXCHANGES").unwrap_or_default();
    let all = corpus.exchanges.iter().enumerate();
    let mut order: Vec<_> = all
        .filter(|(_, exchange)| exchange.name.contains(&only))
        .collect();
    order.sort_by_key(|(_, exchange)| !exchange.is_slow);
    order
}

fn one(corpus: &Corpus, (perlbal, fleetbal): (&Side, &Side), number: usize, exchange: &Exchange) -> Outcome {
    let sides = thread::scope(|scope| {
        let theirs = scope.spawn(|| perlbal.play(number, exchange));
        let ours = fleetbal.play(number, exchange);
        (theirs.join(), ours)
    });
    let (Ok(theirs), ours) = sides else {
        return Outcome::broken(exchange, "a thread panicked");
    };
    match (theirs.context("with Perlbal"), ours.context("with fleetbal")) {
        (Ok(theirs), Ok(ours)) => Outcome::of(exchange, &corpus.differences, &theirs, &ours),
        (Err(error), _) | (_, Err(error)) => Outcome::broken(exchange, &format!("{error:#}")),
    }
}
