//! `fleetbal cluster …`: the fleet at a glance, and what makes it grow.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Deserialize;

mod backup;
mod recover;
mod roll;

use super::client::{Answer, Server, print, print_lines, report};
use super::exit;

/// Ask and change the fleet.
#[derive(Debug, Args)]
pub(super) struct ClusterArgs {
    #[command(flatten)]
    server: Server,
    #[command(subcommand)]
    command: ClusterCommand,
}

#[derive(Debug, Subcommand)]
enum ClusterCommand {
    /// Who is there, who leads, who lags; exits with 3 where something is wrong
    Status {
        /// One line of JSON
        #[arg(long)]
        json: bool,
    },
    /// One line a member
    Members {
        /// One line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Print a new join token
    Token {
        /// How long it is good for, in seconds
        #[arg(long, value_name = "SECONDS")]
        ttl: Option<u64>,
        /// How often it may be used [default: without limit]
        #[arg(long, value_name = "N")]
        uses: Option<u32>,
        /// Write it into this file, for its owner alone, instead of printing it
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// List the join tokens that are still good
    Tokens,
    /// Take a join token back
    Revoke {
        /// Its id, as `tokens` prints it
        id: String,
    },
    /// Take a member out of the fleet; it drains, wipes its data directory and ends
    Remove {
        /// Its name
        node: String,
    },
    /// Give a member a vote, before others
    Promote {
        /// Its name
        node: String,
    },
    /// Take a member's vote; it stays a learner
    Demote {
        /// Its name
        node: String,
    },
    /// Let a member lead
    Transfer {
        /// Its name
        node: String,
    },
    /// Give the node that is asked a new key
    Rekey,
    /// Go round the fleet: drain a node, run a command, wait until it is ready and caught up, and on to the next
    Roll(roll::RollArgs),
    /// Save the configuration to a file
    Backup(backup::BackupArgs),
    /// Make a new fleet's configuration what a backup says
    Restore(backup::RestoreArgs),
    /// Go on with one node when most voters are lost for good; to be run on that node while it is stopped
    Recover(recover::RecoverArgs),
}

/// What decides the exit code of `status`, and whether a node may be stopped.
#[derive(Debug, Deserialize)]
struct Health {
    leader: Option<String>,
    in_sync: bool,
    quorum: Quorum,
    nodes: Vec<Member>,
}

#[derive(Debug, Deserialize)]
struct Quorum {
    ok: bool,
    voters: u32,
    tolerates: u32,
}

#[derive(Debug, Clone, Deserialize)]
struct Member {
    name: String,
    address: String,
    state: String,
    role: String,
    ready: Option<bool>,
    not_ready_because: Option<String>,
    requests_total: Option<u64>,
}

impl Member {
    fn is_fine(&self) -> bool {
        match self.state.as_str() {
            "left" => true,
            state => state == "alive" && self.ready == Some(true),
        }
    }
}

impl Health {
    fn is_fine(&self) -> bool {
        self.in_sync && self.quorum.ok && self.nodes.iter().all(Member::is_fine)
    }

    fn node(&self, name: &str) -> Option<&Member> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// What keeps it from being fine, in words.
    fn amiss(&self) -> String {
        let bad = self.nodes.iter().find(|node| !node.is_fine());
        match bad {
            _ if !self.quorum.ok => "the fleet has no quorum".to_owned(),
            Some(node) if node.state != "alive" => format!("{} is {}", node.name, node.state),
            Some(node) => {
                let because = node.not_ready_because.as_deref().unwrap_or("not known why");
                format!("{} is not ready: {because}", node.name)
            }
            None => "the nodes are not in sync".to_owned(),
        }
    }
}

pub(super) fn run(args: &ClusterArgs) -> ExitCode {
    let about = |word: &str, name: &str| print(args.server.ask(&format!("cluster {word} {name}")));
    match &args.command {
        ClusterCommand::Status { json } => status(&args.server, *json),
        ClusterCommand::Members { json: true } => print(args.server.ask("cluster members json")),
        ClusterCommand::Members { json: false } => print(args.server.ask("cluster members")),
        ClusterCommand::Token { ttl, uses, file } => {
            let answer = args.server.ask(&token_command(*ttl, *uses));
            match (answer, file) {
                (Ok(Answer::Lines(lines)), Some(file)) => keep(file, &lines),
                (answer, _) => print(answer),
            }
        }
        ClusterCommand::Tokens => print(args.server.ask("cluster tokens")),
        ClusterCommand::Remove { node } => about("remove", node),
        ClusterCommand::Promote { node } => about("promote", node),
        ClusterCommand::Demote { node } => about("demote", node),
        ClusterCommand::Transfer { node } => about("transfer", node),
        ClusterCommand::Rekey => print(args.server.ask("cluster rekey")),
        ClusterCommand::Revoke { id } => about("revoke", id),
        ClusterCommand::Roll(roll) => roll::roll(&args.server, roll),
        ClusterCommand::Backup(backup) => backup::backup(&args.server, backup),
        ClusterCommand::Restore(restore) => backup::restore(&args.server, restore),
        ClusterCommand::Recover(recover) => recover::recover(recover),
    }
}

/// Writes a token where its owner alone can read it.
fn keep(file: &Path, lines: &[String]) -> ExitCode {
    let token = lines.iter().find(|line| *line != ".");
    let text = token.map(|token| format!("{token}\n")).unwrap_or_default();
    match backup::write(file, text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fleetbal: cannot write {}: {error}", file.display());
            ExitCode::from(exit::FAILED)
        }
    }
}

fn token_command(ttl: Option<u64>, uses: Option<u32>) -> String {
    let ttl = ttl.map(|seconds| format!(" ttl {seconds}")).unwrap_or_default();
    let uses = uses.map(|uses| format!(" uses {uses}")).unwrap_or_default();
    format!("cluster token{ttl}{uses}")
}

fn status(server: &Server, json: bool) -> ExitCode {
    let lines = match server.ask("cluster status json") {
        Ok(Answer::Lines(lines)) => lines,
        other => return print(other),
    };
    let health = lines.first().map(|line| serde_json::from_str::<Health>(line));
    if json {
        print_lines(&lines);
    } else {
        match server.ask("cluster status") {
            Ok(Answer::Lines(table)) => print_lines(&table),
            Ok(refused @ Answer::Refused(_)) => return print(Ok(refused)),
            Err(error) => return report(&error),
        }
    }
    match health {
        Some(Ok(health)) if health.is_fine() => ExitCode::SUCCESS,
        _ => ExitCode::from(exit::DEGRADED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anything_amiss_is_degraded() {
        let fine = |text: &str| serde_json::from_str::<Health>(text).unwrap().is_fine();
        let status = |in_sync: bool, ok: bool, state: &str, ready: &str| {
            format!(
                r#"{{"leader":"n1","in_sync":{in_sync},"quorum":{{"ok":{ok},"voters":3,"tolerates":1}},"nodes":[{{"name":"n1",
                "address":"10.0.0.1:7400","role":"leader","state":"{state}","ready":{ready}}}]}}"#
            )
        };
        assert!(fine(&status(true, true, "alive", "true")));
        assert!(fine(&status(true, true, "left", "null")));
        assert!(!fine(&status(false, true, "alive", "true")));
        assert!(!fine(&status(true, false, "alive", "true")));
        assert!(!fine(&status(true, true, "dead", "true")));
        assert!(!fine(&status(true, true, "alive", "false")));
        assert!(!fine(&status(true, true, "alive", "null")));
    }

    #[test]
    fn token_arguments_become_words() {
        assert_eq!(token_command(None, None), "cluster token");
        assert_eq!(token_command(Some(60), Some(2)), "cluster token ttl 60 uses 2");
    }
}
