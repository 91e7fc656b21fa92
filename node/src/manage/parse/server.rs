//! `server KEY = VALUE`, of which there is `max_reproxy_connections` and `max_reproxy_connections(HOST:PORT)`.

use fleetbal_raft::model::Change;

use super::super::command::Command;
use super::super::line::Line;
use super::ParseError;

const BAD: ParseError = ParseError::Syntax("server");
const LIMIT: &str = "max_reproxy_connections";

pub(super) fn parse(line: &Line) -> Result<Command, ParseError> {
    let assignment = line.rest().strip_prefix(' ').ok_or(BAD)?;
    let (key, value) = assignment.split_once('=').ok_or(BAD)?;
    let (key, value) = (key.trim_end(), value.trim_start());
    if key.is_empty() || key.contains(' ') || value.is_empty() {
        return Err(BAD);
    }
    let target = match key.strip_prefix(LIMIT) {
        Some("") => None,
        Some(target) => {
            let target = target.strip_prefix('(').and_then(|t| t.strip_suffix(')'));
            Some(target.filter(|target| is_target(target)).ok_or(BAD)?.to_owned())
        }
        None => return Err(ParseError::ServerOption(key.to_owned())),
    };
    let all_digits = value.bytes().all(|byte| byte.is_ascii_digit());
    let limit = value.parse().ok().filter(|_| all_digits);
    Ok(Command::Change(Change::SetReproxyLimit {
        target,
        limit: limit.ok_or(ParseError::Numeric)?,
    }))
}

/// `host:port`, as it stands in an X-REPROXY-URL.
fn is_target(text: &str) -> bool {
    let host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    text.rsplit_once(':').is_some_and(|(name, port)| {
        let is_port = port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|p| p > 0);
        !name.is_empty() && name.chars().all(host) && is_port
    })
}
