//! `commit` and its conditions.

use fleetbal_raft::model::Version;

use super::super::command::{Command, Local};
use super::super::line::Line;
use super::ParseError;
use super::cluster::digits;

const COMMIT: ParseError = ParseError::Usage("usage: commit [if version <number>] [confirm <seconds>]");

pub(super) fn commit(line: &Line) -> Result<Command, ParseError> {
    let (mut if_version, mut confirm) = (None, None);
    let arguments = line.arguments().ok_or(COMMIT)?;
    let mut arguments = arguments.as_slice();
    loop {
        let is = |word: &str, wanted: &str| word.eq_ignore_ascii_case(wanted);
        arguments = match arguments {
            [] => return Ok(Command::Local(Local::Commit { if_version, confirm })),
            [condition, what, number, rest @ ..]
                if is(condition, "if") && is(what, "version") && if_version.is_none() =>
            {
                if_version = Some(Version(digits(number).ok_or(COMMIT)?));
                rest
            }
            [word, seconds, rest @ ..] if is(word, "confirm") && confirm.is_none() => {
                let seconds = digits(seconds).and_then(|seconds| seconds.try_into().ok());
                confirm = Some(seconds.ok_or(COMMIT)?);
                rest
            }
            _ => return Err(COMMIT),
        };
    }
}
