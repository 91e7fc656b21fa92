//! What was typed before, in a file of the user's alone. Lines with secrets are not kept.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustyline::Editor;
use rustyline::history::{FileHistory, History, SearchDirection};

use super::complete::Helper;

/// `$XDG_STATE_HOME/fleetbal/history`, by default below `~/.local/state`; none where there is no home.
pub(super) fn path() -> Option<PathBuf> {
    let given = |name: &str| {
        let value = std::env::var_os(name).filter(|value| !value.is_empty());
        value.map(PathBuf::from)
    };
    let state = given("XDG_STATE_HOME").or_else(|| Some(given("HOME")?.join(".local/state")));
    state.map(|state| state.join("fleetbal/history"))
}

/// Adds a line that was typed.
pub(super) fn add(editor: &mut Editor<Helper, FileHistory>, line: &str) {
    let word = line.split_whitespace().next().unwrap_or_default();
    if !word.is_empty() && !word.eq_ignore_ascii_case("auth") {
        // Without memory for one more line there is one line less.
        drop(editor.add_history_entry(line));
    }
}

/// Writes it all. Where that does not work it is said, and nothing else is lost.
pub(super) fn save(editor: &mut Editor<Helper, FileHistory>, path: &Path) {
    if let Err(error) = write(editor.history(), path) {
        eprintln!("fleetbal: cannot write {}: {error}", path.display());
    }
}

fn write(history: &FileHistory, path: &Path) -> std::io::Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    for index in 0..history.len() {
        if let Ok(Some(found)) = history.get(index, SearchDirection::Forward) {
            writeln!(file, "{}", found.entry)?;
        }
    }
    Ok(())
}
