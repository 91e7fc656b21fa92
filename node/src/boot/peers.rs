//! What joins this node to the others: the cluster port, gossip, and what it says of itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fleetbal_raft::Cluster;
use fleetbal_raft::model::Version;
use fleetbal_raft::wire::ConfigHasher;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tonic::service::Routes;

use super::hindrances::Hindrances;
use super::ports::Bound;
use super::store_watch;
use super::tasks::Tasks;
use crate::cluster_port;
use crate::effects::{Effects, Failure};
use crate::gossip::{ConfigHash, FleetView, Gossip, Load, OwnState, Trouble};
use crate::health::Told;
use crate::manage::Started;
use crate::monitor::cpu::CpuMeter;
use crate::monitor::readiness::Readiness;
use crate::monitor::stats::Stats;
use crate::role::Queues;
use crate::snapshot::View;

/// How often what changes all the time is said anew.
const SAY: Duration = Duration::from_millis(500);
/// The least time between two words.
const SAY_GAP: Duration = Duration::from_millis(25);
/// The same where versions follow each other faster than that. Of these gossip needs the last one only, and each word costs
/// every node about as much as a change does. Who waits until all nodes are at a version types nothing meanwhile.
const STREAM_GAP: Duration = Duration::from_millis(200);

/// Where what this node says of itself comes from.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) view: View,
    pub(super) stats: Arc<Stats>,
    pub(super) queues: Arc<Queues>,
    pub(super) readiness: Readiness,
    pub(super) started: Started,
    /// What it could not do; moves on when this node balances by another version.
    pub(super) effects: Effects,
    /// What keeps it from serving.
    pub(super) hindrances: Hindrances,
    /// What it tells of backends.
    pub(super) backends: watch::Receiver<Arc<Told>>,
}

/// What is needed to meet the others.
pub(super) struct Peers<'a> {
    /// Where the others reach it.
    pub(super) advertise: SocketAddr,
    pub(super) cluster: &'a Cluster,
    pub(super) said: Said,
}

impl Peers<'_> {
    /// Begins to gossip; a node that stands alone sees itself only. What comes of it, and what the cluster port answers.
    pub(super) fn start(self, tasks: &mut Tasks) -> (FleetView, Routes) {
        let (effects, readiness) = (self.said.effects.clone(), self.said.readiness.clone());
        let hindrances = self.said.hindrances.clone();
        let mut own = Own {
            said: self.said,
            hash: (Version::default(), ConfigHash::default()),
            hasher: ConfigHasher::default(),
            cpu: CpuMeter::default(),
        };
        let (gossip, view) = Gossip::of(self.cluster, self.advertise, own.state(self.cluster));
        let routes = self.cluster.services().add_service(gossip.service());
        tasks.spawn(own.keep_saying(gossip, self.cluster.clone()));
        tasks.spawn(store_watch::watch(self.cluster.clone(), effects));
        tasks.spawn(hindrances.watch(readiness, view.clone()));
        (view, routes)
    }
}

/// Opens the cluster port, where there is one: not where the node stands alone.
pub(super) fn open(port: Option<Bound>, cluster: &Cluster, routes: Routes, tasks: &mut Tasks) {
    let Some(((port, open), tls)) = port.zip(cluster.tls()) else {
        return;
    };
    tasks.spawn(async move {
        let _open = open;
        if let Err(error) = cluster_port::serve(port, tls, routes, std::future::pending()).await {
            tracing::error!(%error, "the cluster port failed");
        }
    });
}

/// Keeps gossip's word about this node true.
struct Own {
    said: Said,
    /// The hash of the version that was hashed last: hashing is for changes, not for every word.
    hash: (Version, ConfigHash),
    hasher: ConfigHasher,
    cpu: CpuMeter,
}

impl Own {
    fn state(&mut self, cluster: &Cluster) -> OwnState {
        let snapshot = self.said.view.load();
        if self.hash.0 != snapshot.version || snapshot.version == Version::default() {
            let hash = ConfigHash::by(&mut self.hasher, &snapshot.config);
            self.hash = (snapshot.version, hash);
        }
        let not_ready = self.said.readiness.not_ready();
        OwnState {
            version: snapshot.version,
            log_index: cluster.feed().latest().log_index,
            hash: self.hash.1,
            ready: not_ready.is_none(),
            not_ready_because: not_ready.map(|reason| reason.to_string()),
            requests_total: self.said.stats.requests_total(),
            load: self.load(),
            started: self.said.started.at,
            troubles: self.troubles(),
            hindrances: self.said.hindrances.names(),
            backends: Arc::clone(&self.said.backends.borrow_and_update()),
        }
    }

    fn load(&mut self) -> Load {
        Load {
            connections: self.said.stats.open_connections(),
            in_flight: self.said.stats.requests_in_flight(),
            queued: self.said.queues.waiting(),
            cpu_percent: self.cpu.percent(),
        }
    }

    fn troubles(&self) -> Vec<Trouble> {
        let trouble = |failure: Failure| Trouble {
            since: self.said.started.wall(failure.since),
            object: failure.object,
            reason: failure.reason,
        };
        self.said.effects.all().into_iter().map(trouble).collect()
    }

    async fn keep_saying(mut self, gossip: Gossip, cluster: Cluster) {
        let mut settled = self.said.effects.settled();
        let mut readiness = self.said.readiness.subscribe();
        let mut backends = self.said.backends.clone();
        loop {
            let before = self.hash.0;
            gossip.set_own(self.state(&cluster));
            let next_version = Instant::now() + gap(before, self.hash.0);
            sleep(SAY_GAP).await;
            let another_version = async {
                let moved = settled.changed().await;
                sleep_until(next_version).await;
                moved
            };
            tokio::select! {
                Ok(()) = another_version => {}
                Ok(()) = readiness.changed() => {}
                Ok(()) = backends.changed() => {}
                () = sleep(SAY) => {}
            }
        }
    }
}

/// How soon another version may be told of after a word that went from one to another.
fn gap(before: Version, now: Version) -> Duration {
    if now.0.saturating_sub(before.0) > 1 {
        STREAM_GAP
    } else {
        SAY_GAP
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_types_on_without_waiting_is_told_of_less_often() {
        assert_eq!(gap(Version(7), Version(7)), SAY_GAP);
        assert_eq!(gap(Version(7), Version(8)), SAY_GAP);
        assert_eq!(gap(Version(7), Version(9)), STREAM_GAP);
        // A node whose fleet was restored from a backup may balance by an older one.
        assert_eq!(gap(Version(7), Version(3)), SAY_GAP);
    }
}
