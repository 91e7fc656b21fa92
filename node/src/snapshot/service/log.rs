//! Where a service writes its log, and how.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use fleetbal_raft::model::{self, Directive, Plugin, PluginSpec, Service, Value};

use super::super::variables::NodeVariables;

/// What a service writes of its requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// Where to.
    pub target: Arc<LogTarget>,
    /// In which form.
    pub format: LogFormat,
}

/// Where lines go on this node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogTarget {
    /// They are appended to this file.
    File(PathBuf),
    /// They are the standard input of this command, which a shell starts.
    Command(String),
}

impl fmt::Display for LogTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Command(command) => write!(f, "| {command}"),
        }
    }
}

/// The form of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// That of the plugin in the talk on Perlbal (reference, section 8.3).
    Perlbal,
    /// Apache's `combined`.
    Combined,
    /// An object of JSON.
    Json,
}

impl LogSettings {
    /// What a service of this node writes; none: nothing.
    ///
    /// # Errors
    /// When this node cannot tell where to.
    pub fn of(service: &Service, variables: &NodeVariables) -> Result<Option<Self>, String> {
        if !service.plugins().contains(&Plugin::Log) {
            return Ok(None);
        }
        let directives = service.spec(&Plugin::Log).map(PluginSpec::directives);
        let said = directives.into_iter().flatten().find_map(|directive| {
            if let Directive::Log(target) = directive {
                Some(target)
            } else {
                None
            }
        });
        let Some(said) = said else {
            return Ok(None);
        };
        let format = match service.value("log_format") {
            Some(Value::Word("combined")) => LogFormat::Combined,
            Some(Value::Word("json")) => LogFormat::Json,
            _ => LogFormat::Perlbal,
        };
        LogTarget::on(said, variables).map(|target| {
            Some(Self {
                target: Arc::new(target),
                format,
            })
        })
    }
}

impl LogTarget {
    /// A target as it is on this node.
    ///
    /// # Errors
    /// When this node cannot fill in its variables.
    pub fn on(said: &model::LogTarget, variables: &NodeVariables) -> Result<Self, String> {
        let text = said.template().expand(|variable| variables.fill(variable))?;
        Ok(match said {
            model::LogTarget::File(_) => Self::File(text.into()),
            model::LogTarget::Command(_) => Self::Command(text),
        })
    }
}
