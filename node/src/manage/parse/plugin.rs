//! `load`, `unload`, `reload`, and the lines that tune plugins: `access`, `logname`,
//! `redirect`, `vhost`, `vpath`.

use fleetbal_raft::model::{
    AccessRule, Change, Directive, InvalidDirective, LogTarget, ScriptName, ServiceName, Version,
};

use super::super::command::{Command, Local, Query, ScriptQuery};
use super::super::line::{Line, is_one_word};
use super::ParseError;
use crate::plugin::builtin::throttle::Which;

/// `load NAME`, `unload NAME`.
pub(super) fn load(line: &Line, word: &'static str, loaded: bool) -> Result<Command, ParseError> {
    Ok(Command::Change(Change::SetLoaded {
        plugin: name(line, word)?,
        loaded,
    }))
}

/// `reload NAME`: nothing that comes with a release can be.
pub(super) fn reload(line: &Line) -> Result<Command, ParseError> {
    Ok(Command::Query(Query::Reload(name(line, "reload")?)))
}

/// `plugin list`, `plugin show NAME`, `plugin diff NAME VERSION`, `plugin remove NAME`: the plugins in Lua. A source does
/// not fit into a line; it is pushed over HTTP.
pub(super) fn scripts(line: &Line) -> Result<Command, ParseError> {
    const USAGE: ParseError = ParseError::Usage(
        "usage: plugin list; plugin show <name>; plugin diff <name> <version>; plugin remove <name>",
    );
    let arguments = line.arguments().ok_or(USAGE)?;
    let (word, arguments) = arguments.split_first().ok_or(USAGE)?;
    let query = match (&*word.to_ascii_lowercase(), arguments) {
        ("list", []) => ScriptQuery::List,
        ("show", [name]) => ScriptQuery::Show((*name).to_owned()),
        ("diff", [name, version]) => {
            let version = version.parse().map_err(|_| USAGE)?;
            ScriptQuery::Diff((*name).to_owned(), Version(version))
        }
        ("remove", [name]) => return Ok(Command::Change(Change::RemoveScript(ScriptName::parse(name)?))),
        _ => return Err(USAGE),
    };
    Ok(Command::Query(Query::Scripts(query)))
}

fn name(line: &Line, word: &'static str) -> Result<String, ParseError> {
    match line.arguments().unwrap_or_default().as_slice() {
        [name] if is_one_word(name) => Ok((*name).to_owned()),
        _ => Err(ParseError::Syntax(word)),
    }
}

/// `logname [service] = file`, `logname [service] = | command`.
pub(super) fn logname(line: &Line, implied: Option<&str>) -> Result<Command, ParseError> {
    const USAGE: ParseError = ParseError::Usage("usage: LOGNAME [<service>] = <file>");
    // A blank is required behind each word.
    let rest = line.rest().strip_prefix(' ').ok_or(USAGE)?;
    let (service, target) = rest.split_once('=').ok_or(USAGE)?;
    let service = match service.strip_suffix(' ') {
        Some(service) if is_one_word(service) => Some(service),
        None if service.is_empty() => None,
        Some(_) | None => return Err(USAGE),
    };
    if target.trim().is_empty() {
        return Err(USAGE);
    }
    let service = service.or(implied).ok_or(ParseError::NoServiceContext)?;
    Ok(direct(
        service.to_owned(),
        Directive::Log(LogTarget::parse(target)?),
    ))
}

/// `access word kind value`, of the service that is implied.
pub(super) fn access(line: &Line, implied: Option<&str>) -> Result<Command, ParseError> {
    let arguments = line.arguments().unwrap_or_default();
    let word = |at: usize| arguments.get(at).copied().unwrap_or_default();
    if arguments.len() > 3 {
        return Err(InvalidDirective::AccessUsage.into());
    }
    let rule = AccessRule::parse(word(0), word(1), word(2))?;
    let service = implied.ok_or(ParseError::NoService)?;
    Ok(direct(service.to_owned(), Directive::Access(rule)))
}

/// `redirect host HOST TARGET`, of the service that is implied.
pub(super) fn redirect(line: &Line, implied: Option<&str>) -> Result<Command, ParseError> {
    let ["host", host, target] = line.arguments().unwrap_or_default()[..] else {
        return Err(InvalidDirective::Redirect.into());
    };
    let (host, target) = (host.to_owned(), target.to_owned());
    let service = implied.ok_or(ParseError::NoService)?;
    Ok(direct(service.to_owned(), Directive::Redirect { host, target }))
}

/// `vhost [service] host = service`.
pub(super) fn vhost(line: &Line, implied: Option<&str>) -> Result<Command, ParseError> {
    const USAGE: ParseError =
        ParseError::Usage("usage: VHOST [<service>] <host_or_pattern> = <dest_service>");
    let (service, pattern, target) = route(line, implied, USAGE)?;
    Ok(direct(service, Directive::Vhost { pattern, target }))
}

/// `vpath [service] regex = service`.
pub(super) fn vpath(line: &Line, implied: Option<&str>) -> Result<Command, ParseError> {
    const USAGE: ParseError = ParseError::Usage("usage: VPATH [<service>] <path regex> = <dest_service>");
    let (service, pattern, target) = route(line, implied, USAGE)?;
    Ok(direct(service, Directive::Vpath { pattern, target }))
}

/// `include = file…`, with a blank on both sides.
pub(super) fn include(line: &Line) -> Result<Command, ParseError> {
    const USAGE: ParseError = ParseError::Usage("usage: INCLUDE = <config files>");
    let files = line.rest().strip_prefix(" = ").ok_or(USAGE)?;
    let files: Vec<_> = files.split_whitespace().map(str::to_owned).collect();
    if files.is_empty() {
        return Err(USAGE);
    }
    Ok(Command::Local(Local::Include(files)))
}

/// `throttle reload config|whitelist|blacklist`, of the service that is implied.
pub(super) fn throttle(line: &Line, implied: Option<&str>) -> Result<Command, ParseError> {
    const USAGE: ParseError = ParseError::Usage("usage: throttle reload <config|whitelist|blacklist>");
    const NO_SERVICE: ParseError = ParseError::Usage(
        "No service name set. This command must be used after CREATE SERVICE <name> or USE <service_name>",
    );
    let list = match line.arguments().unwrap_or_default().as_slice() {
        ["reload", "config"] => None,
        ["reload", "whitelist"] => Some(Which::Whitelist),
        ["reload", "blacklist"] => Some(Which::Blacklist),
        _ => return Err(USAGE),
    };
    let service = implied.ok_or(NO_SERVICE)?.to_owned();
    Ok(Command::Local(Local::Throttle { service, list }))
}

fn direct(service: String, directive: Directive) -> Command {
    Command::Change(Change::Direct { service, directive })
}

/// `[service] pattern = service`.
fn route(
    line: &Line,
    implied: Option<&str>,
    usage: ParseError,
) -> Result<(String, String, ServiceName), ParseError> {
    let Some((left, target)) = line.rest().split_once('=') else {
        return Err(usage);
    };
    let (left, target) = (left.trim(), target.trim());
    let (service, pattern) = match left.split_once(' ') {
        Some((service, pattern)) => (Some(service), pattern),
        None => (None, left),
    };
    let fits = !pattern.is_empty() && !pattern.contains(' ') && is_one_word(target);
    if !fits || service.is_some_and(|service| !is_one_word(service)) {
        return Err(usage);
    }
    let service = service.or(implied).ok_or(ParseError::NoServiceContext)?;
    Ok((
        service.to_owned(),
        pattern.to_owned(),
        ServiceName::parse(target)?,
    ))
}
