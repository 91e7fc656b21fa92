//! One exchange's two records against each other and against what is listed.

use super::corpus::{Exchange, Step};
use super::rules::{self, Difference};
use super::transcript::{Event, Transcript};

/// How an exchange went.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Of the exchange.
    pub(crate) name: String,
    complaints: Vec<String>,
    records: String,
    /// What was seen with fleetbal; none where it was not played to its end.
    ours: Option<Transcript>,
}

impl Outcome {
    /// An exchange that was not played to its end.
    pub(crate) fn broken(exchange: &Exchange, why: &str) -> Self {
        Self {
            name: exchange.name.clone(),
            complaints: vec![why.to_owned()],
            records: String::new(),
            ours: None,
        }
    }

    /// Compares what was seen on both sides.
    pub(crate) fn of(
        exchange: &Exchange,
        differences: &[Difference],
        perlbal: &Transcript,
        fleetbal: &Transcript,
    ) -> Self {
        let mut complaints = facts(exchange, perlbal);
        let (mut theirs, mut ours) = (perlbal.clone(), fleetbal.clone());
        let listed = |id: &str| exchange.shows.iter().any(|listed| listed == id);
        let shown = rules::even_out(differences, listed, &mut theirs, &mut ours);
        for id in exchange.shows.iter().filter(|id| !shown.contains(id)) {
            complaints.push(format!("{id} is listed, and does not show"));
        }
        let rest = difference(&theirs.lines(), &ours.lines());
        if rest != exchange.rest {
            complaints.push(suggestion(differences, perlbal, fleetbal));
        }
        let records = format!(
            "Perlbal:\n  {}\nfleetbal:\n  {}",
            perlbal.lines().join("\n  "),
            fleetbal.lines().join("\n  ")
        );
        Self {
            name: exchange.name.clone(),
            complaints,
            records,
            ours: Some(fleetbal.clone()),
        }
    }

    /// Takes the second try in place of the first, if fleetbal did both times the same: then it was Perlbal that did
    /// not.
    pub(crate) fn again(&mut self, second: Self) {
        if self.ours.is_some() && self.ours == second.ours {
            *self = second;
        }
    }

    /// What is not as listed, if anything.
    pub(crate) fn complaint(&self) -> Option<String> {
        if self.complaints.is_empty() {
            return None;
        }
        Some(format!("{}\n{}", self.complaints.join("\n"), self.records))
    }
}

/// What Perlbal's side should show and does not.
fn facts(exchange: &Exchange, perlbal: &Transcript) -> Vec<String> {
    let lines = perlbal.lines();
    let missing = exchange.facts.iter().filter(|fact| !lines.contains(fact));
    let mut complaints: Vec<_> = missing
        .map(|fact| format!("Perlbal does not show: {fact}"))
        .collect();
    for client in &perlbal.clients {
        let (got, wanted) = (reads(&client.events), wanted(exchange, &client.name));
        let fits = |(at, wanted): (usize, &&str)| match got.get(at) {
            // Nothing is read from a connection that has ended.
            None => *wanted == "none" || *wanted == "any",
            Some(got) => got == wanted || *wanted == "any",
        };
        if got.len() > wanted.len() || !wanted.iter().enumerate().all(fits) {
            complaints.push(format!("Perlbal answers {got:?}, not {wanted:?}"));
        }
    }
    complaints
}

/// What a client should get for each of its reads, with Perlbal.
fn wanted<'a>(exchange: &'a Exchange, client: &str) -> Vec<&'a str> {
    let mut all = Vec::new();
    let mut name = "a";
    for step in &exchange.steps {
        match step {
            Step::Client(other) => name = other,
            Step::Read { wanted, .. } if name == client => all.push(wanted.as_str()),
            Step::Read { .. }
            | Step::Send(_)
            | Step::Pause(_)
            | Step::Await(_)
            | Step::Opened(_)
            | Step::Up(_)
            | Step::Release
            | Step::Shut
            | Step::Close => {}
        }
    }
    all
}

/// What a client got for each of its reads.
fn reads(events: &[Event]) -> Vec<&str> {
    let mut reads = Vec::new();
    for event in events {
        match event {
            Event::Response(message) => reads.push(message.status()),
            Event::ClosedUnanswered => reads.push("none"),
            Event::Silence => reads.push("silence"),
            Event::Bytes(_) | Event::Closed | Event::Open => {}
        }
    }
    reads
}

/// What the exchange would have to list.
fn suggestion(differences: &[Difference], perlbal: &Transcript, fleetbal: &Transcript) -> String {
    let (mut theirs, mut ours) = (perlbal.clone(), fleetbal.clone());
    let ids = rules::even_out(differences, |_| true, &mut theirs, &mut ours);
    // Once more with those alone, as the exchange will be compared: one that shows nothing may still move lines.
    (theirs, ours) = (perlbal.clone(), fleetbal.clone());
    let is_one = |id: &str| ids.iter().any(|one| one == id);
    rules::even_out(differences, is_one, &mut theirs, &mut ours);
    let rest = difference(&theirs.lines(), &ours.lines());
    format!(
        "the differences are not those listed; they are\nshows {}\n{}",
        ids.join(" "),
        rest.join("\n")
    )
}

/// The lines that only one has, in order: `- ` for the first, `+ ` for the second.
#[expect(
    clippy::indexing_slicing,
    reason = "the table has a place for every pair of lines"
)]
pub(crate) fn difference(theirs: &[String], ours: &[String]) -> Vec<String> {
    let width = ours.len() + 1;
    // Lengths of the longest common ends.
    let mut common = vec![0_usize; (theirs.len() + 1) * width];
    for (at, left) in theirs.iter().enumerate().rev() {
        for (other, right) in ours.iter().enumerate().rev() {
            let value = if left == right {
                common[(at + 1) * width + other + 1] + 1
            } else {
                common[(at + 1) * width + other].max(common[at * width + other + 1])
            };
            common[at * width + other] = value;
        }
    }
    let (mut at, mut other) = (0, 0);
    let mut lines = Vec::new();
    while at < theirs.len() || other < ours.len() {
        if at < theirs.len() && other < ours.len() && theirs[at] == ours[other] {
            at += 1;
            other += 1;
        } else if other == ours.len()
            || at < theirs.len() && common[(at + 1) * width + other] >= common[at * width + other + 1]
        {
            lines.push(format!("- {}", theirs[at]));
            at += 1;
        } else {
            lines.push(format!("+ {}", ours[other]));
            other += 1;
        }
    }
    lines
}
