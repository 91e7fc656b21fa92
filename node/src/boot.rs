//! Builds a node's parts in order and hands each what it needs; this module alone knows them all.

mod hindrances;
mod join;
mod peers;
mod ports;
mod start_config;
mod store_watch;
mod tasks;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use fleetbal_raft::Cluster;
use fleetbal_raft::model::NodeName;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::checks::{Health, Runner};
use crate::cli::exit;
use crate::effects::{self, Effects};
use crate::gossip::FleetView;
use crate::health::Told;
use crate::lifecycle::{DRAIN_TIMEOUT, Lifecycle, Signals, Stop};
use crate::manage::access::{Access, TokenFileError};
use crate::manage::query::node::LastProc;
use crate::manage::script::Script;
use crate::manage::{Context, Started, remote};
use crate::monitor::readiness::Readiness;
use crate::monitor::stats::Stats;
use crate::service_manager;
use crate::settings::Settings;
use crate::snapshot::{NodeVariables, Publisher, Report, Reports, View};
use crate::sockets::Sockets;
use crate::workers::Workers;
use hindrances::Hindrances;
use peers::{Peers, Said};
use ports::{Management, NodePorts, OwnListeners};
use tasks::Tasks;

/// How long a leader may take to hand over, and the store to close, at the end.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);

/// How long the effects of the first version may hold up the start.
const SETTLE_WITHIN: Duration = Duration::from_secs(10);

/// Why a node did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// Something that it was told is wrong or cannot be had. Exit code 78.
    #[error("{0}")]
    Config(String),
    /// A line of the config file was refused. Exit code 78.
    #[error("Error starting up.")]
    Script {
        /// The line, from 1.
        line: usize,
        /// What Perlbal prints behind `ERROR: `.
        text: String,
    },
    /// It failed while running. Exit code 1.
    #[error("{0}")]
    Running(String),
}

impl BootError {
    fn config(error: impl std::fmt::Display) -> Self {
        Self::Config(error.to_string())
    }

    fn running(error: impl std::fmt::Display) -> Self {
        Self::Running(error.to_string())
    }

    /// The exit code of a process that ends with this.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_) | Self::Script { .. } => ExitCode::from(exit::CONFIG),
            Self::Running(_) => ExitCode::from(exit::FAILED),
        }
    }
}

/// A node that is up.
#[derive(Debug)]
struct Node {
    cluster: Cluster,
    plane: DataPlane,
    lifecycle: Lifecycle,
    /// Closes every management listener.
    management: CancellationToken,
    tasks: Tasks,
}

/// Runs a node until it is asked to end.
///
/// # Errors
/// Why it did not start, or failed.
pub async fn run(settings: Settings, script: &Script, sockets: Sockets) -> Result<(), BootError> {
    let lifecycle = Lifecycle::default();
    let signals = Signals::register().map_err(BootError::running)?;
    let report = || tracing::info!("USR1: nothing to report yet");
    let signals = tokio::spawn(signals.follow(lifecycle.clone(), report));
    let given = Given {
        settings: &settings,
        script,
        sockets: &sockets,
    };
    let starting = Box::pin(start(given, lifecycle.clone()));
    let node = tokio::select! {
        node = starting => node?,
        // Nothing is in flight yet, so there is nothing to drain.
        _ = lifecycle.requested() => return Ok(()),
    };
    println!("Running.\nbeginning run");
    service_manager::ready("running");
    for address in sockets.unused() {
        tracing::warn!(%address, "the service manager passed a socket for an address that no service listens on");
    }
    let outcome = node.until_asked_to_end().await;
    signals.abort();
    println!("ending run");
    outcome
}

/// What a node starts with.
#[derive(Debug, Clone, Copy)]
struct Given<'a> {
    settings: &'a Settings,
    script: &'a Script,
    sockets: &'a Sockets,
}

async fn start(given: Given<'_>, lifecycle: Lifecycle) -> Result<Node, BootError> {
    let Given {
        settings, sockets, ..
    } = given;
    let mut tasks = Tasks::default();
    let access = access(settings).map_err(BootError::config)?;
    let mut own = OwnListeners::bind(settings, sockets).map_err(BootError::Config)?;
    let cluster = Box::pin(join::cluster(given)).await?;
    let variables = variables(settings, cluster.name());
    let (publisher, view, reports) = first_view(&cluster, variables.clone());
    let (told, backends) = watch::channel(Arc::default());
    let plane = DataPlane::start(settings, view)?;
    plane.readiness.set_draining(cluster.is_drained());
    let (runner, effects) = plane.effects(publisher, variables.clone(), &lifecycle);
    let health = Health::new(cluster.name().as_str());
    let peers = Peers {
        advertise: settings.advertised(),
        cluster: &cluster,
        said: plane.said(&effects, &health, backends),
    };
    let (fleet, routes) = peers.start(&mut tasks);
    tasks.spawn(plane.checks(&health, &effects, &fleet, (reports, told)).run());
    let context = Arc::new(Context {
        cluster: cluster.clone(),
        view: plane.view.clone(),
        stats: plane.stats.clone(),
        queues: plane.workers.queues().clone(),
        reproxy: plane.workers.reproxy().clone(),
        fleet,
        health,
        readiness: plane.readiness.clone(),
        settled: effects.settled(),
        lifecycle: lifecycle.clone(),
        variables: variables.clone(),
        started: plane.started,
        last_proc: LastProc::default(),
        own_listener: settings.management,
        sockets: sockets.clone(),
    });
    let routes = routes.add_service(remote::service(Arc::clone(&context)));
    peers::open(own.cluster.take(), &cluster, routes, &mut tasks);
    let management = CancellationToken::new();
    let listeners = Management::serve_own(own, context, access, management.clone());
    let ports = NodePorts::new(plane.workers.clone(), listeners);
    tasks.spawn(runner.run(cluster.feed(), ports));
    start_config::apply(given, &cluster).await?;
    settle(&cluster, &effects, settings).await?;
    tasks.spawn(effects.nodefiles(variables).run(cluster.clone()));
    tasks.spawn(catch_up(plane.readiness.clone(), cluster.clone()));
    plane.readiness.start_finished();
    feed_watchdog(&mut tasks, &plane.workers);
    Ok(Node {
        cluster,
        plane,
        lifecycle,
        management,
        tasks,
    })
}

/// What this node knew last, so that whoever asks as soon as the management port is open reads no empty configuration.
fn first_view(cluster: &Cluster, variables: NodeVariables) -> (Publisher, View, mpsc::Receiver<Report>) {
    let (publisher, view) = Publisher::new(variables);
    let (seen, reports) = Reports::channel();
    let mut publisher = publisher.reporting(seen);
    publisher.publish(&cluster.feed().latest().state.config);
    (publisher, view, reports)
}

/// What carries traffic, and goes on doing so whatever the rest of the node does.
#[derive(Debug)]
struct DataPlane {
    view: View,
    stats: Arc<Stats>,
    workers: Arc<Workers>,
    readiness: Readiness,
    started: Started,
}

impl DataPlane {
    /// What keeps it as the configuration asks for.
    fn effects(
        &self,
        publisher: Publisher,
        variables: NodeVariables,
        lifecycle: &Lifecycle,
    ) -> (effects::Runner, Effects) {
        effects::effects(publisher, variables, self.workers.tls(), lifecycle)
    }

    fn start(settings: &Settings, view: View) -> Result<Self, BootError> {
        let stats = Arc::new(Stats::new());
        let workers = Workers::start(settings.workers, view.clone(), stats.clone());
        Ok(Self {
            view,
            stats,
            workers: Arc::new(workers.map_err(BootError::running)?),
            readiness: Readiness::default(),
            started: Started::now(),
        })
    }

    fn said(&self, effects: &Effects, health: &Health, backends: watch::Receiver<Arc<Told>>) -> Said {
        let hindrances = Hindrances {
            effects: effects.clone(),
            health: health.clone(),
        };
        Said {
            hindrances,
            backends,
            view: self.view.clone(),
            stats: self.stats.clone(),
            readiness: self.readiness.clone(),
            started: self.started,
            effects: effects.clone(),
        }
    }

    /// What keeps the view of the backends' health, by reports of requests; what it tells the others goes to the other
    /// end.
    fn checks(
        &self,
        health: &Health,
        effects: &Effects,
        fleet: &FleetView,
        (reports, told): (mpsc::Receiver<Report>, watch::Sender<Arc<Told>>),
    ) -> Runner {
        Runner {
            health: health.clone(),
            view: self.view.clone(),
            settled: effects.settled(),
            reports,
            fleet: fleet.clone(),
            told,
        }
    }
}

/// Tells the service manager of life in the control plane and in every worker, where it wants to know.
fn feed_watchdog(tasks: &mut Tasks, workers: &Arc<Workers>) {
    let Some(every) = service_manager::watchdog() else {
        return;
    };
    let workers = Arc::clone(workers);
    tasks.spawn(service_manager::keep_feeding(every, move || {
        let workers = Arc::clone(&workers);
        async move { workers.answer().await }
    }));
}

async fn catch_up(readiness: Readiness, cluster: Cluster) {
    readiness.catch_up(&cluster).await;
}

/// Waits until the effects of what is applied were tried. A node that stands alone, and one that was just given its
/// configuration, does not start where one of them failed; a member goes on trying.
async fn settle(cluster: &Cluster, effects: &Effects, settings: &Settings) -> Result<(), BootError> {
    let version = cluster.feed().latest().state.config.version;
    let mut settled = effects.settled();
    let reached = settled.wait_for(|at| *at >= version);
    if !matches!(tokio::time::timeout(SETTLE_WITHIN, reached).await, Ok(Ok(_))) {
        return Err(BootError::Running(
            "the configuration could not be carried out in time".to_owned(),
        ));
    }
    let failures = effects.failures();
    match failures.first() {
        Some(failure) if settings.cluster.is_none() => Err(BootError::Config(format!(
            "{}: {}",
            failure.object, failure.reason
        ))),
        Some(_) | None => Ok(()),
    }
}

fn access(settings: &Settings) -> Result<Access, TokenFileError> {
    let mut access = Access::loopback().with_name(settings.node.as_str());
    if let Some(path) = &settings.management_token_file {
        access = access.with_token_file(path)?;
    }
    Ok(if settings.management_open {
        access.open()
    } else {
        access
    })
}

fn variables(settings: &Settings, name: &NodeName) -> NodeVariables {
    NodeVariables {
        name: name.to_string(),
        ip: settings.advertised_ip(),
        labels: settings.labels.clone(),
    }
}

impl Node {
    async fn until_asked_to_end(mut self) -> Result<(), BootError> {
        let stop = tokio::select! {
            stop = self.lifecycle.requested() => stop,
            () = self.cluster.removed() => {
                let drain = Stop::Graceful(Some(DRAIN_TIMEOUT));
                self.lifecycle.request(drain);
                drain
            }
            failure = self.tasks.failed() => return Err(BootError::Running(failure)),
        };
        service_manager::stopping("draining");
        if let Stop::Graceful(within) = stop {
            let lifecycle = self.lifecycle.clone();
            tokio::select! {
                () = self.leave(within) => {}
                () = lifecycle.requested_now() => {}
            }
        }
        if self.cluster.was_removed() {
            self.cluster.wipe().await.map_err(BootError::running)?;
        }
        Ok(())
    }

    /// Readiness falls first, then traffic drains, then the fleet is left in order.
    async fn leave(&self, within: Option<Duration>) {
        self.plane.readiness.stopping();
        tracing::info!("draining");
        self.plane.workers.drain(within).await;
        self.management.cancel();
        if tokio::time::timeout(LEAVE_WITHIN, self.cluster.shutdown())
            .await
            .is_err()
        {
            tracing::warn!("the store took too long to close; it is safe all the same");
        }
    }
}
