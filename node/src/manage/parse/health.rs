//! `health [POOL]`, `health why ip:port`.

use fleetbal_raft::model::{BackendAddress, PoolName};

use super::super::command::{Command, Query};
use super::super::line::{Line, is_one_word};
use super::ParseError;

const USAGE: ParseError = ParseError::Usage("usage: HEALTH [<pool> | WHY <ip:port>]");

pub(super) fn parse(line: &Line) -> Result<Command, ParseError> {
    let query = match line.arguments().ok_or(USAGE)?.as_slice() {
        [] => Query::Health(None),
        [pool] if is_one_word(pool) => Query::Health(Some(PoolName::parse(pool)?)),
        ["why", backend] => Query::WhyHealth(BackendAddress::parse(backend).ok_or(USAGE)?),
        _ => return Err(USAGE),
    };
    Ok(Command::Query(query))
}
