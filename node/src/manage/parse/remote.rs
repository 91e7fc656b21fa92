//! `on NODE COMMAND`, `fleet COMMAND`: lines for other nodes; and `drain node`.

use fleetbal_raft::model::NodeName;

use super::super::command::{Command, Local, Query, Remote};
use super::super::line::Line;
use super::{ParseError, parse};

const ON: ParseError = ParseError::Usage("usage: on <node> <command>");
const FLEET: ParseError = ParseError::Usage("usage: fleet [sum] <command>");
const NOT_THERE: ParseError = ParseError::Usage(
    "`on` runs what concerns one node: reads, `drain node`, `undrain node`, `server`, `shutdown graceful`",
);
const NO_FIGURES: ParseError =
    ParseError::Usage("`fleet sum` adds up the figures of `backends`, `nodes` and `queues`");
const NO_READ: ParseError = ParseError::Usage("`fleet` runs reads");

pub(super) fn on(line: &Line) -> Result<Command, ParseError> {
    let rest = line.rest().strip_prefix(' ').ok_or(ON)?;
    let (node, typed) = rest.split_once(' ').ok_or(ON)?;
    let remote = remote(typed, ON)?;
    if !remote.command.concerns_one_node() {
        return Err(NOT_THERE);
    }
    let node = NodeName::parse(&node.to_ascii_lowercase())?;
    Ok(Command::Local(Local::On { node, remote }))
}

pub(super) fn fleet(line: &Line) -> Result<Command, ParseError> {
    let rest = line.rest().strip_prefix(' ').ok_or(FLEET)?;
    if let Some((word, typed)) = rest.split_once(' ')
        && word.eq_ignore_ascii_case("sum")
    {
        let remote = remote(typed, FLEET)?;
        let has_figures = matches!(
            &*remote.command,
            Command::Query(Query::Backends | Query::Nodes(_) | Query::Queues)
        );
        return if has_figures {
            Ok(Command::Local(Local::FleetSum(remote)))
        } else {
            Err(NO_FIGURES)
        };
    }
    let remote = remote(rest, FLEET)?;
    if !(remote.command.concerns_one_node() && remote.command.is_read()) {
        return Err(NO_READ);
    }
    Ok(Command::Local(Local::Fleet(remote)))
}

/// Variables of the environment are the other node's to know.
fn remote(typed: &str, usage: ParseError) -> Result<Remote, ParseError> {
    let line = Line::read(typed.as_bytes(), |_| None)?.ok_or(usage)?;
    Ok(Remote {
        line: typed.to_owned(),
        command: Box::new(parse(&line, None)?),
    })
}

pub(super) fn drain(line: &Line, drain: bool) -> Result<Command, ParseError> {
    match line.arguments().as_deref() {
        Some([word]) if word.eq_ignore_ascii_case("node") => Ok(Command::Local(Local::DrainNode(drain))),
        _ if drain => Err(ParseError::Usage("usage: drain node")),
        _ => Err(ParseError::Usage("usage: undrain node")),
    }
}
