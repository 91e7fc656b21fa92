//! The commands that the documentation promises to work, taken from it as they stand.

use std::fs;

use anyhow::{Context, ensure};

use crate::Result;
use crate::process;

/// All blocks of a page that are marked as `sh MARK`, one behind the other.
///
/// # Errors
/// When there are none.
pub fn marked_commands(page: &str, mark: &str) -> Result<String> {
    let path = process::workspace().join(page);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let commands = extract(&text, mark);
    ensure!(!commands.is_empty(), "no block of {page} is marked '{mark}'");
    Ok(commands)
}

fn extract(text: &str, mark: &str) -> String {
    let mark = format!("```sh {mark}");
    let mut inside = false;
    let mut commands = String::new();
    for line in text.lines() {
        if inside && line == "```" {
            inside = false;
        } else if inside {
            commands.push_str(line);
            commands.push('\n');
        } else if line == mark {
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
        assert_eq!(extract(text, "by-hand"), "one\ntwo\n");
    }
}
