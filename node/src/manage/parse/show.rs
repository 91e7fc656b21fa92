//! `show service|pool [NAME]`.

use super::super::command::{Command, Query};
use super::super::line::{Line, is_one_word};
use super::ParseError;

const BAD: ParseError = ParseError::Syntax("show");

pub(super) fn parse(line: &Line) -> Result<Command, ParseError> {
    let query = match line.arguments().ok_or(BAD)?.as_slice() {
        ["service"] => Query::Services,
        ["service", name] if is_one_word(name) => Query::Service((*name).to_owned()),
        ["pool"] => Query::Pools,
        ["pool", name] if is_one_word(name) => Query::Pool((*name).to_owned()),
        _ => return Err(BAD),
    };
    Ok(Command::Query(query))
}
