//! Another process in the place of this one (USR2), from both sides; [`crate::handover`] tells what they say to each
//! other.

use super::plane::DataPlane;
use super::{BootError, Given, Node, Place, shut_down, start};
use crate::handover::{HandoverError, Inheritance, Program, Successor};
use crate::lifecycle::{DRAIN_TIMEOUT, Lifecycle, Stop};
use crate::os_settings::PidFile;
use crate::service_manager;
use crate::sockets::{Origin, Passed};

/// What became of it.
pub(super) enum Replaced {
    /// Another process is the node, and this one has drained.
    Yes,
    /// This one still is.
    No(Box<Node>),
}

/// Gives the place to a new process. Where that one fails, this one goes on as the node.
pub(super) async fn replace(node: Node, given: Given<'_>, program: &Program) -> Result<Replaced, BootError> {
    if std::process::id() == 1 {
        tracing::error!(
            "USR2: refused, since this is process 1 of its container, which would end with it; replace the \
             container instead"
        );
        return Ok(Replaced::No(Box::new(node)));
    }
    tracing::info!("USR2: starting the process that takes the place of this one");
    let (successor, sockets) = tokio::select! {
        prepared = prepare(program.clone(), given) => match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                goes_on(&error);
                return Ok(Replaced::No(Box::new(node)));
            }
        },
        _ = node.lifecycle.requested() => return Ok(Replaced::No(Box::new(node))),
    };
    let (plane, lifecycle, inheritance) = node.stop_all_but_traffic(sockets).await;
    let handing_over = move || {
        let mut successor = successor;
        let outcome = successor.hand_over(&inheritance);
        // Where it failed it ends here, before anything is opened again.
        (outcome.map(|()| successor), inheritance)
    };
    let (outcome, inheritance) = blocking(handing_over).await?;
    match outcome {
        Ok(successor) => {
            tracing::info!(pid = successor.pid(), "another process is the node now; draining");
            service_manager::main_process(successor.pid());
            successor.go();
            drain(&plane, &lifecycle).await;
            Ok(Replaced::Yes)
        }
        Err(error) => {
            goes_on(&error);
            let node = reopen(given, plane, lifecycle, inheritance).await?;
            Ok(Replaced::No(Box::new(node)))
        }
    }
}

fn goes_on(error: &HandoverError) {
    tracing::error!("USR2: {error}; this process goes on");
}

async fn prepare(program: Program, given: Given<'_>) -> Result<(Successor, Vec<Passed>), HandoverError> {
    let failed = |source| HandoverError::Sockets(source);
    let successor = tokio::task::spawn_blocking(move || Successor::start(&program));
    let successor = successor.await.map_err(|error| failed(error.into()))??;
    let sockets = given.sockets.copies().map_err(failed)?;
    Ok((successor, sockets))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, BootError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(BootError::running)
}

/// Starts again around the traffic that went on meanwhile.
async fn reopen(
    given: Given<'_>,
    plane: DataPlane,
    lifecycle: Lifecycle,
    mut inheritance: Inheritance,
) -> Result<Node, BootError> {
    let sockets = std::mem::take(&mut inheritance.sockets);
    let own = sockets.into_iter().filter(|passed| passed.origin == Origin::Node);
    given.sockets.take(own);
    let given = Given {
        inheritance: Some(&inheritance),
        ..given
    };
    Box::pin(start(given, lifecycle, Some(plane))).await
}

/// The end of a process that is not the node any more.
async fn drain(plane: &DataPlane, lifecycle: &Lifecycle) {
    if !lifecycle.is_stopping() {
        lifecycle.request(Stop::Graceful(Some(DRAIN_TIMEOUT)));
    }
    tokio::select! {
        _ = plane.workers.drain(Some(DRAIN_TIMEOUT)) => {}
        () = lifecycle.requested_now() => {}
    }
}

impl Node {
    /// Hands the leadership over, and stops the consensus, gossip and management. The store is closed with the last
    /// of them.
    async fn stop_all_but_traffic(self, sockets: Vec<Passed>) -> (DataPlane, Lifecycle, Inheritance) {
        let Self {
            cluster,
            plane,
            lifecycle,
            management,
            tasks,
        } = self;
        let ready = plane.readiness.not_ready().is_none();
        management.cancel();
        shut_down(&cluster).await;
        let state = cluster.identity().is_none().then(|| cluster.state());
        tasks.end().await;
        let inheritance = Inheritance {
            sockets,
            state,
            ready,
            draining: plane.readiness.is_draining(),
        };
        (plane, lifecycle, inheritance)
    }
}

/// Takes the place of the process before, which goes on as the node until this one says that it serves.
pub(super) async fn take(place: Place) -> Result<Option<PidFile>, BootError> {
    let Place { predecessor, pidfile } = place;
    if let Err(error) = blocking(move || predecessor.opened()).await? {
        // It may have ended, and then there is nobody else to be the node.
        tracing::warn!(%error, "the process before this one did not give its place away in order");
    }
    let written = pidfile.map(|path| PidFile::write(&path)).transpose();
    written.map_err(BootError::Running)
}
