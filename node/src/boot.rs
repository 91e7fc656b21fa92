//! Builds a node's parts in order and hands each what it needs; this module alone knows them all.

mod join;
mod peers;
mod ports;
mod start_config;
mod tasks;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use fleetbal_raft::Cluster;
use fleetbal_raft::model::NodeName;
use tokio_util::sync::CancellationToken;

use crate::cli::exit;
use crate::effects::effects;
use crate::lifecycle::{DRAIN_TIMEOUT, Lifecycle, Signals, Stop};
use crate::manage::access::{Access, TokenFileError};
use crate::manage::query::node::LastProc;
use crate::manage::script::Script;
use crate::manage::{Context, Started};
use crate::monitor::readiness::Readiness;
use crate::monitor::stats::Stats;
use crate::settings::Settings;
use crate::snapshot::{NodeVariables, Publisher};
use crate::workers::Workers;
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
    workers: Arc<Workers>,
    readiness: Readiness,
    lifecycle: Lifecycle,
    /// Closes every management listener.
    management: CancellationToken,
    tasks: Tasks,
}

/// Runs a node until it is asked to end.
///
/// # Errors
/// Why it did not start, or failed.
pub async fn run(settings: Settings, script: &Script) -> Result<(), BootError> {
    let lifecycle = Lifecycle::default();
    let signals = Signals::register().map_err(BootError::running)?;
    let report = || tracing::info!("USR1: nothing to report yet");
    let signals = tokio::spawn(signals.follow(lifecycle.clone(), report));
    let starting = Box::pin(start(&settings, script, lifecycle.clone()));
    let node = tokio::select! {
        node = starting => node?,
        // Nothing is in flight yet, so there is nothing to drain.
        _ = lifecycle.requested() => return Ok(()),
    };
    println!("Running.\nbeginning run");
    let outcome = node.until_asked_to_end().await;
    signals.abort();
    println!("ending run");
    outcome
}

async fn start(settings: &Settings, script: &Script, lifecycle: Lifecycle) -> Result<Node, BootError> {
    let started = Started::now();
    let readiness = Readiness::default();
    let mut tasks = Tasks::default();
    let access = access(settings).map_err(BootError::config)?;
    let mut own = OwnListeners::bind(settings).map_err(BootError::Config)?;
    let cluster = Box::pin(join::cluster(settings, script)).await?;
    let variables = variables(settings, cluster.name());
    let (publisher, view) = Publisher::new(variables.clone());
    let stats = Arc::new(Stats::new());
    let workers = Workers::start(settings.workers, view.clone(), stats.clone());
    let workers = Arc::new(workers.map_err(BootError::running)?);
    let (runner, effects) = effects(publisher, variables.clone());
    let said = Said {
        view: view.clone(),
        stats: stats.clone(),
        readiness: readiness.clone(),
        started,
        effects: effects.clone(),
    };
    let peers = Peers {
        port: own.cluster.take(),
        advertise: settings.advertised(),
        cluster: &cluster,
        said,
    };
    let fleet = peers.start(&mut tasks);
    let context = Arc::new(Context {
        cluster: cluster.clone(),
        view,
        stats,
        queues: workers.queues().clone(),
        reproxy: workers.reproxy().clone(),
        fleet,
        readiness: readiness.clone(),
        settled: effects.settled(),
        lifecycle: lifecycle.clone(),
        variables: variables.clone(),
        started,
        last_proc: LastProc::default(),
        own_listener: settings.management,
    });
    let management = CancellationToken::new();
    let listeners = Management::serve_own(own, context, access, management.clone());
    tasks.spawn(runner.run(cluster.feed(), NodePorts::new(workers.clone(), listeners)));
    start_config::apply(settings, script, &cluster).await?;
    settle(&cluster, &effects, settings).await?;
    tasks.spawn(effects.nodefiles(variables).run(cluster.clone()));
    let (of, from) = (readiness.clone(), cluster.clone());
    tasks.spawn(async move { of.catch_up(&from).await });
    readiness.start_finished();
    Ok(Node {
        cluster,
        workers,
        readiness,
        lifecycle,
        management,
        tasks,
    })
}

/// Waits until the effects of what is applied were tried. A node that stands alone, and one that was just given its
/// configuration, does not start where one of them failed; a member goes on trying.
async fn settle(
    cluster: &Cluster,
    effects: &crate::effects::Effects,
    settings: &Settings,
) -> Result<(), BootError> {
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
        self.readiness.stopping();
        tracing::info!("draining");
        self.workers.drain(within).await;
        self.management.cancel();
        if tokio::time::timeout(LEAVE_WITHIN, self.cluster.shutdown())
            .await
            .is_err()
        {
            tracing::warn!("the store took too long to close; it is safe all the same");
        }
    }
}
