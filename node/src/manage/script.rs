//! A config file: the same lines as on a management port, read from top to bottom before anything runs.
//!
//! Fleet-wide lines become one list of changes; `CLUSTER key = value` lines are this node's own settings; queries
//! print what they would have printed at their place. The first line that would be refused ends it, as in Perlbal.

use std::path::{Path, PathBuf};

use fleetbal_raft::model::{Batch, Change, FleetConfig};

use super::command::{Command, Local, Query};
use super::dump;
use super::execute::change::said;
use super::include::{self, Place};
use super::line::{self, Line, LineError};
use super::local_check;
use super::parse::{ParseError, parse};
use super::query::{self, NoFigures};
use super::render::Reply;
use crate::os_error;
use crate::os_settings::ServerSetting;
use crate::snapshot::NodeVariables;

/// What a config file says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Script {
    /// Fleet-wide lines with their numbers (from 1), as they follow each other.
    pub changes: Vec<(usize, Change)>,
    /// `CLUSTER key = value` lines: keys in lower case, values as typed.
    pub settings: Vec<(String, String)>,
    /// `SERVER` lines of this process alone.
    pub server: Vec<ServerSetting>,
    /// What its queries print.
    pub output: Vec<String>,
    /// The configuration it makes out of an empty one.
    pub config: FleetConfig,
}

impl Script {
    /// The same with what its nodefiles say on this node, each behind the line that names it.
    ///
    /// # Errors
    /// The first nodefile that cannot be read, or the first line that would be refused with them.
    pub fn with_nodefiles(&self, variables: &NodeVariables) -> Result<Self, WrongLine> {
        let mut script = self.clone();
        script.changes.clear();
        for (line, change) in &self.changes {
            script.changes.push((*line, change.clone()));
            let listed = local_check::nodefile(change, variables);
            let listed = listed.map_err(|text| WrongLine { line: *line, text })?;
            script.changes.extend(listed.map(|listed| (*line, listed)));
        }
        if script.changes.len() > self.changes.len() {
            script.config = apply(&FleetConfig::default(), &script.changes)?;
        }
        Ok(script)
    }

    /// All of its changes as one.
    pub fn batch(&self) -> Batch {
        Batch::of(self.changes.iter().map(|(_, change)| change.clone()).collect())
    }
}

/// A config file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// It cannot be opened or read (Perlbal's text).
    #[error("Error opening config file ({}): {}", path.display(), os_error::words(source))]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is wrong.
    #[error("{}:{line}: {text}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line's number, from 1.
        line: usize,
        /// What is wrong: Perlbal prints it behind `ERROR: `.
        text: String,
    },
}

/// A line of a script that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongLine {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong.
    pub text: String,
}

/// Reads a config file.
///
/// # Errors
/// When it cannot be read, or at the first line that is wrong or would be refused.
pub fn read(path: &Path) -> Result<Script, ScriptError> {
    let place = Place {
        config: &FleetConfig::default(),
        depth: 0,
    };
    read_included(path, place, &|name| std::env::var(name).ok())
}

/// Reads a file that stands in another one, or is named on a management port.
///
/// # Errors
/// As [`read`].
pub(super) fn read_included(
    path: &Path,
    place: Place<'_>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Script, ScriptError> {
    let bytes = std::fs::read(path).map_err(|source| ScriptError::Open {
        path: path.to_owned(),
        source,
    })?;
    let reader = Reader::at(place);
    reader
        .read(&bytes, environment)
        .map_err(|wrong| ScriptError::Line {
            path: path.to_owned(),
            line: wrong.line,
            text: wrong.text,
        })
}

/// Interprets the text of a config file.
///
/// # Errors
/// The first line that is wrong or would be refused.
pub fn interpret(text: &[u8], environment: impl Fn(&str) -> Option<String>) -> Result<Script, WrongLine> {
    let place = Place {
        config: &FleetConfig::default(),
        depth: 0,
    };
    Reader::at(place).read(text, &environment)
}

/// The same for a fleet that has plugins of its own already: a file may name them, and says nothing of their sources.
///
/// # Errors
/// The first line that is wrong or would be refused.
pub fn interpret_beside(
    text: &[u8],
    environment: impl Fn(&str) -> Option<String>,
    fleet: &FleetConfig,
) -> Result<Script, WrongLine> {
    let mut reader = Reader::default();
    reader.script.config = std::mem::take(&mut reader.script.config).with_uploads_of(fleet);
    reader.read(text, &environment)
}

#[derive(Default)]
struct Reader {
    script: Script,
    implied: Option<String>,
    /// Changes that `script.config` already has.
    settled: usize,
    /// In how many files that include each other; none: it came from elsewhere, and names no files of this machine.
    depth: Option<usize>,
}

impl Reader {
    /// One for a file of this machine.
    fn at(place: Place<'_>) -> Self {
        let mut reader = Self {
            depth: Some(place.depth),
            ..Self::default()
        };
        reader.script.config = place.config.clone();
        reader
    }

    fn read(
        mut self,
        text: &[u8],
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Script, WrongLine> {
        for (index, bytes) in text.split(|byte| *byte == b'\n').enumerate() {
            let number = index + 1;
            if let Err(text) = self.line(number, bytes, environment) {
                // An earlier line that the fleet would refuse comes first.
                self.settle()?;
                return Err(WrongLine { line: number, text });
            }
        }
        self.settle()?;
        Ok(self.script)
    }

    fn line(
        &mut self,
        number: usize,
        bytes: &[u8],
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(), String> {
        let line = Line::read(bytes, environment).map_err(|error| error.to_string())?;
        let Some(line) = line else { return Ok(()) };
        if let Some((key, value)) = setting(&line, environment).map_err(|error| error.to_string())? {
            self.script.settings.push((key, value));
            return Ok(());
        }
        match parse(&line, self.implied.as_deref()).map_err(|error| error.to_string())? {
            Command::Change(change) => {
                if let Change::CreatePool(_) | Change::CreateService(_) = change {
                    self.implied = created(&change);
                }
                self.script.changes.push((number, change));
                Ok(())
            }
            Command::Query(query) => self.query(&query, line.word()),
            Command::Local(Local::Include(files)) => self.include(number, &files, environment),
            Command::Local(local) => self.local(local, line.word()),
        }
    }

    /// Takes in what other files say.
    fn include(
        &mut self,
        number: usize,
        files: &[String],
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(), String> {
        self.settle().map_err(|wrong| wrong.text)?;
        let place = Place {
            config: &self.script.config,
            depth: self.depth.ok_or(NO_FILES)?,
        };
        let included = include::read(files, place, environment).map_err(|error| error.to_string())?;
        for (_, script) in included {
            let Script {
                changes,
                settings,
                server,
                output,
                config,
            } = script;
            let changes = changes.into_iter().map(|(_, change)| (number, change));
            self.script.changes.extend(changes);
            self.script.settings.extend(settings);
            self.script.server.extend(server);
            self.script.output.extend(output);
            self.script.config = config;
        }
        self.settled = self.script.changes.len();
        Ok(())
    }

    fn local(&mut self, local: Local, word: &str) -> Result<(), String> {
        match local {
            Local::Use(name) => {
                self.settle().map_err(|wrong| wrong.text)?;
                if !has_object(&self.script.config, &name) {
                    return Err(no_object(&name));
                }
                self.implied = Some(name);
                Ok(())
            }
            Local::Verbose(_) => Ok(()),
            Local::Server(setting) => {
                self.script.server.push(setting);
                Ok(())
            }
            Local::Quit => Err(ParseError::Unknown(word.to_owned()).to_string()),
            Local::Auth(_)
            | Local::Begin
            | Local::Commit { .. }
            | Local::Confirm
            | Local::Rollback(_)
            | Local::Abort
            | Local::Include(_)
            | Local::Shutdown(_)
            | Local::Sync
            | Local::Barrier(_)
            | Local::IssueToken { .. }
            | Local::RevokeToken(_)
            | Local::RemoveNode(_)
            | Local::SetWish { .. }
            | Local::Transfer(_)
            | Local::Rekey
            | Local::DrainNode(_)
            | Local::Throttle { .. }
            | Local::On { .. }
            | Local::Fleet(_)
            | Local::FleetSum(_)
            | Local::Outcome(_) => Err(not_in_a_file(word)),
        }
    }

    fn query(&mut self, query: &Query, word: &str) -> Result<(), String> {
        self.settle().map_err(|wrong| wrong.text)?;
        match configured(query, &self.script.config) {
            Some(Reply::Lines(lines)) => {
                self.script.output.extend(lines);
                self.script.output.push(".".to_owned());
                Ok(())
            }
            Some(Reply::Dump(lines)) => {
                self.script.output.extend(lines);
                Ok(())
            }
            Some(Reply::Refused(text)) => Err(text),
            Some(Reply::Silent | Reply::Done | Reply::Said(_)) => Ok(()),
            None => Err(not_in_a_file(word)),
        }
    }

    /// Applies what was read since the last time. All at once: a line at a time would take quadratic time.
    fn settle(&mut self) -> Result<(), WrongLine> {
        let fresh = self.script.changes.get(self.settled..).unwrap_or_default();
        if fresh.is_empty() {
            return Ok(());
        }
        self.script.config = apply(&self.script.config, fresh)?;
        self.settled = self.script.changes.len();
        Ok(())
    }
}

/// A configuration after numbered changes.
fn apply(config: &FleetConfig, numbered: &[(usize, Change)]) -> Result<FleetConfig, WrongLine> {
    let changes = numbered.iter().map(|(_, change)| change.clone()).collect();
    let batch = Batch::of(changes);
    config.with_asked(&batch).map_err(|refusal| {
        let at = usize::try_from(refusal.change).unwrap_or(usize::MAX);
        WrongLine {
            line: numbered.get(at).map_or(0, |(number, _)| *number),
            text: refusal.text,
        }
    })
}

/// `CLUSTER key = value`, which sets this node up; `cluster set …` changes the fleet.
fn setting(
    line: &Line,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<(String, String)>, LineError> {
    let ("cluster", Some(assignment)) = (line.word(), line.rest().split_once('=')) else {
        return Ok(None);
    };
    let key = assignment.0.trim().to_ascii_lowercase();
    if !line::is_one_word(&key) {
        return Ok(None);
    }
    let value = line::expand(assignment.1, environment)?;
    Ok(Some((key, value.trim().to_owned())))
}

/// Answers a query that needs nothing but a configuration; none: it needs a node that runs.
fn configured(query: &Query, config: &FleetConfig) -> Option<Reply> {
    let fill = |_: &fleetbal_raft::model::Variable| Err(String::new());
    let unknown = |text: String| Reply::Refused(text);
    match query {
        Query::Services => Some(Reply::Lines(query::service::list(config, &fill))),
        Query::Service(name) => Some(
            query::service::show(config, name, &fill, &NoFigures)
                .map_or_else(|| unknown("Unknown service".to_owned()), Reply::Lines),
        ),
        Query::Pools => Some(Reply::Lines(query::pool::list(config))),
        Query::Pool(name) => Some(
            query::pool::show(config, name, &NoFigures)
                .map_or_else(|| unknown(format!("pool '{name}' does not exist")), Reply::Lines),
        ),
        Query::Dump => Some(Reply::Dump(dump::dump(config))),
        Query::Mime => Some(Reply::Lines(query::node::mime(config))),
        Query::ReproxyState => Some(Reply::Lines(crate::reproxy::lines(&[], config.reproxy_limits()))),
        // Nothing runs yet.
        Query::Queues
        | Query::Pending
        | Query::NoVerify
        | Query::Backends
        | Query::Nodes(_)
        | Query::States(_)
        | Query::Sockets(_) => Some(Reply::Lines(Vec::new())),
        Query::Plugins => Some(Reply::Lines(query::plugin::list(config))),
        Query::Reload(name) => Some(unknown(query::plugin::no_reload(config, name))),
        Query::Help => Some(Reply::Lines(query::node::help())),
        Query::Scripts(_)
        | Query::Certificates(_)
        | Query::Report(_)
        | Query::Effects
        | Query::Proc
        | Query::Descriptors
        | Query::Interpreter
        | Query::Why(_)
        | Query::Uptime
        | Query::ClusterStatus(_)
        | Query::ClusterLoad
        | Query::ClusterMembers(_)
        | Query::Tokens
        | Query::ConfigVersion
        | Query::Health(_)
        | Query::WhyHealth(_)
        | Query::History(_)
        | Query::Ready => None,
    }
}

/// Whether success is told in a sentence instead of `OK`.
pub fn says_a_sentence(command: &Command) -> bool {
    matches!(command, Command::Change(change) if matches!(said(change), Reply::Said(_)))
}

/// The object that a successful `CREATE` implies for the lines that follow.
pub(super) fn created(change: &Change) -> Option<String> {
    if let Change::CreatePool(name) = change {
        return Some(name.to_string());
    }
    if let Change::CreateService(name) = change {
        return Some(name.to_string());
    }
    None
}

/// Whether a pool or service of that name exists.
pub(super) fn has_object(config: &FleetConfig, name: &str) -> bool {
    config.pool(name).is_some() || config.service(name).is_some()
}

/// What `USE` says of an object that is not there.
pub(super) fn no_object(name: &str) -> String {
    format!("Non-existent pool or service '{name}'")
}

const NO_FILES: &str = "'include' reads files of a node: it can stand in the config file of a node, or be typed at one, but not in a file that \
     is sent to it";

fn not_in_a_file(word: &str) -> String {
    format!("'{word}' cannot stand in a config file")
}

#[cfg(test)]
#[path = "script_tests.rs"]
mod tests;
