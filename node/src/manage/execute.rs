//! Carries a command out. A change is proposed to the fleet and answered when this node balances by it.

pub(super) mod change;
pub(super) mod local;
mod membership;
pub(super) mod plan;

use std::collections::HashMap;
use std::time::Instant;

use super::Context;
use super::access::Rights;
use super::command::{Command, Format, HistoryQuery, Query, ScriptQuery, SocketView, Supposed};
use super::dump;
use super::line::Line;
use super::parse::ParseError;
use super::query::{self, Figures};
use super::render::Reply;
use super::session::ONLY_READ;
use crate::clock;
use crate::gossip::ConfigHash;
use crate::os_error;
use crate::plugin::command::{self, CommandLine, Told};
use crate::reproxy::{self, CacheFigures};
use crate::snapshot::PoolView;

pub(super) use self::membership::REKEY;

use fleetbal_raft::model::{BackendAddress, FleetState, PoolName, ServiceName, Typist};

/// Carries one command out for whoever typed it. Dropping the future leaves a change's outcome unknown.
pub(super) async fn execute(command: Command, typist: &Typist, context: &Context) -> Reply {
    match command {
        Command::Change(change) => Box::pin(change::execute(change, typist, context)).await,
        Command::Query(Query::States(service)) => states(service.as_deref(), context).await,
        Command::Query(Query::Sockets(view)) => sockets(view, context).await,
        Command::Query(query) => answer(&query, context),
        Command::Local(local) => Box::pin(local::execute(local, typist, context)).await,
    }
}

/// Carries out a line whose word is none of this release's: a plugin may have brought it along. What that does is not
/// known, so whoever may only read has none of it.
pub(super) async fn plugged(line: &Line, word: String, rights: Rights, context: &Context) -> Reply {
    let snapshot = context.view.load_full();
    let services = snapshot.services();
    let hooks = services.filter_map(|(_, view)| view.hooks.as_deref());
    let unknown = || Reply::Refused(ParseError::Unknown(word.clone()).to_string());
    if !command::is_known(&word, hooks) {
        return unknown();
    }
    if rights < Rights::Admin {
        return Reply::Refused(ONLY_READ.to_owned());
    }
    let rest = line.rest().trim_start().to_owned();
    let line = CommandLine {
        word: word.clone(),
        rest,
    };
    match context.open.command(line).await {
        Some(Told::Lines(lines)) => Reply::Lines(lines),
        Some(Told::Done) => Reply::Done,
        Some(Told::Refused(text)) => Reply::Refused(text),
        None => unknown(),
    }
}

/// Answers a read from what this node knows.
fn answer(query: &Query, context: &Context) -> Reply {
    let snapshot = context.view.load();
    let config = &snapshot.config;
    let fill = |variable: &fleetbal_raft::model::Variable| context.variables.fill(variable);
    match query {
        Query::Services => Reply::Lines(query::service::list(config, &fill)),
        Query::Service(name) => query::service::show(config, name, &fill, context)
            .map_or_else(|| Reply::Refused("Unknown service".to_owned()), Reply::Lines),
        Query::Pools => Reply::Lines(query::pool::list(config)),
        Query::Pool(name) => query::pool::show(config, name, context).map_or_else(
            || Reply::Refused(format!("pool '{name}' does not exist")),
            Reply::Lines,
        ),
        Query::Dump => Reply::Dump(dump::dump(config)),
        Query::Uptime => Reply::Lines(query::node::uptime(
            context.started.at,
            context.started.instant.elapsed(),
        )),
        Query::ReproxyState => Reply::Lines(reproxy::lines(
            &context.reproxy.targets.figures(),
            config.reproxy_limits(),
        )),
        Query::Mime => Reply::Lines(query::node::mime(config)),
        Query::Queues => Reply::Lines(query::live::queues(&snapshot, &context.queues, Instant::now())),
        Query::Pending => Reply::Lines(query::live::pending(&snapshot, &context.queues, Instant::now())),
        Query::NoVerify => Reply::Lines(query::live::noverify(&snapshot, Instant::now())),
        Query::Proc => Reply::Lines(query::node::proc(
            &context.last_proc.since(context.stats.requests_total()),
        )),
        Query::Descriptors => query::node::descriptors()
            .map_or_else(|error| Reply::Refused(os_error::words(&error)), Reply::Lines),
        Query::Plugins => Reply::Lines(query::plugin::list(config)),
        Query::Scripts(query) => scripts(query, context),
        Query::Certificates(format) => Reply::Lines(match format {
            Format::Text => query::certificate::list(config),
            Format::Json => vec![query::certificate::list_json(config)],
        }),
        Query::Report(word) => report(word, context),
        Query::Reload(name) => Reply::Refused(query::plugin::no_reload(config, name)),
        // Of those the last two ask the workers, and are answered before.
        Query::Interpreter | Query::States(_) | Query::Sockets(_) => Reply::Lines(Vec::new()),
        Query::Backends => Reply::Lines(query::live::backends(&snapshot)),
        Query::Nodes(only) => Reply::Lines(query::live::nodes(&snapshot, *only)),
        Query::Effects => Reply::Lines(query::effects::lines(&context.fleet.nodes(), clock::now())),
        Query::Health(pool) => health(pool.as_ref(), context),
        Query::WhyHealth(backend) => why_health(*backend, context),
        Query::Why(supposed) => why(supposed, context),
        Query::Help => Reply::Lines(query::node::help()),
        Query::ConfigVersion => Reply::Lines(query::node::config_version(
            config.version,
            &ConfigHash::of(config).to_string(),
        )),
        Query::History(query) => history(*query, &context.cluster.feed().latest().state),
        Query::Ready => ready(context),
        Query::Tokens => {
            let applied = context.cluster.feed().latest();
            Reply::Lines(query::tokens::list(applied.state.tokens(), clock::now()))
        }
        Query::ClusterLoad => Reply::Lines(fleet_status(context).load_lines()),
        Query::ClusterStatus(format) => cluster_status(*format, context),
        Query::ClusterMembers(format) => cluster_members(*format, context),
    }
}

async fn states(service: Option<&str>, context: &Context) -> Reply {
    let is_there = |name: &str| context.view.load().service(name).is_some();
    if service.is_some_and(|name| !is_there(name)) {
        return Reply::Refused("Service not found.".to_owned());
    }
    Reply::Lines(query::sockets::states(&context.open.all().await, service))
}

async fn sockets(view: Option<SocketView>, context: &Context) -> Reply {
    let sockets = context.open.all().await;
    Reply::Lines(match view {
        Some(SocketView::All) => query::sockets::rows(sockets),
        Some(SocketView::Summary) => query::sockets::summary(&sockets),
        None => Vec::new(),
    })
}

fn scripts(query: &ScriptQuery, context: &Context) -> Reply {
    let state = &context.cluster.feed().latest().state;
    let lines = query::plugin::scripts(query, &context.view.load(), state);
    lines.map_or_else(Reply::Refused, Reply::Lines)
}

fn report(word: &str, context: &Context) -> Reply {
    let unknown = || Reply::Refused(ParseError::Unknown(word.to_owned()).to_string());
    query::plugin::report(word, &context.view.load()).map_or_else(unknown, Reply::Lines)
}

fn cluster_members(format: Format, context: &Context) -> Reply {
    let members = query::cluster::MembersStatus::assemble(&context.cluster.status());
    Reply::Lines(match format {
        Format::Text => members.lines(),
        Format::Json => vec![members.json()],
    })
}

fn health(pool: Option<&PoolName>, context: &Context) -> Reply {
    let is_there = |pool: &PoolName| context.view.load().pool(pool.as_str()).is_some();
    if let Some(missing) = pool.filter(|pool| !is_there(pool)) {
        return Reply::Refused(format!("pool '{missing}' does not exist"));
    }
    Reply::Lines(query::health::lines(&context.health.all(pool)))
}

fn ready(context: &Context) -> Reply {
    let reason = context.readiness.not_ready().map(|reason| reason.to_string());
    Reply::Lines(query::node::ready(reason.as_deref()))
}

fn why(supposed: &Supposed, context: &Context) -> Reply {
    let snapshot = context.view.load();
    let place = query::why::Place {
        snapshot: &snapshot,
        queues: &context.queues,
    };
    let judged = |pool: &PoolView| {
        let backends = pool.backends().iter();
        backends
            .flat_map(|backend| context.health.why(backend.address()))
            .collect()
    };
    query::why::lines(supposed, place, judged).map_or_else(Reply::Refused, Reply::Lines)
}

fn why_health(backend: BackendAddress, context: &Context) -> Reply {
    let why = context.health.why(backend);
    if why.is_empty() {
        return Reply::Refused(format!("backend {backend} is in no pool"));
    }
    Reply::Lines(query::health::why(&why))
}

/// Who changed what.
fn history(query: HistoryQuery, state: &FleetState) -> Reply {
    let records = state.history();
    let lines = match query {
        HistoryQuery::List { count, format } => Ok(match format {
            Format::Text => query::history::list(records, count),
            Format::Json => vec![query::history::list_json(records, count)],
        }),
        HistoryQuery::Show(version, format) => {
            let shown = match format {
                Format::Text => query::history::show(state, version),
                Format::Json => query::history::show_json(records, version).map(|line| vec![line]),
            };
            shown.ok_or_else(|| format!("there is no record of version {version}"))
        }
        HistoryQuery::Diff(from, to) => query::history::diff(state, from, to),
        HistoryQuery::Verify => query::history::verify(state),
    };
    lines.map_or_else(Reply::Refused, Reply::Lines)
}

fn cluster_status(format: Format, context: &Context) -> Reply {
    let status = fleet_status(context);
    Reply::Lines(match format {
        Format::Text => status.lines(),
        Format::Json => vec![status.json()],
    })
}

/// The fleet at a glance, from what this node knows.
pub(super) fn fleet_status(context: &Context) -> query::cluster::FleetStatus {
    let applied = context.cluster.feed().latest();
    let raft = context.cluster.status();
    query::cluster::FleetStatus::assemble(&raft, &applied.state, &context.fleet.nodes(), clock::now())
}

impl Figures for Context {
    fn requests_by_backend(&self, pool: &PoolName) -> HashMap<BackendAddress, u64> {
        let snapshot = self.view.load();
        let backends = snapshot
            .pool(pool.as_str())
            .map_or(&[][..], |pool| pool.backends());
        let counted = backends.iter().map(|one| (one.address(), one.requests_total()));
        counted.collect()
    }

    fn pending_clients(&self, service: &ServiceName) -> u64 {
        let queue = self.queues.find(service);
        queue.map_or(0, |queue| queue.waiting() as u64)
    }

    fn pending_backends(&self, service: &ServiceName) -> Vec<String> {
        query::live::openings(&self.queues, service, Instant::now())
    }

    fn idle_backends(&self, service: &ServiceName) -> u64 {
        let queue = self.queues.find(service);
        queue.map_or(0, |queue| queue.connections().idle() as u64)
    }

    fn reproxy_cache(&self, service: &ServiceName) -> CacheFigures {
        let snapshot = self.view.load();
        let rules = snapshot
            .service(service.as_str())
            .and_then(|view| view.settings.reproxy.cache());
        self.reproxy.cache(service).figures(rules)
    }
}
