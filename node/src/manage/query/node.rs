//! What this node says of itself: `uptime`, `help`, `config version`, `ready`.

use std::time::Duration;

use fleetbal_raft::model::{UnixMillis, Version};

use super::super::parse::COMMANDS;

/// `uptime` and `version`: Perlbal's three lines, with our own version.
pub fn uptime(started: UnixMillis, up: Duration) -> Vec<String> {
    vec![
        format!("starttime {}", started.0 / 1000),
        format!("uptime {}", up.as_secs()),
        format!("version {}", env!("CARGO_PKG_VERSION")),
    ]
}

/// `help`: the commands there are, one a line.
pub fn help() -> Vec<String> {
    COMMANDS.map(str::to_owned).to_vec()
}

/// `config version`: which configuration this node has, and its hash in full.
pub fn config_version(version: Version, hash: &str) -> Vec<String> {
    vec![format!("version {version}"), format!("hash {hash}")]
}

/// `ready`: whether this node should get traffic, and why not.
pub fn ready(not_ready_because: Option<&str>) -> Vec<String> {
    match not_ready_because {
        None => vec!["ready yes".to_owned()],
        Some(reason) => vec![format!("ready no: {reason}")],
    }
}
