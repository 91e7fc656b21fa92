//! `pool NAME add|remove|drain|undrain ADDRESS`, in either order of the first two words.

use fleetbal_raft::model::{BackendAddress, Change, PoolName};

use super::super::command::Command;
use super::super::line::{Line, is_one_word};
use super::ParseError;

const BAD: ParseError = ParseError::Syntax("pool");

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Add,
    Remove,
    Drain,
    Undrain,
}

pub(super) fn parse(line: &Line) -> Result<Command, ParseError> {
    let arguments = line.arguments().ok_or(BAD)?;
    let (first, second, address, weight) = match arguments.as_slice() {
        [first, second, address] => (*first, *second, *address, None),
        [first, second, address, "weight", weight] => (*first, *second, *address, Some(*weight)),
        _ => return Err(BAD),
    };
    let backend = BackendAddress::parse(address).ok_or(BAD)?;
    if !is_one_word(first) || !is_one_word(second) {
        return Err(BAD);
    }
    let (name, verb) = name_and_verb(first, second).ok_or(ParseError::AddOrRemove)?;
    if weight.is_some() && verb != Verb::Add {
        return Err(BAD);
    }
    let pool = PoolName::parse(name)?;
    Ok(Command::Change(match verb {
        Verb::Add => Change::PoolAdd {
            pool,
            backend,
            weight: weight.map_or(Some(1), number).ok_or(BAD)?,
        },
        Verb::Remove => Change::PoolRemove { pool, backend },
        Verb::Drain | Verb::Undrain => Change::PoolDrain {
            pool,
            backend,
            draining: verb == Verb::Drain,
        },
    }))
}

/// Where both words would do, the first is the name, as in Perlbal; and Perlbal's own words come first, so that a
/// pool may still be called `drain`.
fn name_and_verb<'a>(first: &'a str, second: &'a str) -> Option<(&'a str, Verb)> {
    let perlbals = |word| match word {
        "add" => Some(Verb::Add),
        "remove" => Some(Verb::Remove),
        _ => None,
    };
    let ours = |word| match word {
        "drain" => Some(Verb::Drain),
        "undrain" => Some(Verb::Undrain),
        _ => None,
    };
    perlbals(second)
        .map(|verb| (first, verb))
        .or_else(|| perlbals(first).map(|verb| (second, verb)))
        .or_else(|| ours(second).map(|verb| (first, verb)))
        .or_else(|| ours(first).map(|verb| (second, verb)))
}

fn number(digits: &str) -> Option<u32> {
    let all_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    if all_digits { digits.parse().ok() } else { None }
}
