//! `server KEY = VALUE`: `config_history`, `max_reproxy_connections` and `max_reproxy_connections(HOST:PORT)` are the
//! fleet's, the others this process's.

use fleetbal_raft::model::Change;

use super::super::command::{Command, Local};
use super::super::line::Line;
use super::ParseError;
use crate::os_settings::ServerSetting;

const BAD: ParseError = ParseError::Syntax("server");
const LIMIT: &str = "max_reproxy_connections";
const HISTORY: &str = "config_history";

pub(super) fn parse(line: &Line) -> Result<Command, ParseError> {
    let assignment = line.rest().strip_prefix(' ').ok_or(BAD)?;
    let (key, value) = assignment.split_once('=').ok_or(BAD)?;
    let (key, value) = (key.trim_end(), value.trim_start());
    if key.is_empty() || key.contains(' ') || value.is_empty() {
        return Err(BAD);
    }
    if key == HISTORY {
        return Ok(Command::Change(Change::SetConfigHistory(number(value)?)));
    }
    let target = match key.strip_prefix(LIMIT) {
        Some("") => None,
        Some(target) => {
            let target = target.strip_prefix('(').and_then(|t| t.strip_suffix(')'));
            Some(target.filter(|target| is_target(target)).ok_or(BAD)?.to_owned())
        }
        None => return own(key, value).map(|setting| Command::Local(Local::Server(setting))),
    };
    Ok(Command::Change(Change::SetReproxyLimit {
        target,
        limit: number(value)?,
    }))
}

/// What concerns this process alone.
fn own(key: &str, value: &str) -> Result<ServerSetting, ParseError> {
    match key {
        "max_connections" => Ok(ServerSetting::MaxConnections(number(value)?)),
        "nice_level" => nice_level(value).map(ServerSetting::NiceLevel),
        "pidfile" => Ok(ServerSetting::PidFile(value.into())),
        "aio_threads" => number::<u64>(value).map(|_| ServerSetting::WithoutEffect),
        "aio_mode" => match value {
            "none" | "ioaio" => Ok(ServerSetting::WithoutEffect),
            "linux" => Err(ParseError::Usage("Linux::AIO no longer supported")),
            _ => Err(ParseError::Usage("Unknown AIO mode")),
        },
        "track_obj" | "crash_backtrace" => match value {
            "0" | "1" => Ok(ServerSetting::WithoutEffect),
            _ => Err(ParseError::Usage("Expected 1 or 0")),
        },
        other => Err(ParseError::ServerOption(other.to_owned())),
    }
}

fn number<T: std::str::FromStr>(value: &str) -> Result<T, ParseError> {
    let all_digits = value.bytes().all(|byte| byte.is_ascii_digit());
    let number = value.parse().ok().filter(|_| all_digits);
    number.ok_or(ParseError::Numeric)
}

/// As `nice(1)` has them.
fn nice_level(value: &str) -> Result<i32, ParseError> {
    let level = value.parse().ok().filter(|level| (-20..=19).contains(level));
    level.ok_or(ParseError::Numeric)
}

/// `host:port`, as it stands in an X-REPROXY-URL.
fn is_target(text: &str) -> bool {
    let host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    text.rsplit_once(':').is_some_and(|(name, port)| {
        let is_port = port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|p| p > 0);
        !name.is_empty() && name.chars().all(host) && is_port
    })
}
