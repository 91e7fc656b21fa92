//! Commands that Perlbal never had: `cluster …`, `barrier`. Command words in any case; arguments as typed.

use std::time::Duration;

use fleetbal_raft::model::{Change, TokenId};

use super::super::command::{Command, Format, Local, Query};
use super::super::line::Line;
use super::{ParseError, membership};

/// How long a join token is good for where nothing else was said.
const TOKEN_TTL: Duration = Duration::from_hours(1);

/// How long `barrier` waits where nothing else was said.
const BARRIER: Duration = Duration::from_secs(10);

const CLUSTER: ParseError = ParseError::Usage(
    "usage: cluster {status|members} [json]; cluster {load|token|tokens|revoke|remove|promote|demote|transfer|rekey|set}",
);
const TOKEN: ParseError = ParseError::Usage("usage: cluster token [ttl <seconds>] [uses <number>]");
const TOKENS: ParseError = ParseError::Usage("usage: cluster tokens");
const REVOKE: ParseError = ParseError::Usage("usage: cluster revoke <token id>");
const REKEY: ParseError = ParseError::Usage("usage: cluster rekey");
const SET: ParseError =
    ParseError::Usage("usage: cluster set {voters = <number>|dead_voter_after = <seconds>}");
const BARRIER_USAGE: ParseError = ParseError::Usage("usage: barrier [<seconds>]");

pub(super) fn parse(line: &Line) -> Result<Command, ParseError> {
    let arguments = line.arguments().ok_or(CLUSTER)?;
    let (word, arguments) = arguments.split_first().ok_or(CLUSTER)?;
    match word.to_ascii_lowercase().as_str() {
        "status" => Ok(Command::Query(Query::ClusterStatus(format(arguments)?))),
        "load" if arguments.is_empty() => Ok(Command::Query(Query::ClusterLoad)),
        "members" => Ok(Command::Query(Query::ClusterMembers(format(arguments)?))),
        "token" => token(arguments).ok_or(TOKEN),
        "tokens" if arguments.is_empty() => Ok(Command::Query(Query::Tokens)),
        "tokens" => Err(TOKENS),
        "revoke" => match arguments {
            [id] => Ok(Command::Local(Local::RevokeToken(TokenId::parse(id)?))),
            _ => Err(REVOKE),
        },
        "rekey" if arguments.is_empty() => Ok(Command::Local(Local::Rekey)),
        "rekey" => Err(REKEY),
        "set" => set(&arguments.join(" ")).ok_or(SET),
        other => membership::parse(other, arguments).unwrap_or(Err(CLUSTER)),
    }
}

fn format(arguments: &[&str]) -> Result<Format, ParseError> {
    match arguments {
        [] => Ok(Format::Text),
        [word] if word.eq_ignore_ascii_case("json") => Ok(Format::Json),
        _ => Err(CLUSTER),
    }
}

fn token(mut arguments: &[&str]) -> Option<Command> {
    let (mut ttl, mut uses) = (None, None);
    while let [word, number, rest @ ..] = arguments {
        match word.to_ascii_lowercase().as_str() {
            "ttl" if ttl.is_none() => ttl = Some(seconds(number).filter(|ttl| !ttl.is_zero())?),
            "uses" if uses.is_none() => uses = Some(digits(number)?.try_into().ok().filter(|n| *n > 0)?),
            _ => return None,
        }
        arguments = rest;
    }
    arguments.is_empty().then_some(Command::Local(Local::IssueToken {
        ttl: ttl.unwrap_or(TOKEN_TTL),
        uses,
    }))
}

fn set(assignment: &str) -> Option<Command> {
    let (key, number) = assignment.split_once('=')?;
    let number = digits(number.trim_start())?.try_into().ok()?;
    let change = match key.trim_end().to_ascii_lowercase().as_str() {
        "voters" => Change::SetVoters(number),
        "dead_voter_after" => Change::SetDeadVoterAfter(number),
        _ => return None,
    };
    Some(Command::Change(change))
}

pub(super) fn barrier(line: &Line) -> Result<Command, ParseError> {
    let within = match line.arguments().ok_or(BARRIER_USAGE)?.as_slice() {
        [] => BARRIER,
        [number] => seconds(number).ok_or(BARRIER_USAGE)?,
        _ => return Err(BARRIER_USAGE),
    };
    Ok(Command::Local(Local::Barrier(within)))
}

/// The longest time that a command takes, so that no clock overflows: a hundred years.
const LONGEST: u64 = 100 * 366 * 24 * 3600;

/// Whole seconds.
pub(super) fn seconds(text: &str) -> Option<Duration> {
    digits(text)
        .filter(|seconds| *seconds <= LONGEST)
        .map(Duration::from_secs)
}

pub(super) fn digits(text: &str) -> Option<u64> {
    let all_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if all_digits { text.parse().ok() } else { None }
}
