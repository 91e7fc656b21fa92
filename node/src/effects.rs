//! Makes this node match a version: publishes it to the workers, opens and closes listeners.
//!
//! What a version asks of a node can fail on that node alone (an address is taken). Such a failure never touches
//! the replicated state: it is remembered, reported, and tried again with growing pauses until it works or the
//! configuration no longer asks for it.

mod certificates;
mod docroots;
mod listeners;
mod logs;
mod nodefiles;
mod plugins;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use fleetbal_raft::feed::Feed;
use fleetbal_raft::model::Version;
use fleetbal_raft::seal::Seal;
use tokio::sync::watch;

pub use listeners::{Listener, Ports};
pub use logs::NO_PROGRAMS;
pub use nodefiles::Nodefiles;

use crate::access_log::AccessLogs;
use crate::clock;
use crate::lifecycle::Lifecycle;
use crate::snapshot::{NodeVariables, Publisher, View};
use crate::tls::Servers;
use certificates::Certificates;
use listeners::Listeners;
use logs::{Logs, Troubles};

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
    ending: Arc<ArcSwap<Vec<Failure>>>,
    logs: Troubles,
    view: View,
    settled: watch::Receiver<Version>,
}

impl Effects {
    /// What failed, and certificates that end soon.
    pub fn all(&self) -> Vec<Failure> {
        let mut all = self.failures();
        all.extend(joined([&self.ending]));
        all
    }

    /// What failed and is being tried again, nodefiles that are left alone, plugins that are off, and what was reported.
    pub fn failures(&self) -> Vec<Failure> {
        let mut all = joined([&self.failures, &self.nodefiles, &self.lasting]);
        all.extend(self.logs.failures());
        all.extend(plugins::failures(&self.view.load()));
        all
    }

    /// Those of them that keep this node from serving as the configuration says: a file that is left alone does not,
    /// nor does a log or a plugin.
    pub fn hindering(&self) -> Vec<Failure> {
        joined([&self.failures, &self.lasting])
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

fn joined<const N: usize>(lists: [&Arc<ArcSwap<Vec<Failure>>>; N]) -> Vec<Failure> {
    let lists = lists.map(|list| list.load_full());
    lists.iter().flat_map(|list| list.iter()).cloned().collect()
}

/// Follows the configuration and carries it out.
#[derive(Debug)]
pub struct Runner {
    publisher: Publisher,
    variables: NodeVariables,
    failures: Arc<ArcSwap<Vec<Failure>>>,
    ending: Arc<ArcSwap<Vec<Failure>>>,
    settled: watch::Sender<Version>,
    servers: Servers,
    seal: Seal,
    logs: Logs,
    reload: watch::Receiver<u64>,
}

/// What of the data plane is as the configuration asks for.
#[derive(Debug, Clone)]
pub struct Plane {
    /// They get what they need to speak TLS.
    pub servers: Servers,
    /// Opens the keys of the fleet's certificates.
    pub seal: Seal,
    /// They are opened and closed.
    pub access_logs: AccessLogs,
    /// Whether the configuration may start programs on this node.
    pub may_start_programs: bool,
}

/// Makes the runner and the handle that tells of its work. `lifecycle` says when files are new.
pub fn effects(
    publisher: Publisher,
    variables: NodeVariables,
    plane: Plane,
    lifecycle: &Lifecycle,
) -> (Runner, Effects) {
    let failures: Arc<ArcSwap<Vec<Failure>>> = Arc::default();
    let ending: Arc<ArcSwap<Vec<Failure>>> = Arc::default();
    let (settled, settled_view) = watch::channel(Version::default());
    let Plane {
        servers,
        seal,
        access_logs,
        may_start_programs,
    } = plane;
    let logs = Logs::new(variables.clone(), access_logs, may_start_programs);
    let troubles = logs.troubles();
    let view = publisher.view();
    let runner = Runner {
        publisher,
        variables,
        failures: failures.clone(),
        ending: ending.clone(),
        settled,
        servers,
        seal,
        logs,
        reload: lifecycle.reloads(),
    };
    (
        runner,
        Effects {
            failures,
            nodefiles: Arc::default(),
            lasting: Arc::default(),
            ending,
            logs: troubles,
            view,
            settled: settled_view,
        },
    )
}

impl Runner {
    /// Carries out each version as it comes, until the feed ends, and reads files anew where that is asked for.
    /// Dropping the future stops it between versions.
    pub async fn run(mut self, mut feed: Feed, ports: impl Ports) {
        let mut certificates =
            Certificates::new(self.variables.clone(), self.servers.clone(), self.seal.clone());
        let mut listeners = Listeners::new(self.variables.clone(), ports);
        let mut pause = RETRY.0;
        let mut anew = false;
        loop {
            let config = feed.latest().state.config.clone();
            // Before the workers learn that they should speak TLS.
            let mut lacking = certificates.reconcile(&config, anew);
            let serves_files = docroots::look(&config, &self.variables, &mut lacking.reasons);
            // Before they write to them.
            self.logs.reconcile(&config, anew).await;
            self.publisher.publish(&config);
            let failures = listeners.reconcile(&config, lacking, Instant::now());
            let all_well = failures.is_empty();
            self.failures.store(Arc::new(failures));
            self.ending.store(Arc::new(certificates.ending(clock::now())));
            self.settled.send_replace(config.version);
            if all_well {
                pause = RETRY.0;
            }
            anew = tokio::select! {
                is_open = feed.changed() => {
                    if !is_open {
                        return;
                    }
                    false
                }
                Ok(()) = self.reload.changed() => true,
                () = tokio::time::sleep(docroots::LOOK), if all_well && serves_files => false,
                () = tokio::time::sleep(certificates::LOOK), if all_well && !serves_files => false,
                () = tokio::time::sleep(pause), if !all_well => {
                    pause = (pause * 2).min(RETRY.1);
                    false
                }
            };
        }
    }
}
