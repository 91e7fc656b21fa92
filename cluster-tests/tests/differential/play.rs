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

/// Plays all of them. One that is not as listed is played once more, with nothing beside it and both programs new, as
/// they remember a minute long which backends keep nothing: a Perlbal that is short of time or of descriptors closes
/// clients unanswered, or forgets them. Fleetbal is not excused by that: see [`Outcome::again`].
///
/// # Errors
/// When a program does not start, or dies.
pub(crate) fn all(corpus: &Corpus) -> Result<Vec<Outcome>> {
    let mut outcomes = with_both(corpus, |sides| many(corpus, sides))?;
    if outcomes.iter().any(|(_, outcome)| outcome.complaint().is_some()) {
        with_both(corpus, |sides| again(corpus, sides, &mut outcomes))?;
    }
    outcomes.sort_by_key(|(number, _)| *number);
    Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
}

/// Does something with both programs, newly started, which have to live still when it is done.
fn with_both<T>(corpus: &Corpus, play: impl FnOnce((&Side, &Side)) -> T) -> Result<T> {
    let net = Net::claim()?;
    let mut perlbal = Side::start(Program::Perlbal, corpus, &net)?;
    let mut fleetbal = Side::start(Program::Fleetbal, corpus, &net)?;
    let played = play((&perlbal, &fleetbal));
    perlbal.lives().context("Perlbal")?;
    fleetbal.lives().context("fleetbal")?;
    Ok(played)
}

fn many(corpus: &Corpus, sides: (&Side, &Side)) -> Vec<(usize, Outcome)> {
    let outcomes = Mutex::new(Vec::new());
    let started = AtomicUsize::new(0);
    let order = order(corpus);
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((number, exchange)) = order.get(started.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = one(corpus, sides, *number, exchange);
                    let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
                    outcomes.push((*number, outcome));
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    let complaints = outcomes
        .iter()
        .filter_map(|(_, outcome)| Some((&outcome.name, outcome.complaint()?)));
    let complaints: Vec<_> = complaints.collect();
    for (name, complaint) in &complaints {
        eprintln!("{name} is not as listed: {complaint}");
    }
    if !complaints.is_empty() {
        eprintln!("Perlbal's log:\n{}", sides.0.said());
    }
    outcomes
}

/// Plays those once more that are not as listed.
fn again(corpus: &Corpus, sides: (&Side, &Side), outcomes: &mut [(usize, Outcome)]) {
    for (number, outcome) in outcomes {
        let doubtful = outcome.complaint().is_some();
        if let Some(exchange) = corpus.exchanges.get(*number).filter(|_| doubtful) {
            eprintln!("{} once more", outcome.name);
            outcome.again(one(corpus, sides, *number, exchange));
        }
    }
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
