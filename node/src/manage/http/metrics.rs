//! `/metrics`: this node's figures, gathered.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Context;
use super::super::execute::fleet_status;
use super::super::query::certificate;
use super::super::query::live::class_name;
use crate::checks::BackendHealth;
use crate::gossip::{NodeState, NodeView};
use crate::monitor::openmetrics::{Exposition, Format, Kind};
use crate::role::{Class, Queues};
use crate::snapshot::{BackendState, Snapshot};

/// Writes all figures down.
pub(super) fn write(context: &Context, format: Format) -> String {
    let mut out = Exposition::new(format);
    node(context, &mut out);
    fleet(context, &mut out);
    services(context, &mut out);
    queues(&context.view.load(), &context.queues, &mut out);
    backends(&context.view.load(), &mut out);
    health(context, &mut out);
    plugins(&context.view.load(), &mut out);
    certificates(context, &mut out);
    out.finish()
}

fn certificates(context: &Context, out: &mut Exposition) {
    out.family(
        "fleetbal_certificate_end_time_seconds",
        Kind::Gauge,
        "When a certificate of the fleet ends, seconds since 1970.",
    );
    for (name, ends) in certificate::ends(&context.view.load().config) {
        out.figure(&[("name", name)], ends.0 / 1000);
    }
}

fn node(context: &Context, out: &mut Exposition) {
    let version = env!("CARGO_PKG_VERSION");
    out.family("fleetbal_build_info", Kind::Info, "The release that runs.")
        .figure(&[("version", version)], 1);
    let started = context.started.at.0;
    out.family(
        "fleetbal_start_time_seconds",
        Kind::Gauge,
        "When this node started, seconds since 1970.",
    )
    .figure(&[], format_args!("{}.{:03}", started / 1000, started % 1000));
    let ready = u8::from(context.readiness.not_ready().is_none());
    out.family(
        "fleetbal_node_ready",
        Kind::Gauge,
        "Whether this node should get traffic.",
    )
    .figure(&[], ready);
    let version = context.view.load().version;
    out.family(
        "fleetbal_config_version",
        Kind::Gauge,
        "The version of the configuration that this node balances by.",
    )
    .figure(&[], version);
}

fn fleet(context: &Context, out: &mut Exposition) {
    let raft = context.cluster.status();
    let has_leader = raft.leader.is_some() && raft.has_quorum;
    let is_leader = raft.leader == Some(raft.node_id);
    out.family(
        "fleetbal_raft_has_leader",
        Kind::Gauge,
        "Whether there is a leader who can commit changes.",
    )
    .figure(&[], u8::from(has_leader));
    out.family("fleetbal_raft_is_leader", Kind::Gauge, "Whether this node leads.")
        .figure(&[], u8::from(is_leader));
    out.family("fleetbal_raft_term", Kind::Gauge, "The Raft term of this node.")
        .figure(&[], raft.term);
    out.family(
        "fleetbal_raft_commit_index",
        Kind::Gauge,
        "The last log entry known to be committed.",
    )
    .figure(&[], raft.commit_index);
    out.family(
        "fleetbal_raft_applied_index",
        Kind::Gauge,
        "The last log entry that this node has applied.",
    )
    .figure(&[], raft.applied_index);
    out.family(
        "fleetbal_raft_snapshot_index",
        Kind::Gauge,
        "The last log entry in this node's latest snapshot; 0 where there is none.",
    )
    .figure(&[], raft.snapshot_index);
    let nodes = context.fleet.nodes();
    out.family(
        "fleetbal_cluster_members",
        Kind::Gauge,
        "Nodes of the fleet, as this node sees them.",
    );
    for state in [
        NodeState::Alive,
        NodeState::Suspect,
        NodeState::Dead,
        NodeState::Left,
    ] {
        let count = nodes.iter().filter(|node| node.state == state).count();
        out.figure(&[("state", state.as_str())], count);
    }
    loads(&nodes, out);
    gossip(context, out);
    let tolerates = fleet_status(context).quorum.tolerates;
    out.family(
        "fleetbal_cluster_failure_tolerance",
        Kind::Gauge,
        "How many more voters may fail.",
    )
    .figure(&[], tolerates);
}

fn gossip(context: &Context, out: &mut Exposition) {
    let traffic = context.fleet.traffic();
    out.family(
        "fleetbal_gossip_sent_bytes_total",
        Kind::Counter,
        "Bytes of gossip messages that this node sent.",
    )
    .figure(&[], traffic.sent());
    out.family(
        "fleetbal_gossip_received_bytes_total",
        Kind::Counter,
        "Bytes of gossip messages that this node received.",
    )
    .figure(&[], traffic.received());
}

/// What each node has to do, as gossip has it; what a node is silent about is left out.
fn loads(nodes: &[NodeView], out: &mut Exposition) {
    type Figure = fn(&NodeView) -> Option<u64>;
    let families: [(&'static str, Kind, &str, Figure); 5] = [
        (
            "fleetbal_cluster_node_requests_total",
            Kind::Counter,
            "Requests answered, by node of the fleet.",
            |node| node.requests_total,
        ),
        (
            "fleetbal_cluster_node_connections",
            Kind::Gauge,
            "Client connections that are open, by node of the fleet.",
            |node| node.load.map(|load| load.connections),
        ),
        (
            "fleetbal_cluster_node_requests_in_flight",
            Kind::Gauge,
            "Requests that are being served, by node of the fleet.",
            |node| node.load.map(|load| load.in_flight),
        ),
        (
            "fleetbal_cluster_node_queue_length",
            Kind::Gauge,
            "Requests that wait for a backend, by node of the fleet.",
            |node| node.load.map(|load| load.queued),
        ),
        (
            "fleetbal_cluster_node_cpu_percent",
            Kind::Gauge,
            "Per cent of one CPU that the node's process takes, by node of the fleet.",
            |node| node.load.map(|load| load.cpu_percent),
        ),
    ];
    for (name, kind, help, figure) in families {
        out.family(name, kind, help);
        for node in nodes {
            if let Some(figure) = figure(node) {
                out.figure(&[("node", node.name.as_str())], figure);
            }
        }
    }
}

fn services(context: &Context, out: &mut Exposition) {
    let services = context.stats.services();
    out.family(
        "fleetbal_service_http_requests_total",
        Kind::Counter,
        "Requests answered, by service and status code.",
    );
    for (name, stats) in &services {
        for (code, count) in stats.requests_by_code() {
            out.figure(&[("service", name.as_str()), ("code", &code.to_string())], count);
        }
    }
    out.family(
        "fleetbal_service_requests_in_flight",
        Kind::Gauge,
        "Requests that are being served.",
    );
    for (name, stats) in &services {
        out.figure(&[("service", name.as_str())], stats.requests_in_flight());
    }
    out.family(
        "fleetbal_service_connections",
        Kind::Gauge,
        "Client connections that are open.",
    );
    for (name, stats) in &services {
        out.figure(&[("service", name.as_str())], stats.open_connections());
    }
    out.family(
        "fleetbal_service_accepted_total",
        Kind::Counter,
        "Client connections accepted.",
    );
    for (name, stats) in &services {
        out.figure(&[("service", name.as_str())], stats.accepted_total());
    }
    out.family(
        "fleetbal_service_access_log_lines_total",
        Kind::Counter,
        "Lines of the access log that were written, and lines that were lost.",
    );
    let logs = services.iter().map(|(name, stats)| (name, stats.log_lines()));
    for (name, (written, dropped)) in logs.filter(|(_, lines)| *lines != (0, 0)) {
        for (result, lines) in [("written", written), ("dropped", dropped)] {
            out.figure(&[("service", name.as_str()), ("result", result)], lines);
        }
    }
}

fn queues(snapshot: &Snapshot, queues: &Queues, out: &mut Exposition) {
    let found = snapshot.services().filter_map(|(name, _)| queues.find(name));
    let found: Vec<_> = found.collect();
    let now = std::time::Instant::now();
    out.family(
        "fleetbal_service_queue_length",
        Kind::Gauge,
        "Requests that wait for a backend.",
    );
    for queue in &found {
        for (class, length) in Class::ALL.into_iter().zip(queue.lengths(now)) {
            let labels = [
                ("service", queue.service().as_str()),
                ("class", class_name(class)),
            ];
            out.figure(&labels, length.count);
        }
    }
    out.family(
        "fleetbal_service_backend_connections",
        Kind::Gauge,
        "Connections of a service to backends: open ones, those of them that are idle, and those being opened.",
    );
    for queue in &found {
        let connections = queue.connections();
        let figures = [
            ("open", connections.open()),
            ("idle", connections.idle()),
            ("opening", queue.openings().len()),
        ];
        for (state, figure) in figures {
            out.figure(&[("service", queue.service().as_str()), ("state", state)], figure);
        }
    }
}

fn backends(snapshot: &Snapshot, out: &mut Exposition) {
    type Figure = fn(&BackendState) -> u64;
    let families: [(&'static str, Kind, &str, Figure); 5] = [
        (
            "fleetbal_backend_requests_total",
            Kind::Counter,
            "Requests that the backend answered.",
            BackendState::requests_total,
        ),
        (
            "fleetbal_backend_failures_total",
            Kind::Counter,
            "Requests that the backend did not answer, or not to the end.",
            BackendState::failures_total,
        ),
        (
            "fleetbal_backend_errors_total",
            Kind::Counter,
            "Requests that the backend answered with 5xx, or not at all, or not to the end.",
            BackendState::errors_total,
        ),
        (
            "fleetbal_backend_connects_total",
            Kind::Counter,
            "Connections opened to the backend.",
            BackendState::connects_total,
        ),
        (
            "fleetbal_backend_connect_failures_total",
            Kind::Counter,
            "Connections to the backend that could not be opened or verified.",
            BackendState::connect_failures_total,
        ),
    ];
    for (name, kind, help, figure) in families {
        out.family(name, kind, help);
        each_backend(snapshot, |pool, backend, state| {
            out.figure(&[("pool", pool), ("backend", backend)], figure(state));
        });
    }
    out.family(
        "fleetbal_backend_connections",
        Kind::Gauge,
        "Connections to the backend, by state.",
    );
    each_backend(snapshot, |pool, backend, state| {
        let labels = [("pool", pool), ("backend", backend), ("state", "open")];
        out.figure(&labels, state.open_connections());
    });
}

fn health(context: &Context, out: &mut Exposition) {
    let all = context.health.all(None);
    out.family(
        "fleetbal_backend_up",
        Kind::Gauge,
        "Whether the backend is up, by this node's verdict.",
    );
    each_health(&all, out, |health| u64::from(health.is_up));
    out.family(
        "fleetbal_backend_ejected",
        Kind::Gauge,
        "Whether this node has taken the backend out by the outcome of its requests.",
    );
    each_health(&all, out, |health| u64::from(health.is_ejected));
    out.family(
        "fleetbal_backend_ejections_total",
        Kind::Counter,
        "How often this node has taken the backend out by the outcome of its requests.",
    );
    each_health(&all, out, |health| health.ejections);
    out.family(
        "fleetbal_pool_panic",
        Kind::Gauge,
        "Whether so much of the pool is down that all of it is used.",
    );
    let in_panic = all.iter().filter(|health| health.is_panic);
    let in_panic: BTreeSet<_> = in_panic.map(|health| &health.key.pool).collect();
    for (name, _) in context.view.load().pools() {
        out.figure(&[("pool", name.as_str())], u8::from(in_panic.contains(name)));
    }
    let (checks, failed) = context.health.checks();
    out.family(
        "fleetbal_health_checks_total",
        Kind::Counter,
        "Checks of backends that this node made.",
    );
    out.figure(&[("result", "passed")], checks - failed);
    out.figure(&[("result", "failed")], failed);
}

fn plugins(snapshot: &Snapshot, out: &mut Exposition) {
    let mut found: BTreeMap<&str, (u64, bool)> = BTreeMap::new();
    for (_, view) in snapshot.services() {
        for (plugin, hook) in view.hooks.iter().flat_map(|hooks| hooks.all()) {
            if let Some(failures) = hook.failures() {
                let (total, is_off) = found.entry(plugin.name()).or_default();
                *total += failures.total;
                *is_off |= failures.is_off();
            }
        }
    }
    out.family(
        "fleetbal_plugin_failures_total",
        Kind::Counter,
        "Calls of the plugin that failed or were cut off.",
    );
    for (plugin, (total, _)) in &found {
        out.figure(&[("plugin", plugin)], total);
    }
    out.family(
        "fleetbal_plugin_off",
        Kind::Gauge,
        "Whether the plugin is off on a service of this node.",
    );
    for (plugin, (_, is_off)) in &found {
        out.figure(&[("plugin", plugin)], u8::from(*is_off));
    }
}

fn each_health(all: &[BackendHealth], out: &mut Exposition, figure: impl Fn(&BackendHealth) -> u64) {
    for health in all {
        let backend = health.key.backend.to_string();
        let labels = [("pool", health.key.pool.as_str()), ("backend", backend.as_str())];
        out.figure(&labels, figure(health));
    }
}

fn each_backend(snapshot: &Snapshot, mut with: impl FnMut(&str, &str, &BackendState)) {
    for (name, pool) in snapshot.pools() {
        for backend in pool.backends() {
            with(name.as_str(), &backend.address().to_string(), backend);
        }
    }
}
