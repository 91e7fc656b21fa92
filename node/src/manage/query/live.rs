//! What is going on between this node and its backends: `queues`, `pending`, `noverify`, `backends`, `nodes`. Perlbal's
//! lines; figures are of all workers, and of a backend in all pools that it is in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use fleetbal_raft::model::{BackendAddress, Role, ServiceName};

use crate::role::{Class, Opening, Queues};
use crate::snapshot::{BackendState, Snapshot};

/// Services that have a queue.
fn proxies(snapshot: &Snapshot) -> impl Iterator<Item = &ServiceName> {
    snapshot
        .services()
        .filter(|(_, service)| service.role == Some(Role::ReverseProxy))
        .map(|(name, _)| name)
}

/// `queues`: six lines a service. An age is that of the oldest request that waits, in seconds.
pub fn queues(snapshot: &Snapshot, queues: &Queues, now: Instant) -> Vec<String> {
    let mut lines = Vec::new();
    for service in proxies(snapshot) {
        let found = queues.find(service).map(|queue| queue.lengths(now));
        let [high, normal, low] = found.unwrap_or_default();
        for (class, length) in [("normal", normal), ("highpri", high), ("lowpri", low)] {
            lines.push(format!("{service}-{class}.age {}", length.age.as_secs()));
            lines.push(format!("{service}-{class}.count {}", length.count));
        }
    }
    lines
}

/// How the metrics call a class.
pub fn class_name(class: Class) -> &'static str {
    match class {
        Class::High => "high",
        Class::Normal => "normal",
        Class::Low => "low",
    }
}

/// `pending`: a line for each connection that is being opened or verified, and for how many seconds it has been.
pub fn pending(snapshot: &Snapshot, queues: &Queues, now: Instant) -> Vec<String> {
    let mut lines = Vec::new();
    for service in proxies(snapshot) {
        let openings = queues.find(service).map(|queue| queue.openings());
        let mut openings: Vec<_> = openings.unwrap_or_default();
        openings.sort_by_key(|opening| opening.backend.address());
        let line = |opening: &Arc<Opening>| {
            let address = opening.backend.address();
            format!("{service} {address} {}", seconds(opening, now))
        };
        lines.extend(openings.iter().map(line));
    }
    lines
}

/// The same for one service, as `show service` has it.
pub fn openings(queues: &Queues, service: &ServiceName, now: Instant) -> Vec<String> {
    let openings = queues.find(service).map(|queue| queue.openings());
    let line = |opening: &Arc<Opening>| {
        let stage = if opening.stage.is_verifying() {
            "verifying_backend"
        } else {
            "connecting"
        };
        let address = opening.backend.address();
        format!("   {address} - {stage} - {}s", seconds(opening, now))
    };
    openings.unwrap_or_default().iter().map(line).collect()
}

fn seconds(opening: &Opening, now: Instant) -> u64 {
    now.saturating_duration_since(opening.since).as_secs()
}

/// `noverify`: for how many seconds more the connections of a backend are not verified.
pub fn noverify(snapshot: &Snapshot, now: Instant) -> Vec<String> {
    let left = by_address(snapshot, |backend, left: &mut u64| {
        *left = backend
            .unverified_for(now)
            .map_or(*left, |time| time.as_secs().max(*left));
    });
    positive(left)
}

/// `backends`: open connections by backend.
pub fn backends(snapshot: &Snapshot) -> Vec<String> {
    positive(by_address(snapshot, |backend, open: &mut u64| {
        *open += backend.open_connections();
    }))
}

fn positive(figures: BTreeMap<BackendAddress, u64>) -> Vec<String> {
    let positive = figures.into_iter().filter(|(_, figure)| *figure > 0);
    positive
        .map(|(address, figure)| format!("{address} {figure}"))
        .collect()
}

/// What `nodes` tells, in this order; the codes of answers come before what is verified.
const KEYS: [&str; 7] = [
    "attempts",
    "connects",
    "lastattempt",
    "lastconnect",
    "lastresponse",
    "requests",
    "verifies",
];

/// `nodes`, `node`: what is counted of backends, or of one. A key is there from its first event on.
pub fn nodes(snapshot: &Snapshot, only: Option<BackendAddress>) -> Vec<String> {
    type Figures = ([u64; 7], BTreeMap<u16, u64>);
    let all = by_address(snapshot, |backend, (figures, codes): &mut Figures| {
        let reached = backend.attempted();
        let [
            attempts,
            connects,
            last_attempt,
            last_connect,
            last_response,
            requests,
            verifies,
        ] = figures;
        *attempts += reached.attempts;
        *connects += backend.connects_total();
        *last_attempt = reached.last_attempt.max(*last_attempt);
        *last_connect = reached.last_connect.max(*last_connect);
        *last_response = backend.answers().last().max(*last_response);
        *requests += backend.requests_total();
        *verifies += backend.verified();
        for (code, count) in backend.answers().codes() {
            *codes.entry(code).or_default() += count;
        }
    });
    let wanted = all
        .into_iter()
        .filter(|(address, _)| only.is_none_or(|only| only == *address));
    wanted
        .flat_map(|(address, (figures, codes))| {
            let known = KEYS.into_iter().zip(figures).filter(|(_, figure)| *figure > 0);
            let mut lines: Vec<_> = known
                .map(|(key, figure)| format!("{address} {key} {figure}"))
                .collect();
            lines.extend(
                codes
                    .iter()
                    .map(|(code, count)| format!("{address} responsecodes {code} {count}")),
            );
            // By the names of the keys, as Perlbal has them.
            lines.sort_by(|one, other| one.split(' ').take(3).cmp(other.split(' ').take(3)));
            lines
        })
        .collect()
}

fn by_address<T: Default>(
    snapshot: &Snapshot,
    add: impl Fn(&BackendState, &mut T),
) -> BTreeMap<BackendAddress, T> {
    let mut all = BTreeMap::new();
    for backend in snapshot.pools().flat_map(|(_, pool)| pool.backends()) {
        add(backend, all.entry(backend.address()).or_default());
    }
    all
}
