//! What is known at a moment, from all that was heard until then: the rows of each table, and what has happened.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::event::Happened;
use super::report::{Counted, Fleet, Health, Node, OfAll, Own, Queue};

/// Over how long requests a second are counted: nodes tell their counters about each second.
const WINDOW: Duration = Duration::from_secs(5);

/// How much of what has happened is kept.
const KEPT: usize = 500;

/// A counter over the last seconds.
#[derive(Debug, Clone, Default)]
pub(super) struct Meter(VecDeque<(Instant, u64)>);

impl Meter {
    fn read(&mut self, at: Instant, count: u64) {
        let Self(readings) = self;
        // It began again, with whatever counts.
        if readings.back().is_some_and(|(_, before)| count < *before) {
            readings.clear();
        }
        readings.push_back((at, count));
        let is_old = |reading: Option<&(Instant, u64)>| {
            reading.is_some_and(|(then, _)| at.saturating_duration_since(*then) >= WINDOW)
        };
        // One from the window's beginning stays.
        while is_old(readings.get(1)) {
            readings.pop_front();
        }
    }

    /// By the second; none before there are two readings.
    fn rate(&self) -> Option<f64> {
        let ((from, first), (to, last)) = (self.0.front()?, self.0.back()?);
        let time = to.saturating_duration_since(*from).as_secs_f64();
        let more = u32::try_from(last.saturating_sub(*first)).unwrap_or(u32::MAX);
        (time > 0.0).then(|| (f64::from(more) / time * 10.0).round() / 10.0)
    }
}

/// Whether the node that is asked answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Link {
    /// It does.
    #[default]
    Live,
    /// It does not; why.
    Lost(String),
}

/// A row of the nodes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct NodeRow {
    #[serde(flatten)]
    pub(super) node: Node,
    pub(super) requests_per_second: Option<f64>,
}

/// A row of the backends.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct BackendRow {
    pub(super) pool: String,
    pub(super) backend: String,
    pub(super) state: String,
    pub(super) since_seconds: u64,
    pub(super) reason: Option<String>,
    pub(super) requests_total: u64,
    pub(super) requests_per_second: Option<f64>,
    /// Per cent of its last answers; none where there were none.
    pub(super) percent_5xx: Option<f64>,
    /// Connections that did not come about.
    pub(super) failed_connects: u64,
    pub(super) connections: u64,
}

/// All of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Board {
    pub(super) link: Link,
    pub(super) fleet: Fleet,
    pub(super) effects: Vec<String>,
    health: Vec<Health>,
    counted: BTreeMap<String, Counted>,
    pub(super) queues: Vec<Queue>,
    node_meters: BTreeMap<String, Meter>,
    backend_meters: BTreeMap<String, Meter>,
    /// The last one first.
    pub(super) happened: VecDeque<Happened>,
}

impl Board {
    /// What the asked node said of itself and the others.
    pub(super) fn hear_own(&mut self, own: Own, at: Instant) {
        self.link = Link::Live;
        for node in &own.fleet.nodes {
            if let Some(count) = node.requests_total {
                self.node_meters
                    .entry(node.name.clone())
                    .or_default()
                    .read(at, count);
            }
        }
        let is_there = |name: &String| own.fleet.nodes.iter().any(|node| node.name == *name);
        self.node_meters.retain(|name, _| is_there(name));
        (self.fleet, self.health, self.effects) = (own.fleet, own.health, own.effects);
    }

    /// What all nodes count.
    pub(super) fn hear_all(&mut self, all: OfAll, at: Instant) {
        for (backend, counted) in &all.backends {
            self.backend_meters
                .entry(backend.clone())
                .or_default()
                .read(at, counted.requests);
        }
        self.backend_meters
            .retain(|backend, _| all.backends.contains_key(backend));
        (self.counted, self.queues) = (all.backends, all.queues);
    }

    /// Something happened.
    pub(super) fn note(&mut self, happened: Happened) {
        self.happened.push_front(happened);
        self.happened.truncate(KEPT);
    }

    /// The nodes, by name.
    pub(super) fn nodes(&self) -> Vec<NodeRow> {
        let row = |node: &Node| NodeRow {
            requests_per_second: self.node_meters.get(&node.name).and_then(Meter::rate),
            node: node.clone(),
        };
        self.fleet.nodes.iter().map(row).collect()
    }

    /// The backends of all pools, as `health` has them.
    pub(super) fn backends(&self) -> Vec<BackendRow> {
        self.health.iter().map(|health| self.backend(health)).collect()
    }

    fn backend(&self, health: &Health) -> BackendRow {
        let counted = self.counted.get(&health.backend).cloned().unwrap_or_default();
        let share = |part: u64, of: u64| {
            let (part, of) = (u32::try_from(part).ok()?, u32::try_from(of).ok()?);
            (of > 0).then(|| (f64::from(part) * 1000.0 / f64::from(of)).round() / 10.0)
        };
        BackendRow {
            pool: health.pool.clone(),
            backend: health.backend.clone(),
            state: health.state.clone(),
            since_seconds: health.since,
            reason: health.reason.clone(),
            requests_total: counted.requests,
            requests_per_second: self.backend_meters.get(&health.backend).and_then(Meter::rate),
            percent_5xx: share(counted.last_5xx, counted.last),
            failed_connects: counted.attempts.saturating_sub(counted.connects),
            connections: counted.open,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A node as it is told.
    pub(in super::super) fn node(name: &str, state: &str, requests: u64) -> Node {
        Node {
            name: name.to_owned(),
            state: state.to_owned(),
            role: Some(if name == "n1" { "leader" } else { "voter" }.to_owned()),
            ready: Some(state == "alive"),
            version: Some(4),
            lag: Some(0),
            requests_total: Some(requests),
            connections: Some(2),
            queued: Some(0),
            cpu_percent: Some(7),
            ..Node::default()
        }
    }

    /// What a fleet of three tells whose first node has counted so many requests.
    pub(in super::super) fn own(requests: u64) -> Own {
        let health = |number: usize, state: &str, reason: Option<&str>| Health {
            pool: "web".to_owned(),
            backend: format!("10.0.0.{number}:80"),
            state: state.to_owned(),
            since: 75,
            reason: reason.map(str::to_owned),
        };
        Own {
            fleet: Fleet {
                cluster: Some("acme".to_owned()),
                own: "n1".to_owned(),
                leader: Some("n1".to_owned()),
                version: 4,
                quorum: super::super::report::Quorum {
                    voters: 3,
                    reachable: 2,
                    ok: true,
                    tolerates: 0,
                },
                in_sync: false,
                nodes: vec![
                    node("n1", "alive", requests),
                    node("n2", "alive", 5),
                    node("n3", "dead", 9),
                ],
            },
            health: vec![
                health(1, "up", None),
                health(2, "down", Some("Connection refused")),
            ],
            effects: Vec::new(),
        }
    }

    /// What all nodes count.
    pub(in super::super) fn of_all(requests: u64) -> OfAll {
        let counted = Counted {
            requests,
            attempts: 7,
            connects: 4,
            last: 8,
            last_5xx: 2,
            open: 3,
        };
        OfAll {
            backends: BTreeMap::from([("10.0.0.1:80".to_owned(), counted)]),
            queues: vec![Queue {
                service: "www".to_owned(),
                ..Queue::default()
            }],
        }
    }

    /// What is known after two seconds with some traffic.
    pub(in super::super) fn filled() -> Board {
        let mut board = Board::default();
        let start = Instant::now();
        for second in 0..3 {
            let at = start + Duration::from_secs(second);
            board.hear_own(own(second * 20), at);
            board.hear_all(of_all(second * 10), at);
        }
        board
    }

    #[test]
    fn a_rate_is_over_the_last_seconds_and_begins_anew_with_its_counter() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut meter = Meter::default();
        meter.read(at(0), 1000);
        assert_eq!(meter.rate(), None);
        meter.read(at(1), 1010);
        assert_eq!(meter.rate(), Some(10.0));
        for second in 2..20 {
            meter.read(at(second), 1010);
        }
        assert_eq!(meter.rate(), Some(0.0), "the burst is forgotten");
        meter.read(at(20), 3);
        assert_eq!(meter.rate(), None, "the node was started again");
        meter.read(at(22), 10);
        assert_eq!(meter.rate(), Some(3.5));
    }

    #[test]
    fn what_is_heard_becomes_rows() {
        let mut board = filled();
        let rates: Vec<_> = board.nodes().iter().map(|row| row.requests_per_second).collect();
        assert_eq!(rates, [Some(20.0), Some(0.0), Some(0.0)]);
        let rows = board.backends();
        assert_eq!(
            (
                rows[0].requests_per_second,
                rows[0].percent_5xx,
                rows[0].failed_connects
            ),
            (Some(10.0), Some(25.0), 3)
        );
        assert_eq!(
            (rows[1].state.as_str(), rows[1].requests_per_second),
            ("down", None)
        );
        let mut gone = own(0);
        gone.fleet.nodes.truncate(1);
        board.hear_own(gone, Instant::now() + Duration::from_secs(3));
        assert_eq!(board.node_meters.len(), 1, "of a node that left nothing is kept");
    }
}
