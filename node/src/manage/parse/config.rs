//! `config …`: the configuration's versions, and the way back. Command words in any case.

use fleetbal_raft::model::{RequestId, Version};

use super::super::command::{Command, Format, HistoryQuery, Local, Query};
use super::super::line::Line;
use super::ParseError;
use super::cluster::digits;

/// How many versions `config history` lists where nothing was said.
const HISTORY: usize = 20;

const CONFIG: ParseError = ParseError::Usage(
    "usage: config {version|verify}; config history [<number>] [json]; config show <version> [json]; \
     config diff <version> <version>; config rollback <version>; config request <request id>",
);

pub(super) fn parse(line: &Line) -> Result<Command, ParseError> {
    let arguments = line.arguments().ok_or(CONFIG)?;
    let (word, arguments) = arguments.split_first().ok_or(CONFIG)?;
    let word = word.to_ascii_lowercase();
    let command = match (word.as_str(), arguments) {
        ("version", []) => Some(Command::Query(Query::ConfigVersion)),
        ("verify", []) => Some(history_query(HistoryQuery::Verify)),
        ("history", arguments) => history(arguments),
        ("show", [number]) => version(number).map(|at| history_query(HistoryQuery::Show(at, Format::Text))),
        ("show", [number, json]) if is_json(json) => {
            version(number).map(|at| history_query(HistoryQuery::Show(at, Format::Json)))
        }
        ("diff", [from, to]) => version(from)
            .zip(version(to))
            .map(|(from, to)| history_query(HistoryQuery::Diff(from, to))),
        ("rollback", [number]) => version(number).map(|to| Command::Local(Local::Rollback(to))),
        ("request", [id]) => RequestId::parse(id).map(|id| Command::Local(Local::Outcome(id))),
        _ => None,
    };
    command.ok_or(CONFIG)
}

fn history_query(query: HistoryQuery) -> Command {
    Command::Query(Query::History(query))
}

fn history(arguments: &[&str]) -> Option<Command> {
    let (number, format) = match arguments {
        [numbers @ .., last] if is_json(last) => (numbers, Format::Json),
        numbers => (numbers, Format::Text),
    };
    let count = match number {
        [] => HISTORY,
        [number] => digits(number)?.try_into().ok()?,
        _ => return None,
    };
    Some(history_query(HistoryQuery::List { count, format }))
}

fn version(text: &str) -> Option<Version> {
    digits(text).map(Version)
}

fn is_json(word: &str) -> bool {
    word.eq_ignore_ascii_case("json")
}
