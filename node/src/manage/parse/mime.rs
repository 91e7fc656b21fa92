//! `mime`, `mime list`, `mime set EXT TYPE`, `mime remove EXT`.

use fleetbal_raft::model::Change;

use super::super::command::{Command, Query};
use super::super::line::Line;
use super::ParseError;

const BAD: ParseError = ParseError::Syntax("mime");
const USAGE: ParseError = ParseError::Usage("Usage: list, remove <ext>, set <ext> <mime>");
const USAGE_OF_SET: ParseError = ParseError::Usage("Usage: set <ext> <mime>");

pub(super) fn parse(line: &Line) -> Result<Command, ParseError> {
    let words: Vec<_> = line.rest().split(' ').filter(|word| !word.is_empty()).collect();
    let is_word = |word: &str| {
        word.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let set = |extension: &str, kind: Option<&str>| {
        if !is_word(extension) {
            return Err(BAD);
        }
        Ok(Command::Change(Change::SetMime {
            extension: extension.to_owned(),
            kind: kind.map(str::to_owned),
        }))
    };
    match words.as_slice() {
        [] | ["list", ..] => Ok(Command::Query(Query::Mime)),
        ["remove", extension] => set(extension, None),
        ["set", extension, kind] => set(extension, Some(kind)),
        ["set", ..] => Err(USAGE_OF_SET),
        [..] => Err(USAGE),
    }
}
