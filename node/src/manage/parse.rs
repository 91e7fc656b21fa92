//! A line made into a command. Knows no state but the object that `CREATE` or `USE` implied; texts are Perlbal's.

mod cert;
mod cluster;
mod config;
mod header;
mod health;
mod membership;
mod mime;
mod object;
mod plugin;
mod pool;
mod remote;
mod server;
mod show;
mod transaction;
mod why;

use fleetbal_raft::model::{BackendAddress, InvalidDirective, InvalidName, Template, VariableError};

use super::command::{Command, Local, Query, SocketView};
use super::line::{Line, LineError};
use crate::lifecycle::Stop;
use crate::plugin::builtin;

pub use crate::command_words::COMMANDS;

/// Perlbal looks for leaks of Perl objects; there are none here.
const LEAKS: &str = "command disabled without $ENV{PERLBAL_DEBUG} set";

/// A line that is no command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// No such command.
    #[error("unknown command: {0}")]
    Unknown(String),
    /// Arguments to a command without any.
    #[error("The '{0}' command takes no arguments")]
    NoArguments(&'static str),
    /// Arguments that do not fit.
    #[error("Invalid syntax to '{0}' command")]
    Syntax(&'static str),
    /// The same, with a line that shows how to write it.
    #[error("{0}")]
    Usage(&'static str),
    /// `SET x = y` without an object, named or implied.
    #[error("omitted service/pool name not implied from context")]
    NoContext,
    /// A line for a service without one, named or implied.
    #[error("omitted service name not implied from context")]
    NoServiceContext,
    /// The same, in the words of other plugins.
    #[error("No service name in context from CREATE SERVICE <name> or USE <service_name>")]
    NoService,
    /// A line of a plugin that cannot be carried out.
    #[error(transparent)]
    Directive(#[from] InvalidDirective),
    /// Neither word of `POOL` is one. (The two blanks are Perlbal's.)
    #[error("Invalid command:  must be 'add' or 'remove'")]
    AddOrRemove,
    /// A line for another node that is none.
    #[error(transparent)]
    Line(#[from] LineError),
    /// A name that breaks the rules.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// A `${…}` that does not exist.
    #[error(transparent)]
    Variable(#[from] VariableError),
    /// A `${…}` where each node must read the same.
    #[error(
        "a variable cannot stand here: {0}; only in SET values that are addresses, paths or text, and in HEADER values"
    )]
    VariableNotHere(String),
    /// `HEADER … INSERT` of nothing.
    #[error("no value provided")]
    NoValue,
    /// `SERVER x = y` with a value that is no number.
    #[error("Expected numeric parameter")]
    Numeric,
    /// A `SERVER` line that nobody knows.
    #[error("unknown server option '{0}'")]
    ServerOption(String),
}

/// Makes a command of a line. `implied` is the object that `CREATE` or `USE` named last.
///
/// # Errors
/// When it is no command, in Perlbal's words.
pub fn parse(line: &Line, implied: Option<&str>) -> Result<Command, ParseError> {
    match line.word() {
        "cluster" => cluster::parse(line),
        "config" => config::parse(line),
        "confirm" => plain(line, "confirm", Command::Local(Local::Confirm)),
        "barrier" => cluster::barrier(line),
        "begin" => plain(line, "begin", Command::Local(Local::Begin)),
        "abort" => plain(line, "abort", Command::Local(Local::Abort)),
        "commit" => transaction::commit(line),
        "sync" => plain(line, "sync", Command::Local(Local::Sync)),
        "why" => why::parse(line),
        "ready" => plain(line, "ready", Command::Query(Query::Ready)),
        "auth" => auth(line),
        "on" => remote::on(line),
        "fleet" => remote::fleet(line),
        "drain" => remote::drain(line, true),
        "undrain" => remote::drain(line, false),
        "set" => object::set(line, implied),
        "default" => object::default(line),
        "header" => header::parse(line),
        "include" => plugin::include(line),
        "logname" => plugin::logname(line, implied),
        _ => {
            no_variables(line.rest())?;
            parse_plain(line, implied)
        }
    }
}

/// Commands in which no `${…}` can stand.
fn parse_plain(line: &Line, implied: Option<&str>) -> Result<Command, ParseError> {
    match line.word() {
        "create" => object::create(line),
        "use" => object::use_object(line),
        "enable" => object::enable(line, true),
        "disable" => object::enable(line, false),
        "pool" => pool::parse(line),
        "plugin" => plugin::scripts(line),
        "cert" => cert::parse(line),
        "load" => plugin::load(line, "load", true),
        "unload" => plugin::load(line, "unload", false),
        "reload" => plugin::reload(line),
        "access" => plugin::access(line, implied),
        "redirect" => plugin::redirect(line, implied),
        "vhost" => plugin::vhost(line, implied),
        "vpath" => plugin::vpath(line, implied),
        "throttle" => plugin::throttle(line, implied),
        "show" => show::parse(line),
        "health" => health::parse(line),
        "dumpconfig" => Ok(Command::Query(Query::Dump)),
        "uptime" => plain(line, "uptime", Command::Query(Query::Uptime)),
        "version" => plain(line, "version", Command::Query(Query::Uptime)),
        "reproxy_state" => Ok(Command::Query(Query::ReproxyState)),
        "queues" => plain(line, "queues", Command::Query(Query::Queues)),
        "pending" => plain(line, "pending", Command::Query(Query::Pending)),
        "noverify" => plain(line, "noverify", Command::Query(Query::NoVerify)),
        "proc" => plain(line, "proc", Command::Query(Query::Proc)),
        "effects" => plain(line, "effects", Command::Query(Query::Effects)),
        "fd" => plain(line, "fd", Command::Query(Query::Descriptors)),
        "plugins" => plain(line, "plugins", Command::Query(Query::Plugins)),
        "aio" | "gladiator" | "obj" | "prof" | "track" | "varsize" | "xs" => {
            Ok(Command::Query(Query::Interpreter))
        }
        "state" => state(line),
        "states" => states(line),
        "socks" => socks(line),
        "leaks" => Err(ParseError::Usage(LEAKS)),
        "backends" => plain(line, "backends", Command::Query(Query::Backends)),
        "node" => nodes(line, "node"),
        "nodes" => nodes(line, "nodes"),
        "help" => plain(line, "help", Command::Query(Query::Help)),
        "verbose" => verbose(line),
        "shutdown" => shutdown(line),
        "quit" | "exit" if line.rest().is_empty() => Ok(Command::Local(Local::Quit)),
        "mime" => mime::parse(line),
        "server" => server::parse(line),
        other if builtin::has_report(other) => Ok(Command::Query(Query::Report(other.to_owned()))),
        other => Err(ParseError::Unknown(other.to_owned())),
    }
}

fn plain(line: &Line, name: &'static str, command: Command) -> Result<Command, ParseError> {
    if line.rest().is_empty() {
        Ok(command)
    } else {
        Err(ParseError::NoArguments(name))
    }
}

fn nodes(line: &Line, name: &'static str) -> Result<Command, ParseError> {
    let bad = || ParseError::Syntax(name);
    let arguments = line.arguments().ok_or_else(bad)?;
    let only = match arguments.as_slice() {
        [] => None,
        [address] => Some(BackendAddress::parse(address).ok_or_else(bad)?),
        _ => return Err(bad()),
    };
    Ok(Command::Query(Query::Nodes(only)))
}

/// `state changes` tells what Perl objects went through; a bare `state` was never a command.
fn state(line: &Line) -> Result<Command, ParseError> {
    match line.rest() {
        " changes" => Ok(Command::Query(Query::Interpreter)),
        _ => Err(ParseError::Syntax("state")),
    }
}

fn states(line: &Line) -> Result<Command, ParseError> {
    let service = match line.rest() {
        "" => None,
        // All of it is a name, which is none where there are blanks in it.
        rest => Some(
            rest.strip_prefix(' ')
                .ok_or(ParseError::Syntax("states"))?
                .to_owned(),
        ),
    };
    Ok(Command::Query(Query::States(service)))
}

/// A word that says nothing to Perlbal gets an empty answer.
fn socks(line: &Line) -> Result<Command, ParseError> {
    let view = match line.arguments().as_deref() {
        Some([] | ["all"]) => Some(SocketView::All),
        Some(["summary"]) => Some(SocketView::Summary),
        Some([_]) => None,
        Some(_) | None => return Err(ParseError::Syntax("socks")),
    };
    Ok(Command::Query(Query::Sockets(view)))
}

fn verbose(line: &Line) -> Result<Command, ParseError> {
    match line.rest() {
        " on" => Ok(Command::Local(Local::Verbose(true))),
        " off" => Ok(Command::Local(Local::Verbose(false))),
        _ => Err(ParseError::Usage("usage: VERBOSE {on|off}")),
    }
}

fn auth(line: &Line) -> Result<Command, ParseError> {
    let secret = line.rest().trim_start();
    if secret.is_empty() {
        return Err(ParseError::Usage("usage: auth <secret>"));
    }
    Ok(Command::Local(Local::Auth(secret.to_owned())))
}

fn shutdown(line: &Line) -> Result<Command, ParseError> {
    const BAD: ParseError = ParseError::Syntax("shutdown");
    let arguments = line.arguments().ok_or(BAD)?;
    let stop = match arguments.as_slice() {
        [] => Stop::Now,
        ["graceful"] => Stop::Graceful(None),
        ["graceful", seconds] => Stop::Graceful(Some(cluster::seconds(seconds).ok_or(BAD)?)),
        // Perlbal reads the number and does nothing with it.
        [seconds] if cluster::seconds(seconds).is_some() => Stop::Now,
        _ => return Err(BAD),
    };
    Ok(Command::Local(Local::Shutdown(stop)))
}

/// Refuses `${…}` in a text, in Perlbal's words where it is not even a variable.
fn no_variables(text: &str) -> Result<(), ParseError> {
    if text.contains("${") {
        Template::parse(text)?;
        return Err(ParseError::VariableNotHere(text.trim_start().to_owned()));
    }
    Ok(())
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
