//! Builds a node's parts in order and hands each what it needs; this module alone knows them all.

mod hindrances;
mod join;
mod peers;
mod plane;
mod ports;
mod replace;
mod start_config;
mod store_watch;
mod tasks;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use fleetbal_raft::Cluster;
use fleetbal_raft::model::NodeName;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::checks::Health;
use crate::cli::exit;
use crate::daemon;
use crate::effects::Effects;
use crate::handover::{Inheritance, Predecessor, Program};
use crate::lifecycle::{DRAIN_TIMEOUT, Lifecycle, Signals, Stop};
use crate::manage::access::{Access, TokenFileError};
use crate::manage::query::node::LastProc;
use crate::manage::script::Script;
use crate::manage::{Context, OpenSockets, remote};
use crate::monitor::readiness::Readiness;
use crate::os_settings::PidFile;
use crate::service_manager;
use crate::settings::Settings;
use crate::snapshot::NodeVariables;
use crate::sockets::Sockets;
use crate::workers::Workers;
use peers::Peers;
use plane::DataPlane;
use ports::{Management, NodePorts, OwnListeners};
use replace::Replaced;
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
        /// What to do, where that is not plain.
        remedy: String,
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

/// What a process runs a node with.
#[derive(Debug)]
pub struct Process<'a> {
    /// What this node alone was told.
    pub settings: &'a Settings,
    /// Its config file.
    pub script: &'a Script,
    /// What it was given to listen with.
    pub sockets: &'a Sockets,
    /// How to start the process that takes its place one day.
    pub program: Program,
    /// The process whose place it takes.
    pub takeover: Option<Takeover>,
}

/// A place that this process takes.
#[derive(Debug)]
pub struct Takeover {
    /// Whose it is.
    pub place: Place,
    /// What comes with it.
    pub inheritance: Inheritance,
}

/// The place of another process.
#[derive(Debug)]
pub struct Place {
    /// That process.
    pub predecessor: Predecessor,
    /// The file that will hold this process's number.
    pub pidfile: Option<PathBuf>,
}

/// Runs a node until it is asked to end, or another process has its place.
///
/// # Errors
/// Why it did not start, or failed.
pub async fn run(process: Process<'_>) -> Result<(), BootError> {
    let lifecycle = Lifecycle::default();
    let signals = Signals::register().map_err(BootError::running)?;
    let signals = tokio::spawn(signals.follow(lifecycle.clone()));
    let (place, inheritance) = process
        .takeover
        .map(|takeover| (takeover.place, takeover.inheritance))
        .unzip();
    let given = Given {
        settings: process.settings,
        script: process.script,
        sockets: process.sockets,
        inheritance: inheritance.as_ref(),
    };
    let mut begun = tokio::select! {
        begun = Box::pin(begin(given, lifecycle.clone(), None)) => begun?,
        // Nothing is in flight yet, so there is nothing to drain.
        _ = lifecycle.requested() => return Ok(()),
    };
    let is_up = tokio::select! {
        completed = Box::pin(begun.complete(given)) => completed.map(|()| true)?,
        // Requests may be in flight: it ends as it would later.
        _ = lifecycle.requested() => false,
    };
    let _pidfile = if is_up { serves(given, place).await? } else { None };
    let given = Given {
        inheritance: None,
        ..given
    };
    let outcome = Box::pin(live(begun.node, given, &process.program)).await;
    signals.abort();
    println!("ending run");
    outcome
}

/// Tells whoever waits for it that this node serves, and takes the place of the process before.
async fn serves(given: Given<'_>, place: Option<Place>) -> Result<Option<PidFile>, BootError> {
    println!("Running.\n{}", daemon::STARTED);
    let pidfile = match place {
        Some(place) => replace::take(place).await?,
        None => None,
    };
    if given.settings.daemon {
        daemon::let_go().map_err(BootError::running)?;
    }
    service_manager::ready("running");
    for address in given.sockets.unused() {
        tracing::warn!(%address, "the service manager passed a socket for an address that no service listens on");
    }
    Ok(pidfile)
}

/// What a node starts with.
#[derive(Debug, Clone, Copy)]
struct Given<'a> {
    settings: &'a Settings,
    script: &'a Script,
    sockets: &'a Sockets,
    /// What the process before it left, or this one before it tried to give its place away.
    inheritance: Option<&'a Inheritance>,
}

/// What a node is asked for.
enum Asked {
    End(Stop),
    Replacement,
    /// Nothing: a part of it failed.
    Failed(String),
}

async fn live(mut node: Node, given: Given<'_>, program: &Program) -> Result<(), BootError> {
    loop {
        match node.asked().await {
            Asked::End(stop) => return node.end(stop).await,
            Asked::Failed(reason) => return Err(BootError::Running(reason)),
            Asked::Replacement => match Box::pin(replace::replace(node, given, program)).await? {
                Replaced::No(same) => node = *same,
                Replaced::Yes => return Ok(()),
            },
        }
    }
}

/// A node whose listeners open one after the other, while its configuration is brought in.
#[derive(Debug)]
struct Begun {
    node: Node,
    effects: Effects,
    variables: NodeVariables,
}

/// Starts a node, around a data plane where there is one already.
async fn start(given: Given<'_>, lifecycle: Lifecycle, plane: Option<DataPlane>) -> Result<Node, BootError> {
    let mut begun = Box::pin(begin(given, lifecycle, plane)).await?;
    begun.complete(given).await?;
    Ok(begun.node)
}

/// The first half of a start: whoever drops this future has cut nobody off.
async fn begin(given: Given<'_>, lifecycle: Lifecycle, plane: Option<DataPlane>) -> Result<Begun, BootError> {
    let Given {
        settings, sockets, ..
    } = given;
    let mut tasks = Tasks::default();
    let access = access(settings).map_err(BootError::config)?;
    let mut own = OwnListeners::bind(settings, sockets).map_err(BootError::Config)?;
    let cluster = Box::pin(join::cluster(given)).await?;
    let variables = variables(settings, cluster.name());
    let (told, backends) = watch::channel(Arc::default());
    let plane = plane.map_or_else(|| DataPlane::start(settings), Ok)?;
    plane.begin(cluster.is_drained(), given.inheritance);
    let (publisher, reports) = plane.first_view(&cluster, variables.clone());
    let (runner, effects) = plane.effects(publisher, (&variables, cluster.seal()), settings, &lifecycle);
    let health = Health::new(cluster.name().as_str());
    let (fleet, routes) = Peers {
        advertise: settings.advertised(),
        cluster: &cluster,
        said: plane.said(&effects, &health, backends),
    }
    .start(&mut tasks);
    tasks.spawn(plane.checks(&health, &effects, &fleet, (reports, told)).run());
    let context = Arc::new(Context {
        cluster: cluster.clone(),
        view: plane.view.clone(),
        events: Arc::default(),
        stats: plane.stats.clone(),
        queues: plane.workers.queues().clone(),
        reproxy: plane.workers.reproxy().clone(),
        open: OpenSockets::new(plane.workers.census()),
        fleet,
        health,
        readiness: plane.readiness.clone(),
        settled: effects.settled(),
        lifecycle: lifecycle.clone(),
        variables: variables.clone(),
        may_start_programs: settings.allow_exec,
        started: plane.started,
        last_proc: LastProc::default(),
        own_listener: settings.management,
        sockets: sockets.clone(),
    });
    let routes = routes.add_service(remote::service(Arc::clone(&context)));
    peers::open(own.cluster.take(), &cluster, routes, &mut tasks);
    let management = CancellationToken::new();
    let listeners = Management::serve_own(own, context, access, management.clone());
    tasks.spawn(runner.run(cluster.feed(), NodePorts::new(plane.workers.clone(), listeners)));
    let node = Node {
        cluster,
        plane,
        lifecycle,
        management,
        tasks,
    };
    Ok(Begun {
        node,
        effects,
        variables,
    })
}

impl Begun {
    /// The second half of a start, with listeners open: dropping this future leaves a node that can be ended in order.
    async fn complete(&mut self, given: Given<'_>) -> Result<(), BootError> {
        let Node {
            cluster,
            plane,
            tasks,
            ..
        } = &mut self.node;
        start_config::apply(given, cluster).await?;
        settle(cluster, &self.effects, given).await?;
        plane.close_what_is_left(&cluster.feed().latest().state.config, given.sockets);
        let nodefiles = self.effects.nodefiles(self.variables.clone());
        tasks.spawn(nodefiles.run(cluster.clone()));
        // What is left of catching up goes on.
        tasks.spawn(catch_up(plane.readiness.clone(), cluster.clone()));
        plane.readiness.start_finished();
        feed_watchdog(tasks, &plane.workers);
        Ok(())
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
async fn settle(cluster: &Cluster, effects: &Effects, given: Given<'_>) -> Result<(), BootError> {
    let version = cluster.feed().latest().state.config.version;
    let mut settled = effects.settled();
    let reached = settled.wait_for(|at| *at >= version);
    if !matches!(tokio::time::timeout(SETTLE_WITHIN, reached).await, Ok(Ok(_))) {
        return Err(BootError::Running(
            "the configuration could not be carried out in time".to_owned(),
        ));
    }
    let failures = effects.failures();
    let begins_alone = given.settings.cluster.is_none() && given.inheritance.is_none();
    match failures.first() {
        Some(failure) if begins_alone => Err(BootError::Config(format!(
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
    async fn asked(&mut self) -> Asked {
        tokio::select! {
            stop = self.lifecycle.requested() => Asked::End(stop),
            () = self.cluster.removed() => {
                let drain = Stop::Graceful(Some(DRAIN_TIMEOUT));
                self.lifecycle.request(drain);
                Asked::End(drain)
            }
            () = self.lifecycle.replacement_requested() => Asked::Replacement,
            failure = self.tasks.failed() => Asked::Failed(failure),
        }
    }

    async fn end(self, stop: Stop) -> Result<(), BootError> {
        service_manager::stopping("draining");
        if let Stop::Graceful(within) = stop {
            tokio::select! {
                () = self.leave(within) => {}
                () = self.lifecycle.requested_now() => {}
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
        shut_down(&self.cluster).await;
    }
}

async fn shut_down(cluster: &Cluster) {
    if tokio::time::timeout(LEAVE_WITHIN, cluster.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("the store took too long to close; it is safe all the same");
    }
}
