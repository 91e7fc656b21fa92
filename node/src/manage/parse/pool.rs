//! `pool NAME add|remove ADDRESS`, in either order of the first two words.

use fleetbal_raft::model::{BackendAddress, Change, PoolName};

use super::super::command::Command;
use super::super::line::{Line, is_one_word};
use super::ParseError;

const BAD: ParseError = ParseError::Syntax("pool");

pub(super) fn parse(line: &Line) -> Result<Command, ParseError> {
    let arguments = line.arguments().ok_or(BAD)?;
    let [first, second, address] = arguments.as_slice() else {
        return Err(BAD);
    };
    let backend = BackendAddress::parse(address).ok_or(BAD)?;
    if !is_one_word(first) || !is_one_word(second) {
        return Err(BAD);
    }
    // Where both words would do, the first is the name, as in Perlbal.
    let (name, add) = match (adds(first), adds(second)) {
        (_, Some(add)) => (first, add),
        (Some(add), None) => (second, add),
        (None, None) => return Err(ParseError::AddOrRemove),
    };
    let pool = PoolName::parse(name)?;
    Ok(Command::Change(if add {
        Change::PoolAdd { pool, backend }
    } else {
        Change::PoolRemove { pool, backend }
    }))
}

fn adds(word: &str) -> Option<bool> {
    match word {
        "add" => Some(true),
        "remove" => Some(false),
        _ => None,
    }
}
