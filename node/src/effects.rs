//! Makes this node match a version: publishes it to the workers, opens and closes listeners.
//!
//! What a version asks of a node can fail on that node alone (an address is taken). Such a failure never touches
//! the replicated state: it is remembered, reported, and tried again with growing pauses until it works or the
//! configuration no longer asks for it.

mod listeners;
mod nodefiles;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use fleetbal_raft::feed::Feed;
use fleetbal_raft::model::Version;
use tokio::sync::watch;

pub use listeners::{Listener, Ports};
pub use nodefiles::Nodefiles;

use crate::snapshot::{NodeVariables, Publisher};
use listeners::Listeners;

/// The first pause before a failed effect is tried again, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// Something that the configuration asks for and this node could not do.
#[derive(Debug, Clone)]
pub struct Failure {
    /// What it is about, e.g. `service www`.
    pub object: String,
    /// Why it failed.
    pub reason: String,
    /// Since when.
    pub since: Instant,
}

/// What is known about this node's effects. Clones share one state.
#[derive(Debug, Clone)]
pub struct Effects {
    failures: Arc<ArcSwap<Vec<Failure>>>,
    nodefiles: Arc<ArcSwap<Vec<Failure>>>,
    lasting: Arc<ArcSwap<Vec<Failure>>>,
    settled: watch::Receiver<Version>,
}

impl Effects {
    /// What failed and is being tried again, nodefiles that are left alone, and what was reported.
    pub fn failures(&self) -> Vec<Failure> {
        let all = [&self.failures, &self.nodefiles, &self.lasting];
        let lists = all.map(|list| list.load_full());
        lists.iter().flat_map(|list| list.iter()).cloned().collect()
    }

    /// Takes in what failed for good, whatever the configuration says.
    pub fn report(&self, failure: &Failure) {
        self.lasting.rcu(|lasting| {
            let others = lasting.iter().filter(|other| other.object != failure.object);
            others.chain([failure]).cloned().collect::<Vec<_>>()
        });
    }

    /// What watches the nodefiles of a node with these variables.
    pub fn nodefiles(&self, variables: NodeVariables) -> Nodefiles {
        Nodefiles::new(variables, self.nodefiles.clone())
    }

    /// The version whose effects were all tried.
    pub fn settled(&self) -> watch::Receiver<Version> {
        self.settled.clone()
    }
}

/// Follows the configuration and carries it out.
#[derive(Debug)]
pub struct Runner {
    publisher: Publisher,
    variables: NodeVariables,
    failures: Arc<ArcSwap<Vec<Failure>>>,
    settled: watch::Sender<Version>,
}

/// Makes the runner and the handle that tells of its work.
pub fn effects(publisher: Publisher, variables: NodeVariables) -> (Runner, Effects) {
    let failures: Arc<ArcSwap<Vec<Failure>>> = Arc::default();
    let (settled, settled_view) = watch::channel(Version::default());
    let runner = Runner {
        publisher,
        variables,
        failures: failures.clone(),
        settled,
    };
    (
        runner,
        Effects {
            failures,
            nodefiles: Arc::default(),
            lasting: Arc::default(),
            settled: settled_view,
        },
    )
}

impl Runner {
    /// Carries out each version as it comes, until the feed ends. Dropping the future stops it between versions.
    pub async fn run(mut self, mut feed: Feed, ports: impl Ports) {
        let mut listeners = Listeners::new(self.variables.clone(), ports);
        let mut pause = RETRY.0;
        loop {
            let config = feed.latest().state.config.clone();
            self.publisher.publish(&config);
            let failures = listeners.reconcile(&config, Instant::now());
            let all_well = failures.is_empty();
            self.failures.store(Arc::new(failures));
            self.settled.send_replace(config.version);
            if all_well {
                pause = RETRY.0;
                if !feed.changed().await {
                    return;
                }
                continue;
            }
            match tokio::time::timeout(pause, feed.changed()).await {
                Ok(false) => return,
                Ok(true) => {}
                Err(_) => pause = (pause * 2).min(RETRY.1),
            }
        }
    }
}
