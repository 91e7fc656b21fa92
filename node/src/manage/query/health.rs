//! `health`: what this node thinks of the backends, and why.

use std::time::Duration;

use super::cluster::aligned;
use crate::checks::{BackendHealth, Evidence, Why};
use crate::health::{Observation, Rule};

const UNKNOWN: &str = "-";

/// A line for each backend: `POOL ip:port STATE SINCE REASON`, where SINCE is in seconds.
pub fn lines(all: &[BackendHealth]) -> Vec<String> {
    all.iter().map(line).collect()
}

fn line(health: &BackendHealth) -> String {
    let state = health.standing.as_str();
    let reason = match (&health.reason, health.part) {
        (Some(reason), _) => reason.clone(),
        (None, Some(part)) => format!("begins slowly, with {} % of its requests", part / 10),
        (None, None) => UNKNOWN.to_owned(),
    };
    let panic = if health.is_panic && !health.is_up {
        " (used all the same: too much of the pool is down)"
    } else {
        ""
    };
    format!(
        "{} {state} {}{panic}",
        health.key,
        seconds(health.since) + " " + &reason
    )
}

/// The verdict on a backend and the rule that decided, in a few words.
pub fn verdict(why: &Why) -> String {
    let health = &why.health;
    let mut text = format!(
        "{} for {} s, {}",
        health.standing.as_str(),
        seconds(health.since),
        rule(why.rule)
    );
    if let Some(reason) = &health.reason {
        text = format!("{text}: {reason}");
    }
    if health.is_panic && !health.is_up {
        text += " (used all the same: too much of the pool is down)";
    }
    text
}

fn seconds(time: Duration) -> String {
    time.as_secs().to_string()
}

const COLUMNS: [&str; 5] = ["NODE", "CHECKS", "SAYS", "AGE", "REASON"];

/// For each pool that it is in: the line of `health`, the rule, and what each live node says of it.
pub fn why(all: &[Why]) -> Vec<String> {
    let mut lines = Vec::new();
    for why in all {
        lines.push(line(&why.health));
        lines.push(format!("rule: {}", rule(why.rule)));
        let mut rows = vec![COLUMNS.map(str::to_owned).to_vec()];
        rows.extend(why.evidence.iter().map(row));
        lines.extend(aligned(&rows, &[]));
    }
    lines
}

fn rule(rule: Rule) -> String {
    match rule {
        Rule::Own => "what this node has seen itself".to_owned(),
        Rule::Majority { down, of } => format!("{down} of {of} checkers say down"),
        Rule::Outvoted { down, of } => format!("only {down} of {of} checkers say down"),
        Rule::Nobody => "no checker says down".to_owned(),
        Rule::Outcome => "the outcome of this node's own requests".to_owned(),
    }
}

fn row(evidence: &Evidence) -> Vec<String> {
    let (says, reason) = match &evidence.observation {
        None => (UNKNOWN, UNKNOWN.to_owned()),
        Some(Observation::Up(None)) => ("up", UNKNOWN.to_owned()),
        Some(Observation::Up(Some(millis))) => ("up", format!("answered in {millis} ms")),
        Some(Observation::Down(reason)) => ("down", reason.clone()),
        Some(Observation::Ejected(reason)) => ("ejected", reason.clone()),
    };
    let age = evidence.age.map(|age| format!("{:.1}", age.as_secs_f64()));
    vec![
        evidence.node.clone(),
        if evidence.is_checker { "yes" } else { "no" }.to_owned(),
        says.to_owned(),
        age.unwrap_or_else(|| UNKNOWN.to_owned()),
        reason,
    ]
}

#[cfg(test)]
mod tests {
    use fleetbal_raft::model::{BackendAddress, PoolName};

    use super::*;
    use crate::checks::Standing;
    use crate::health::Key;

    fn down(is_panic: bool) -> BackendHealth {
        BackendHealth {
            key: Key {
                pool: PoolName::parse("web").unwrap(),
                backend: BackendAddress::parse("10.0.0.1:80").unwrap(),
            },
            standing: Standing::Down,
            is_up: false,
            is_panic,
            is_ejected: false,
            ejections: 0,
            part: None,
            since: Duration::from_millis(12_700),
            reason: Some("Connection refused".to_owned()),
        }
    }

    #[test]
    fn a_line_says_what_and_why() {
        let up = BackendHealth {
            standing: Standing::Up,
            is_up: true,
            reason: None,
            ..down(false)
        };
        let warming = BackendHealth {
            part: Some(250),
            ..up.clone()
        };
        let expected = [
            "web 10.0.0.1:80 down 12 Connection refused",
            "web 10.0.0.1:80 down 12 Connection refused (used all the same: too much of the pool is down)",
            "web 10.0.0.1:80 up 12 -",
            "web 10.0.0.1:80 up 12 begins slowly, with 25 % of its requests",
        ];
        assert_eq!(lines(&[down(false), down(true), up, warming]), expected);
    }

    #[test]
    fn why_names_everybody() {
        let evidence = |node: &str, is_checker, observation, age| Evidence {
            node: node.to_owned(),
            is_checker,
            observation,
            age,
        };
        let why = super::why(&[Why {
            health: down(false),
            rule: Rule::Majority { down: 1, of: 1 },
            evidence: vec![
                evidence(
                    "n1",
                    true,
                    Some(Observation::Down("Connection refused".to_owned())),
                    Some(Duration::from_millis(250)),
                ),
                evidence("n10", false, None, None),
                evidence("n2", false, Some(Observation::Up(Some(3))), Some(Duration::ZERO)),
            ],
        }]);
        let expected = [
            "web 10.0.0.1:80 down 12 Connection refused",
            "rule: 1 of 1 checkers say down",
            "NODE  CHECKS  SAYS  AGE  REASON",
            "n1    yes     down  0.2  Connection refused",
            "n10   no      -     -    -",
            "n2    no      up    0.0  answered in 3 ms",
        ];
        assert_eq!(why, expected);
    }
}
