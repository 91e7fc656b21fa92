//! Management commands that plugins in Lua bring along (Perlbal's `manage_command.NAME`).

use super::builtin::has_report;
use super::hook::Hooks;
use crate::command_words::COMMANDS;

/// A line that begins with a plugin's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// The word, in lower case.
    pub word: String,
    /// What stands behind it, without the blank between them.
    pub rest: String,
}

/// What it is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// That it was done.
    Done,
    /// These lines.
    Lines(Vec<String>),
    /// Why it was not.
    Refused(String),
}

/// Whether a word is a command of its own, which no plugin can have.
pub(super) fn is_taken(word: &str) -> bool {
    COMMANDS.contains(&word) || has_report(word)
}

/// Whether a plugin of one of these services brings the word along.
pub fn is_known<'a>(word: &str, services: impl IntoIterator<Item = &'a Hooks>) -> bool {
    let hooks = services.into_iter().flat_map(Hooks::all);
    hooks
        .flat_map(|(_, hook)| hook.commands())
        .any(|known| known == word)
}

/// Has all plugins that bring the word along carry the line out: those of one service in their order, and services by
/// name. None: none has anything to say. What is refused ends it.
pub fn run<'a>(line: &CommandLine, services: impl IntoIterator<Item = &'a Hooks>) -> Option<Told> {
    let mut told = None;
    let hooks = services.into_iter().flat_map(Hooks::all);
    for more in hooks.filter_map(|(_, hook)| hook.command(line)) {
        told = match (told, more) {
            (_, Told::Refused(why)) => return Some(Told::Refused(why)),
            (Some(Told::Lines(mut lines)), Told::Lines(more)) => {
                lines.extend(more);
                Some(Told::Lines(lines))
            }
            (Some(Told::Lines(lines)), Told::Done) => Some(Told::Lines(lines)),
            (_, more) => Some(more),
        };
    }
    told
}
