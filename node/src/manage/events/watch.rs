//! Compares what is with what was, and tells the difference.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fleetbal_raft::model::{FleetState, Version};
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior};

use super::super::execute::fleet_status;
use super::super::query::cluster::{FleetStatus, NodeStatus};
use super::super::{Context, query};
use super::Events;
use crate::checks::{BackendHealth, Standing};
use crate::clock;
use crate::health::Key;

/// How often health and the fleet are looked at.
const LOOK: Duration = Duration::from_millis(250);

/// How long events are noticed after the last reader went: it may come back.
const LINGER: Duration = Duration::from_mins(1);

/// Notices events as long as somebody reads them. Goes on until the node ends.
pub async fn run(context: Arc<Context>) {
    let mut readers = context.events.readers.subscribe();
    while readers.wait_for(|readers| *readers > 0).await.is_ok() {
        let watched = Watched::of(&context);
        context.events.begin(clock::now().0);
        notice(&context, watched).await;
        context.events.end();
    }
}

async fn notice(context: &Context, mut watched: Watched) {
    let mut feed = context.cluster.feed();
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut read = Instant::now();
    while read.elapsed() < LINGER {
        let changed = tokio::select! {
            changed = feed.changed() => changed,
            _ = look.tick() => false,
        };
        if changed {
            watched.changes(&feed.latest().state, &context.events);
        } else {
            watched.fleet(&fleet_status(context), &context.events);
            watched.health(context.health.all(None), &context.events);
        }
        if *context.events.readers.borrow() > 0 {
            read = Instant::now();
        }
    }
}

/// What was seen last.
struct Watched {
    version: Version,
    leader: Option<String>,
    nodes: BTreeMap<String, serde_json::Value>,
    health: BTreeMap<Key, Standing>,
}

impl Watched {
    fn of(context: &Context) -> Self {
        let fleet = fleet_status(context);
        let all = context.health.all(None);
        Self {
            version: context.cluster.feed().latest().state.config.version,
            nodes: fleet.nodes.iter().map(told).collect(),
            leader: fleet.leader,
            health: all.into_iter().map(|one| (one.key, one.standing)).collect(),
        }
    }

    /// Each version that was made since.
    fn changes(&mut self, state: &FleetState, events: &Events) {
        let before = std::mem::replace(&mut self.version, state.config.version);
        let records = state.history().records().rev();
        let mut new: Vec<_> = records.take_while(|record| record.version > before).collect();
        new.reverse();
        for record in new {
            events.push("change", &query::history::summary(record));
        }
    }

    fn fleet(&mut self, fleet: &FleetStatus, events: &Events) {
        let nodes: BTreeMap<_, _> = fleet.nodes.iter().map(told).collect();
        for (name, node) in &nodes {
            if self.nodes.get(name) != Some(node) {
                events.push("member", node);
            }
        }
        for name in self.nodes.keys().filter(|name| !nodes.contains_key(*name)) {
            events.push("member", &json!({ "node": name, "state": "forgotten" }));
        }
        self.nodes = nodes;
        if self.leader != fleet.leader {
            self.leader.clone_from(&fleet.leader);
            events.push("leader", &json!({ "leader": fleet.leader, "term": fleet.term }));
        }
    }

    fn health(&mut self, all: Vec<BackendHealth>, events: &Events) {
        let mut now = BTreeMap::new();
        for one in all {
            let before = self.health.get(&one.key).copied().unwrap_or(Standing::Up);
            if before != one.standing {
                let told = json!({
                    "pool": one.key.pool.as_str(),
                    "backend": one.key.backend.to_string(),
                    "state": one.standing.as_str(),
                    "reason": one.reason,
                });
                events.push("health", &told);
            }
            now.insert(one.key, one.standing);
        }
        self.health = now;
    }
}

/// What is told of a node, by its name.
fn told(node: &NodeStatus) -> (String, serde_json::Value) {
    let told = json!({
        "node": node.name,
        "state": node.state,
        "role": node.role,
        "ready": node.ready,
        "not_ready_because": node.not_ready_because,
    });
    (node.name.clone(), told)
}
