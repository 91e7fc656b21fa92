//! `cert list`.

use fleetbal_raft::model::{FleetConfig, UnixMillis};
use serde::Serialize;

use super::cluster::aligned;
use crate::clock;
use crate::tls::Facts;

/// A certificate of the fleet, without its key.
#[derive(Debug, Serialize)]
struct Listed {
    name: String,
    names: Vec<String>,
    not_after: String,
    used_by: Vec<String>,
}

fn listed(config: &FleetConfig) -> impl Iterator<Item = Listed> {
    config.certificates().map(|(name, certificate)| {
        let facts = Facts::of(certificate);
        let ends = facts.as_ref().map(|facts| clock::rfc3339(facts.ends));
        Listed {
            name: name.to_string(),
            names: facts.map(|facts| facts.names).unwrap_or_default(),
            not_after: ends.unwrap_or_default(),
            used_by: config.users_of(name),
        }
    })
}

/// A line for each certificate of the fleet, below one that names the columns.
pub fn list(config: &FleetConfig) -> Vec<String> {
    let joined = |words: &[String]| match words {
        [] => "-".to_owned(),
        words => words.join(","),
    };
    let head = ["NAME", "NAMES", "NOT AFTER", "USED BY"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(listed(config).map(|one| {
        let (names, used_by) = (joined(&one.names), joined(&one.used_by));
        vec![one.name, names, one.not_after, used_by]
    }));
    aligned(&rows, &[])
}

/// The same, for programs.
pub fn list_json(config: &FleetConfig) -> String {
    let all: Vec<_> = listed(config).collect();
    // Texts alone: there is nothing that could fail.
    serde_json::to_string(&all).unwrap_or_default()
}

/// When each certificate of the fleet ends, by name.
pub fn ends(config: &FleetConfig) -> impl Iterator<Item = (&str, UnixMillis)> {
    config
        .certificates()
        .filter_map(|(name, certificate)| Some((name.as_str(), Facts::of(certificate)?.ends)))
}
