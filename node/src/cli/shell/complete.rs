//! Which words can follow: commands, and the names that the fleet has now.

use std::borrow::Cow;

use fleetbal_raft::model::{Role, TUNABLES};
use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Result};

use super::talk::Talk;
use crate::cli::client::{Answer, ClientError};
use crate::manage::manual::PAGES;

/// What there are names for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) commands: Vec<String>,
    pub(super) services: Vec<String>,
    pub(super) pools: Vec<String>,
    pub(super) backends: Vec<String>,
    pub(super) nodes: Vec<String>,
}

impl Names {
    /// Those of the fleet that is talked to. What may not be asked has no names.
    pub(super) fn ask(talk: &mut Talk) -> std::result::Result<Self, ClientError> {
        let mut first = |line: &str| -> std::result::Result<Vec<String>, ClientError> {
            let Answer::Lines(lines) = talk.ask(line)? else {
                return Ok(Vec::new());
            };
            let words = lines.iter().filter_map(|line| line.split_whitespace().next());
            let mut words: Vec<_> = words.filter(|word| *word != ".").map(str::to_owned).collect();
            words.sort();
            words.dedup();
            Ok(words)
        };
        let pools = first("show pool")?;
        let mut backends = Vec::new();
        for pool in &pools {
            backends.extend(first(&format!("show pool {pool}"))?);
        }
        let mut nodes = first("cluster members")?;
        nodes.retain(|node| node != "NODE");
        Ok(Self {
            commands: first("help")?,
            services: first("show service")?,
            pools,
            backends,
            nodes,
        })
    }

    /// The words that can stand behind `before`, which are whole words.
    pub(super) fn following(&self, before: &[&str]) -> Vec<String> {
        let before: Vec<_> = before.iter().map(|word| word.to_ascii_lowercase()).collect();
        let before: Vec<_> = before.iter().map(String::as_str).collect();
        let objects = || [self.services.clone(), self.pools.clone()].concat();
        match before.as_slice() {
            [] | ["on", _] | ["fleet"] => self.commands.clone(),
            ["help"] => PAGES.iter().map(|page| page.name.to_owned()).collect(),
            ["show" | "create"] => words(&["pool", "service"]),
            ["show", "service"] | ["enable" | "disable" | "states" | "header" | "vhost" | "vpath"] => {
                self.services.clone()
            }
            ["use"] => objects(),
            ["pool" | "health"] | ["show", "pool"] => self.pools.clone(),
            ["pool", _] => words(&["ADD", "DRAIN", "REMOVE", "UNDRAIN"]),
            ["pool", _, "remove" | "drain" | "undrain"] | ["node" | "nodes"] | ["health", "why"] => {
                self.backends.clone()
            }
            ["header", _] => words(&["INSERT", "REMOVE"]),
            ["set"] => [objects(), tunables()].concat(),
            ["set", object] if objects().iter().any(|known| known == object) => tunables(),
            ["default"] => tunables(),
            ["set", name, "="] => self.values(name),
            ["cluster"] => words(&[
                "demote", "members", "promote", "rekey", "remove", "revoke", "set", "status", "token",
                "tokens", "transfer",
            ]),
            ["on"] | ["cluster", "remove" | "promote" | "demote" | "transfer"] => self.nodes.clone(),
            ["config"] => words(&[
                "diff", "history", "request", "rollback", "show", "verify", "version",
            ]),
            ["socks"] => words(&["all", "summary"]),
            ["shutdown"] => words(&["graceful"]),
            ["drain" | "undrain"] => words(&["node"]),
            ["verbose"] => words(&["off", "on"]),
            _ => Vec::new(),
        }
    }

    fn values(&self, name: &str) -> Vec<String> {
        match name.rsplit('.').next().unwrap_or_default() {
            "pool" => self.pools.clone(),
            "default_service" => self.services.clone(),
            "role" => words(&Role::ALL.map(Role::name)),
            _ => Vec::new(),
        }
    }

    /// Where the word begins that is being typed, and what it could become.
    fn complete(&self, line: &str) -> (usize, Vec<String>) {
        let start = line.rfind(char::is_whitespace).map_or(0, |at| at + 1);
        let (before, typed) = line.split_at(start);
        let before: Vec<_> = before.split_whitespace().collect();
        let mut found = self.following(&before);
        // `SET object.tunable`
        if let (["set"], Some((object, _))) = (lower(&before).as_slice(), typed.split_once('.')) {
            found = tunables().iter().map(|key| format!("{object}.{key}")).collect();
        }
        let folded = typed.to_ascii_lowercase();
        found.retain(|word| word.to_ascii_lowercase().starts_with(&folded));
        (start, found)
    }
}

fn lower(words: &[&str]) -> Vec<&'static str> {
    match words {
        [word] if word.eq_ignore_ascii_case("set") => vec!["set"],
        _ => Vec::new(),
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn tunables() -> Vec<String> {
    let mut keys: Vec<_> = TUNABLES.iter().map(|tunable| tunable.key.to_owned()).collect();
    keys.sort();
    keys.dedup();
    keys
}

/// What the editor asks.
#[derive(Debug)]
pub(super) struct Helper {
    pub(super) names: Names,
    colours: bool,
}

impl Helper {
    pub(super) fn new(colours: bool) -> Self {
        Self {
            names: Names::default(),
            colours,
        }
    }
}

impl Completer for Helper {
    type Candidate = String;

    fn complete(&self, line: &str, position: usize, _: &Context<'_>) -> Result<(usize, Vec<String>)> {
        Ok(self.names.complete(line.get(..position).unwrap_or_default()))
    }
}

impl Hinter for Helper {
    type Hint = String;
}

impl Highlighter for Helper {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> Cow<'b, str> {
        if self.colours {
            Cow::Owned(format!("\x1b[1m{prompt}\x1b[0m"))
        } else {
            Cow::Borrowed(prompt)
        }
    }
}

impl Validator for Helper {}

impl rustyline::Helper for Helper {}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(line: &str) -> (usize, Vec<String>) {
        let list = |names: &[&str]| words(names);
        let names = Names {
            commands: list(&["create", "set", "show"]),
            services: list(&["www"]),
            pools: list(&["web", "web2"]),
            backends: list(&["10.0.0.1:80"]),
            nodes: list(&["n1", "n2"]),
        };
        names.complete(line)
    }

    #[test]
    fn each_place_has_its_words() {
        for (line, start, expected) in [
            ("s", 0, &["set", "show"][..]),
            ("SH", 0, &["show"]),
            ("show p", 5, &["pool"]),
            ("show pool w", 10, &["web", "web2"]),
            ("POOL web r", 9, &["REMOVE"]),
            ("POOL web REMOVE ", 16, &["10.0.0.1:80"]),
            (
                "set persist_c",
                4,
                &["persist_client", "persist_client_idle_timeout"],
            ),
            ("set www persist_b", 8, &["persist_backend"]),
            ("set www.persist_b", 4, &["www.persist_backend"]),
            ("set pool = web", 11, &["web", "web2"]),
            ("on n", 3, &["n1", "n2"]),
            ("create pool x", 12, &[]),
        ] {
            assert_eq!(complete(line), (start, words(expected)), "{line}");
        }
    }
}
