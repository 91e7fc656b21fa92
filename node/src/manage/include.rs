//! `INCLUDE = FILES`, of Perlbal's plugin Include: config files of this machine, by name or pattern (reference, section
//! 8.2). What is in them is read as in any config file, each in a context of its own; all of it holds, or nothing.

use std::path::{Path, PathBuf};

use fleetbal_raft::model::{Change, FleetConfig, Plugin};

use super::Context;
use super::execute::change;
use super::script::{self, Script, ScriptError};
use crate::os_error;

/// So deep files may include each other: those that do so in circles end there.
const DEEPEST: usize = 10;

/// Why nothing was included.
#[derive(Debug, thiserror::Error)]
pub(super) enum IncludeError {
    /// `LOAD Include` is missing.
    #[error("unknown command: include (it needs LOAD {})", Plugin::Include)]
    NotLoaded,
    /// Not a pattern of files.
    #[error("{pattern}: {reason}")]
    Pattern {
        /// What was typed.
        pattern: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A directory cannot be looked into.
    #[error("{}: {reason}", path.display())]
    Listing {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A file cannot be read, or a line of it is wrong.
    #[error(transparent)]
    File(#[from] ScriptError),
    /// In circles, most likely.
    #[error("{}: files include each other more than {DEEPEST} deep", .0.display())]
    Deep(PathBuf),
}

/// Where an `INCLUDE` stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    /// What the configuration is there.
    pub(super) config: &'a FleetConfig,
    /// In so many files that include each other.
    pub(super) depth: usize,
}

/// Reads what files say, one after the other, in the place of the line that names them.
///
/// # Errors
/// The first file that cannot be read, or the first line that is wrong, with its file and number.
pub(super) fn read(
    patterns: &[String],
    place: Place<'_>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<(PathBuf, Script)>, IncludeError> {
    if !place.config.loaded().contains(&Plugin::Include) {
        return Err(IncludeError::NotLoaded);
    }
    let mut scripts: Vec<(PathBuf, Script)> = Vec::new();
    for pattern in patterns {
        for path in files(pattern)? {
            if place.depth >= DEEPEST {
                return Err(IncludeError::Deep(path));
            }
            let config = scripts.last().map_or(place.config, |(_, script)| &script.config);
            let place = Place {
                config,
                depth: place.depth + 1,
            };
            let script = script::read_included(&path, place, environment)?;
            scripts.push((path, script));
        }
    }
    Ok(scripts)
}

/// What files that are named on a management port change, each change with its place; checked as if it were typed.
///
/// # Errors
/// The first line that is wrong, or asks for what this machine does not have.
pub(super) fn changes(
    patterns: &[String],
    config: &FleetConfig,
    environment: &dyn Fn(&str) -> Option<String>,
    context: &Context,
) -> Result<Vec<(String, Change)>, String> {
    let place = Place { config, depth: 0 };
    let scripts = read(patterns, place, environment).map_err(|error| error.to_string())?;
    let mut changes = Vec::new();
    for (path, script) in scripts {
        if !script.settings.is_empty() || !script.server.is_empty() {
            let path = path.display();
            return Err(format!(
                "{path}: lines of this process alone (CLUSTER, SERVER) hold from its start on"
            ));
        }
        for (number, change) in script.changes {
            let place = format!("{}:{number}", path.display());
            let prepared = change::prepare(change, &script.config, context);
            let prepared = prepared.map_err(|text| format!("{place}: {text}"))?;
            changes.extend(prepared.into_iter().map(|change| (place.clone(), change)));
        }
    }
    Ok(changes)
}

/// The files that are meant, by name. A pattern without any is passed over; a name without one is a mistake, as in Perlbal.
fn files(pattern: &str) -> Result<Vec<PathBuf>, IncludeError> {
    if !pattern.contains(['*', '?', '[']) {
        return Ok(vec![Path::new(pattern).to_owned()]);
    }
    let found = glob::glob(pattern).map_err(|error| IncludeError::Pattern {
        pattern: pattern.to_owned(),
        reason: error.msg,
    })?;
    found
        .map(|path| {
            path.map_err(|error| IncludeError::Listing {
                path: error.path().to_owned(),
                reason: os_error::words(error.error()),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::script::interpret;
    use super::*;

    fn written(dir: &Path, name: &str, text: &str) -> String {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    #[test]
    fn files_stand_in_the_place_of_their_line() {
        let dir = tempfile::tempdir().unwrap();
        let here = dir.path().display();
        written(
            dir.path(),
            "1.conf",
            "CREATE POOL a\n  POOL ADD 10.0.0.1:80\n"
                .replace("POOL ADD", "POOL a ADD")
                .as_str(),
        );
        written(
            dir.path(),
            "2.conf",
            "CREATE SERVICE w\nSET role = reverse_proxy\nSET pool = a\n",
        );
        let text = format!(
            "LOAD Include\nCREATE POOL b\nINCLUDE = {here}/*.conf {here}/none*\nPOOL b ADD 10.0.0.2:80\n"
        );
        let script = interpret(text.as_bytes(), |_| None).unwrap();
        assert_eq!(script.config.pool("a").unwrap().backends().len(), 1);
        assert_eq!(script.config.service("w").unwrap().pool().unwrap().as_str(), "a");
        let numbers: Vec<_> = script.changes.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [1, 2, 3, 3, 3, 3, 3, 4]);
        // What a file names is not implied behind it.
        let wrong = interpret(
            format!("LOAD Include\nINCLUDE = {here}/2.conf\n").as_bytes(),
            |_| None,
        )
        .unwrap_err();
        assert!(
            wrong.text.starts_with(&format!("{here}/2.conf:3: ")),
            "{}",
            wrong.text
        );
    }

    #[test]
    fn what_is_wrong_is_told_with_file_and_line() {
        let dir = tempfile::tempdir().unwrap();
        let inner = written(dir.path(), "inner", "CREATE SERVICE s\n\nBROKEN = 1\n");
        let outer = written(dir.path(), "outer", &format!("# nothing\nINCLUDE = {inner}\n"));
        let own = dir.path().join("own").display().to_string();
        written(dir.path(), "own", &format!("INCLUDE = {own}\n"));
        for (line, says) in [
            (
                format!("LOAD Include\nINCLUDE = {outer}"),
                format!("{outer}:2: {inner}:3: unknown command: broken"),
            ),
            (
                "LOAD Include\nINCLUDE = /no/such.conf".to_owned(),
                "Error opening config file (/no/such.conf): No such file or directory".to_owned(),
            ),
            (
                format!("CREATE POOL a\nINCLUDE = {outer}"),
                "unknown command: include (it needs LOAD Include)".to_owned(),
            ),
            (
                "LOAD Include\nINCLUDE = /a/[".to_owned(),
                "/a/[: invalid range pattern".to_owned(),
            ),
        ] {
            let wrong = interpret(line.as_bytes(), |_| None).unwrap_err();
            assert_eq!((wrong.line, wrong.text), (2, says));
        }
        let wrong = interpret(format!("LOAD Include\nINCLUDE = {own}").as_bytes(), |_| None).unwrap_err();
        assert!(
            wrong.text.ends_with("files include each other more than 10 deep"),
            "{}",
            wrong.text
        );
    }
}
