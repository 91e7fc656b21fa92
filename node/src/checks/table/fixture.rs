//! A whole fleet of tables, which tell each other all that they have to tell, at once or later.

use std::time::Duration;

use fleetbal_raft::model::{Batch, Change, FleetConfig, ServiceName};

use super::*;
use crate::health::Failure;
use crate::snapshot::{BackendState, NodeVariables, Publisher, View};

pub(super) const SECOND: Duration = Duration::from_secs(1);

pub(super) fn pool() -> PoolName {
    PoolName::parse("web").unwrap()
}

pub(in crate::checks) fn backend(number: u8) -> BackendAddress {
    BackendAddress::parse(&format!("10.0.0.{number}:80")).unwrap()
}

pub(in crate::checks) fn key(number: u8) -> Key {
    Key {
        pool: pool(),
        backend: backend(number),
    }
}

pub(in crate::checks) fn config(backends: u8, settings: &[(&str, &str)]) -> Arc<FleetConfig> {
    let mut changes = vec![Change::CreatePool(pool())];
    changes.extend(settings.iter().map(|(key, value)| Change::Set {
        object: "web".to_owned(),
        key: (*key).to_owned(),
        value: (*value).to_owned(),
    }));
    changes.extend((1..=backends).map(|number| Change::PoolAdd {
        pool: pool(),
        backend: backend(number),
        weight: 1,
    }));
    let batch = Batch::of(changes);
    Arc::new(FleetConfig::default().with_batch(&batch).unwrap())
}

pub(super) struct Node {
    pub(super) name: Arc<str>,
    pub(super) table: Table,
    pub(super) told: Arc<Told>,
    pub(super) view: View,
    pub(super) publisher: Publisher,
    /// The links of this node that are broken: to these backends it gets no connection.
    pub(super) cut: BTreeSet<u8>,
    pub(super) is_alive: bool,
    pub(super) checks: u32,
}

/// The time is the test's.
pub(super) struct Fleet {
    pub(super) nodes: Vec<Node>,
    pub(super) now: Instant,
    /// The backends that are down.
    pub(super) down: BTreeSet<u8>,
}

impl Fleet {
    pub(super) fn new(nodes: u8, backends: u8, settings: &[(&str, &str)]) -> Self {
        Self::with(nodes, &config(backends, settings))
    }

    pub(super) fn with(nodes: u8, config: &Arc<FleetConfig>) -> Self {
        let now = Instant::now();
        let nodes = (1..=nodes).map(|number| {
            let name: Arc<str> = format!("n{number}").into();
            let (mut publisher, view) = Publisher::new(NodeVariables::default());
            publisher.publish(config);
            let mut table = Table::new(&name);
            table.set_snapshot(&view.load(), now);
            Node {
                name,
                table,
                told: Arc::default(),
                view,
                publisher,
                cut: BTreeSet::new(),
                is_alive: true,
                checks: 0,
            }
        });
        let mut fleet = Self {
            nodes: nodes.collect(),
            now,
            down: BTreeSet::new(),
        };
        fleet.gossip();
        fleet
    }

    /// Everybody hears everybody.
    pub(super) fn gossip(&mut self) {
        for node in &mut self.nodes {
            if let Some(told) = node.table.take_told() {
                node.told = told;
            }
        }
        let voices = |own: &Arc<str>| -> Vec<Voice> {
            let voice = |node: &Node| Voice {
                name: Arc::clone(&node.name),
                is_alive: node.is_alive,
                is_self: node.name == *own,
                told: Arc::clone(&node.told),
            };
            self.nodes.iter().map(voice).collect()
        };
        let all: Vec<_> = self.nodes.iter().map(|node| voices(&node.name)).collect();
        for (node, voices) in self.nodes.iter_mut().zip(all) {
            node.table.set_voices(&voices, self.now);
        }
    }

    /// Lets time pass: checks are made and told of.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            for node in self.nodes.iter_mut().filter(|node| node.is_alive) {
                for check in node.table.due(self.now) {
                    let number = last(check.address);
                    let seen = if self.down.contains(&number) || node.cut.contains(&number) {
                        refused()
                    } else {
                        Seen::Up(Some(Duration::from_millis(1)))
                    };
                    node.checks += 1;
                    node.table.checked(&check, self.now, Some(&seen), self.now);
                }
            }
            self.gossip();
            if self.now >= end {
                return;
            }
            self.now += Duration::from_millis(50);
        }
    }

    /// A service uses the pool from now on.
    pub(super) fn serve(&mut self) {
        for node in &mut self.nodes {
            let mut changes = Batch::of(vec![Change::CreateService(ServiceName::parse("www").unwrap())]);
            for (key, value) in [("role", "reverse_proxy"), ("pool", "web")] {
                changes.changes.push(Change::Set {
                    object: "www".to_owned(),
                    key: key.to_owned(),
                    value: value.to_owned(),
                });
            }
            let config = node.view.load().config.with_batch(&changes).unwrap();
            node.publisher.publish(&Arc::new(config));
            node.table.set_snapshot(&node.view.load(), self.now);
        }
    }

    /// A backend of this node.
    pub(super) fn state(&self, node: usize, number: u8) -> Arc<BackendState> {
        let snapshot = self.nodes[node].view.load();
        Arc::clone(snapshot.pool("web").unwrap().backend(backend(number)).unwrap())
    }

    /// A request on a node cannot connect.
    pub(super) fn fails(&mut self, node: usize, number: u8) {
        let now = self.now;
        self.nodes[node].table.saw(&key(number), &refused(), now);
        self.gossip();
    }

    pub(super) fn is_up(&self, node: usize, number: u8) -> bool {
        let all = self.nodes[node].table.all(None, self.now);
        all.iter().find(|health| health.key == key(number)).unwrap().is_up
    }

    pub(super) fn seen_up(&self, number: u8) -> Vec<bool> {
        (0..self.nodes.len())
            .map(|node| self.is_up(node, number))
            .collect()
    }

    pub(super) fn why(&self, node: usize, number: u8) -> Why {
        self.nodes[node].table.why(backend(number), self.now).remove(0)
    }

    /// The nodes that check a backend, and those that do not.
    pub(super) fn checkers(&self, number: u8) -> (Vec<usize>, Vec<usize>) {
        let why = self.why(0, number);
        (0..self.nodes.len()).partition(|node| {
            let evidence = why.evidence.iter().find(|e| *e.node == *self.nodes[*node].name);
            evidence.is_some_and(|evidence| evidence.is_checker)
        })
    }

    pub(super) fn take_checks(&mut self) -> Vec<u32> {
        self.nodes
            .iter_mut()
            .map(|node| std::mem::take(&mut node.checks))
            .collect()
    }
}

pub(in crate::checks) fn last(backend: BackendAddress) -> u8 {
    match backend.socket().ip() {
        std::net::IpAddr::V4(ip) => ip.octets()[3],
        std::net::IpAddr::V6(_) => 0,
    }
}

pub(in crate::checks) fn refused() -> Seen {
    Seen::Down(Failure {
        reason: "Connection refused".to_owned(),
        refused: true,
    })
}
