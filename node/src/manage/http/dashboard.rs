//! `/`: the fleet, its pools, services, effects and queues on one page, as this node sees them. It can be read without any
//! script; with the one that it brings it stays what is. Nothing comes from elsewhere, and what has a name given by
//! somebody is text.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use fleetbal_raft::model::{PoolName, Role};
use http::HeaderValue;
use http::header::CONTENT_SECURITY_POLICY;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::super::query::cluster::{FleetStatus, NodeStatus};
use super::super::query::{self, live};
use super::super::{Context, execute};
use super::{Answer, answer};
use crate::checks::{BackendHealth, Standing};
use crate::clock;
use crate::snapshot::{PoolView, Snapshot};

const STYLE: &str = include_str!("dashboard/page.css");
const SCRIPT: &str = include_str!("dashboard/page.js");

/// The most backends of a pool that are shown; those in trouble come first.
const SHOWN: usize = 200;

/// How many versions of the configuration are shown.
const VERSIONS: usize = 8;

/// Where else to look.
const LINKS: [&str; 6] = [
    "/api/v1/status",
    "/api/v1/events",
    "/metrics",
    "/healthz",
    "/readyz",
    "/leaderz",
];

/// The page, with leave for the script and the style that it brings and for nothing else.
pub(super) fn page(context: &Context) -> Answer {
    let nonce = BASE64.encode(&rand::random::<[u8; 16]>());
    let mut response = answer::html(document(context, &nonce).into_string());
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'"
    );
    if let Ok(policy) = HeaderValue::try_from(policy) {
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

fn document(context: &Context, nonce: &str) -> Markup {
    let fleet = execute::fleet_status(context);
    let snapshot = context.view.load();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "fleetbal " (fleet.cluster.as_deref().unwrap_or_default()) }
                noscript { meta http-equiv="refresh" content="5"; }
                style nonce=(nonce) { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "fleetbal " (fleet.cluster.as_deref().unwrap_or("standing alone")) }
                main {
                    (summary(&fleet))
                    (nodes(&fleet))
                    (pools(&snapshot, context))
                    (services(&snapshot, context))
                    (queues(&snapshot, context))
                    (effects(context))
                    (versions(context))
                }
                section #recent hidden {
                    h2 { "Events" }
                    p #quiet .soft { "Nothing has happened since this page was opened." }
                    ol #events {}
                }
                footer {
                    p { span #live { "as of now" } " · seen by " (fleet.own_name) " · "
                        @for link in LINKS { a href=(link) { (link) } " " } }
                }
                script nonce=(nonce) { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

fn summary(fleet: &FleetStatus) -> Markup {
    let quorum = &fleet.quorum;
    html! {
        p {
            "leader " b { (fleet.leader.as_deref().unwrap_or("unknown")) }
            ", version " b { (fleet.version) } ", quorum "
            b .good[quorum.ok] .bad[!quorum.ok] { (quorum.reachable) "/" (quorum.voters) }
            ", tolerates " span .away[quorum.tolerates == 0 && quorum.voters > 1] { (quorum.tolerates) } ", "
            @if fleet.in_sync { span.good { "in sync" } } @else { span.bad { "not in sync" } }
        }
    }
}

/// What is not known is a dash.
fn known<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| value.to_string())
}

/// Each title with the classes of its column: `number` where figures stand, `more` where a narrow screen can do without.
fn table(titles: &[(&str, &str)], rows: &Markup) -> Markup {
    html! {
        div.scroll { table {
            thead { tr { @for (title, classes) in titles { th class=(classes) { (title) } } } }
            tbody { (rows) }
        } }
    }
}

fn nodes(fleet: &FleetStatus) -> Markup {
    let row = |node: &NodeStatus| {
        let is_alive = node.state == "alive";
        html! { tr {
            td { (node.name) @if node.name == fleet.own_name { " *" } }
            td.more { (known(node.address.as_deref())) }
            td .good[is_alive] .bad[!is_alive] { (node.state) }
            td { (known(node.role.map(query::cluster::NodeRole::as_str))) }
            td.number { (known(node.version)) }
            td.number.more { (known(node.lag)) }
            td.text .bad[node.ready == Some(false)] {
                @match node.ready { Some(true) => "yes", Some(false) => "no", None => "–" }
                @if let Some(reason) = &node.not_ready_because { ": " (reason) }
            }
            td.number { (known(node.requests_total)) }
            td.number.more { (known(node.connections)) }
            td.number.more { (known(node.queued)) }
            td.number.more { (known(node.cpu_percent)) }
        } }
    };
    let rows = html! { @for node in &fleet.nodes { (row(node)) } };
    let titles = [
        ("Node", ""),
        ("Address", "more"),
        ("State", ""),
        ("Role", ""),
        ("Version", "number"),
        ("Lag", "number more"),
        ("Ready", ""),
        ("Requests", "number"),
        ("Connections", "number more"),
        ("Queued", "number more"),
        ("CPU %", "number more"),
    ];
    html! { section #nodes { h2 { "Nodes" } (table(&titles, &rows)) } }
}

fn pools(snapshot: &Snapshot, context: &Context) -> Markup {
    html! {
        section #pools {
            h2 { "Pools" }
            @if snapshot.pools().len() == 0 { p.soft { "There are none." } }
            @for (name, pool) in snapshot.pools() { (backends(name, pool, context)) }
        }
    }
}

fn backends(name: &PoolName, pool: &PoolView, context: &Context) -> Markup {
    let health: HashMap<_, _> = context
        .health
        .all(Some(name))
        .into_iter()
        .map(|health| (health.key.backend, health))
        .collect();
    let standing = |health: Option<&BackendHealth>| health.map_or(Standing::Up, |health| health.standing);
    let mut all: Vec<_> = pool.backends().iter().enumerate().collect();
    let is_up = |backend| standing(health.get(&backend)) == Standing::Up;
    let up = all.iter().filter(|(_, backend)| is_up(backend.address())).count();
    all.sort_by_key(|(_, backend)| match standing(health.get(&backend.address())) {
        Standing::Down => 0,
        Standing::Draining => 1,
        Standing::Up => 2,
    });
    let rows = html! {
        @for (at, backend) in all.iter().take(SHOWN) {
            @let health = health.get(&backend.address());
            @let standing = standing(health);
            tr {
                td { (backend.address()) }
                td .good[standing == Standing::Up] .bad[standing == Standing::Down] .away[standing == Standing::Draining] { (standing.as_str()) }
                td.number { (known(health.map(|health| clock::span(health.since)))) }
                td.number.more { (pool.weight_of(*at)) }
                td.number.more { (backend.requests_total()) }
                td.number.more { (backend.open_connections()) }
                td.text { (health.and_then(|health| health.reason.as_deref()).unwrap_or_default()) }
            }
        }
    };
    let titles = [
        ("Backend", ""),
        ("State", ""),
        ("Since", "number"),
        ("Weight", "number more"),
        ("Requests", "number more"),
        ("Connections", "number more"),
        ("Reason", ""),
    ];
    html! {
        h3 { (name) " " span.soft { (up) " of " (all.len()) " up" } }
        (table(&titles, &rows))
        @if all.len() > SHOWN { p.soft { "and " (all.len() - SHOWN) " more" } }
    }
}

fn services(snapshot: &Snapshot, context: &Context) -> Markup {
    let fill = |variable: &fleetbal_raft::model::Variable| context.variables.fill(variable);
    let config = &snapshot.config;
    let rows = html! {
        @for ((name, service), line) in config.services().zip(query::service::list(config, &fill)) {
            tr {
                td { (name) }
                td { (service.role().map_or("–", Role::name)) }
                td { (line.split(' ').nth(1).unwrap_or_default()) }
                td { (known(service.pool())) }
                td .good[service.enabled] { @if service.enabled { "enabled" } @else { "disabled" } }
            }
        }
    };
    let titles = ["Service", "Role", "Listens", "Pool", "State"].map(|title| (title, ""));
    html! { section #services { h2 { "Services" } (table(&titles, &rows)) } }
}

fn queues(snapshot: &Snapshot, context: &Context) -> Markup {
    let rows = html! {
        @for line in live::queues(snapshot, &context.queues, Instant::now()) {
            @let (what, figure) = line.rsplit_once(' ').unwrap_or_default();
            @if figure != "0" { tr { td { (what) } td.number { (figure) } } }
        }
    };
    let is_empty = rows.0.is_empty();
    html! {
        section #queues {
            h2 { "Queues" }
            @if is_empty { p.soft { "Nobody waits." } } @else { (table(&[("Queue", ""), ("Waiting", "number")], &rows)) }
        }
    }
}

fn effects(context: &Context) -> Markup {
    let now = clock::now();
    let rows = html! {
        @for node in context.fleet.nodes() { @for trouble in &node.troubles {
            tr {
                td { (node.name) }
                td { (trouble.object) }
                td.number { (clock::span(Duration::from_millis(now.0.saturating_sub(trouble.since.0)))) }
                td.text.bad { (trouble.reason) }
            }
        } }
    };
    let is_empty = rows.0.is_empty();
    html! {
        section #effects {
            h2 { "Effects" }
            @if is_empty { p.soft { "Every node does all of the configuration." } }
            @else { (table(&[("Node", ""), ("Object", ""), ("Since", "number"), ("Reason", "")], &rows)) }
        }
    }
}

fn versions(context: &Context) -> Markup {
    let titles = [
        ("Version", "number"),
        ("Time", "more"),
        ("Node", ""),
        ("Who", "more"),
        ("Changes", "number more"),
        ("What", "text"),
    ];
    let state = &context.cluster.feed().latest().state;
    let rows = html! {
        @for record in state.history().records().rev().take(VERSIONS) {
            @let row = query::history::row(record);
            tr { @for (cell, (_, classes)) in row.iter().zip(titles) { td class=(classes) { (cell) } } }
        }
    };
    html! { section #versions { h2 { "Changes" } (table(&titles, &rows)) } }
}

#[cfg(test)]
#[path = "dashboard_tests.rs"]
mod tests;
