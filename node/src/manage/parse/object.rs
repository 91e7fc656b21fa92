//! `create`, `use`, `set`, `default`, `enable`, `disable`.

use fleetbal_raft::model::{Change, PoolName, ServiceName, Template, takes_variables};

use super::super::command::{Command, Local};
use super::super::line::{Line, is_one_word};
use super::{ParseError, no_variables};

const CREATE: ParseError = ParseError::Usage("usage: CREATE {service|pool} <name>");
const USE: ParseError = ParseError::Usage("usage: USE <service_or_pool_name>");
const SET: ParseError = ParseError::Usage("usage: SET [<service>] <param> = <value>");
const DEFAULT: ParseError = ParseError::Usage("usage: DEFAULT <param> = <value>");
const ENABLE: ParseError = ParseError::Usage("Usage: {ENABLE|DISABLE} <service>");

pub(super) fn create(line: &Line) -> Result<Command, ParseError> {
    let arguments = line.arguments().ok_or(CREATE)?;
    let change = match arguments.as_slice() {
        ["pool", name] if is_one_word(name) => Change::CreatePool(PoolName::parse(name)?),
        ["service", name] if is_one_word(name) => Change::CreateService(ServiceName::parse(name)?),
        _ => return Err(CREATE),
    };
    Ok(Command::Change(change))
}

pub(super) fn use_object(line: &Line) -> Result<Command, ParseError> {
    match line.arguments().ok_or(USE)?.as_slice() {
        [name] if is_one_word(name) => Ok(Command::Local(Local::Use((*name).to_owned()))),
        _ => Err(USE),
    }
}

pub(super) fn enable(line: &Line, enabled: bool) -> Result<Command, ParseError> {
    match line.arguments().ok_or(ENABLE)?.as_slice() {
        [name] if is_one_word(name) => Ok(Command::Change(Change::SetEnabled {
            service: ServiceName::parse(name)?,
            enabled,
        })),
        _ => Err(ENABLE),
    }
}

pub(super) fn set(line: &Line, implied: Option<&str>) -> Result<Command, ParseError> {
    let (left, value) = assignment(line).ok_or(SET)?;
    no_variables(left)?;
    let (object, key) = match left.split_once(' ') {
        Some((object, key)) => (Some(object), key),
        None => match left.split_once('.') {
            Some((object, key)) => (Some(object), key),
            None => (None, left),
        },
    };
    let key_is_fine = !key.is_empty() && key.split('.').all(is_one_word);
    if !key_is_fine || object.is_some_and(|object| !is_one_word(object)) {
        return Err(SET);
    }
    let object = object.or(implied).ok_or(ParseError::NoContext)?;
    check_variables(key, value)?;
    Ok(Command::Change(Change::Set {
        object: object.to_owned(),
        key: key.to_owned(),
        value: value.to_owned(),
    }))
}

pub(super) fn default(line: &Line) -> Result<Command, ParseError> {
    let (key, value) = assignment(line).ok_or(DEFAULT)?;
    no_variables(key)?;
    if !is_one_word(key) {
        return Err(DEFAULT);
    }
    check_variables(key, value)?;
    Ok(Command::Change(Change::SetDefault {
        key: key.to_owned(),
        value: value.to_owned(),
    }))
}

/// `LEFT = VALUE`, neither empty.
fn assignment(line: &Line) -> Option<(&str, &str)> {
    let (left, value) = line.rest().strip_prefix(' ')?.split_once('=')?;
    let (left, value) = (left.trim_end(), value.trim_start());
    (!left.is_empty() && !value.is_empty()).then_some((left, value))
}

/// Variables are for text and addresses; a key that nobody knows is refused by `apply`.
fn check_variables(key: &str, value: &str) -> Result<(), ParseError> {
    if !takes_variables(key) {
        return no_variables(value);
    }
    Template::parse(value)?;
    Ok(())
}
