//! `begin`, `commit`, `abort`.

use fleetbal_raft::model::Version;

use super::super::command::{Command, Local};
use super::super::line::Line;
use super::ParseError;

const COMMIT: ParseError = ParseError::Usage("usage: commit [if version <number>]");

pub(super) fn commit(line: &Line) -> Result<Command, ParseError> {
    let if_version = match line.arguments().ok_or(COMMIT)?.as_slice() {
        [] => None,
        [condition, what, number]
            if condition.eq_ignore_ascii_case("if") && what.eq_ignore_ascii_case("version") =>
        {
            Some(Version(super::cluster::digits(number).ok_or(COMMIT)?))
        }
        _ => return Err(COMMIT),
    };
    Ok(Command::Local(Local::Commit(if_version)))
}
