//! `header SERVICE insert NAME: VALUE`, `header SERVICE remove NAME`.

use fleetbal_raft::model::{Change, HeaderRule, ServiceName, Template};

use super::super::command::Command;
use super::super::line::{Line, is_one_word};
use super::ParseError;

const USAGE: ParseError = ParseError::Usage("Usage: HEADER <service> {INSERT|REMOVE} <header>[: <value>]");

pub(super) fn parse(line: &Line) -> Result<Command, ParseError> {
    let rest = line.rest().strip_prefix(' ').ok_or(USAGE)?;
    let (service, rest) = rest.split_once(' ').ok_or(USAGE)?;
    let (verb, header) = rest.split_once(' ').ok_or(USAGE)?;
    if !is_one_word(service) {
        return Err(USAGE);
    }
    let (name, value) = match header.split_once(':') {
        Some((name, value)) => (name.trim_end(), value.trim_start()),
        None => (header, ""),
    };
    let rule = match verb {
        "insert" if name.is_empty() || value.is_empty() => return Err(ParseError::NoValue),
        "insert" => HeaderRule::Insert {
            name: name.to_owned(),
            value: Template::parse(value)?,
        },
        // Perlbal ignores a value here.
        "remove" if !name.is_empty() => HeaderRule::Remove {
            name: name.to_owned(),
        },
        _ => return Err(USAGE),
    };
    Ok(Command::Change(Change::Header {
        service: ServiceName::parse(service)?,
        rule,
    }))
}
