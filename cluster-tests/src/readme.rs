//! The commands that the README promises to work, taken from it as they stand.

use std::fs;

use anyhow::{Context, ensure};

use crate::Result;
use crate::process;

/// What marks a block that is run as written: `sh by-hand`.
const MARK: &str = "```sh by-hand";

/// All blocks of the README that are marked, one behind the other.
///
/// # Errors
/// When there are none.
pub fn marked_commands() -> Result<String> {
    let path = process::workspace().join("README.md");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let commands = extract(&text);
    ensure!(!commands.is_empty(), "no block of the README is marked '{MARK}'");
    Ok(commands)
}

fn extract(text: &str) -> String {
    let mut inside = false;
    let mut commands = String::new();
    for line in text.lines() {
        if inside && line == "```" {
            inside = false;
        } else if inside {
            commands.push_str(line);
            commands.push('\n');
        } else if line == MARK {
            inside = true;
        }
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_marked_blocks_alone() {
        let text = "a\n```sh\nno\n```\n```sh by-hand\none\n```\nb\n```sh by-hand\ntwo\n```\n";
        assert_eq!(extract(text), "one\ntwo\n");
    }
}
