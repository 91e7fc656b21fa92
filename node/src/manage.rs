//! Management: the lines, and the HTTP, by which people and programs see and change a node's fleet.
//!
//! One way only: bytes -> [`mod@line`] -> [`parse`] -> [`command`] -> `execute` -> [`render::Reply`] -> bytes. Reads are
//! answered by this node alone; changes go to the fleet, and are answered once this node balances by them.

pub mod access;
pub mod bind;
pub mod command;
mod connection;
pub mod dump;
pub mod events;
mod execute;
mod http;
mod in_parts;
mod include;
pub mod line;
pub mod local_check;
pub mod manual;
pub mod parse;
pub mod plan;
pub mod query;
pub mod remote;
pub mod render;
mod report;
pub mod script;
mod session;
mod sum;
mod transaction;

use std::net::SocketAddr;
use std::sync::Arc;

use fleetbal_raft::cluster::Cluster;
use fleetbal_raft::model::{ServiceName, UnixMillis, Version};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::checks::Health;
use crate::gossip::FleetView;
use crate::lifecycle::Lifecycle;
use crate::monitor::readiness::Readiness;
use crate::monitor::sockets::{Endpoints, Socket};
use crate::monitor::stats::Stats;
use crate::plugin::command::{CommandLine, Told};
use crate::reproxy;
use crate::role::Queues;
use crate::snapshot::{NodeVariables, View};
use crate::sockets::Sockets;
use crate::tls::Servers;
use crate::workers::Census;
use access::Access;
use connection::{Limits, Port};
use events::Events;
use query::node::LastProc;
pub use report::report_on_demand;

/// What management reads and asks of the rest of the node.
#[derive(Debug)]
pub struct Context {
    /// Changes go here.
    pub cluster: Cluster,
    /// What this node balances by; reads come from it.
    pub view: View,
    /// What happens here and in the fleet, for those who follow it.
    pub events: Arc<Events>,
    /// Its counters.
    pub stats: Arc<Stats>,
    /// Its requests that wait for backends.
    pub queues: Arc<Queues>,
    /// Its connections to the targets of reproxying, and caches.
    pub reproxy: Arc<reproxy::Shared>,
    /// What `socks` shows.
    pub open: OpenSockets,
    /// What `proc` told last.
    pub last_proc: LastProc,
    /// The other nodes.
    pub fleet: FleetView,
    /// What this node thinks of the backends.
    pub health: Health,
    /// Whether this node should get traffic.
    pub readiness: Readiness,
    /// The version whose effects were all tried on this node.
    pub settled: watch::Receiver<Version>,
    /// Ends this node.
    pub lifecycle: Lifecycle,
    /// For `${…}`.
    pub variables: NodeVariables,
    /// Whether the configuration may start programs on this node.
    pub may_start_programs: bool,
    /// When this node started.
    pub started: Started,
    /// The management listener of this node alone: a management service on the same address is no conflict.
    pub own_listener: Option<SocketAddr>,
    /// What this process was given to listen with: an address that it has is not taken.
    pub sockets: Sockets,
}

/// The sockets that clients, backends and those who type commands have to do with.
#[derive(Debug, Default)]
pub struct OpenSockets {
    /// Those of the data plane.
    census: Census,
    /// Those of the control plane.
    pub endpoints: Endpoints,
}

impl OpenSockets {
    /// Those of these workers, and none of the control plane yet.
    pub fn new(census: Census) -> Self {
        Self {
            census,
            endpoints: Endpoints::default(),
        }
    }

    /// Has the plugins of the data plane carry out a command of theirs; none: none has anything to say.
    async fn command(&self, line: CommandLine) -> Option<Told> {
        self.census.command(line).await
    }

    /// All of them.
    async fn all(&self) -> Vec<Socket> {
        let mut sockets = self.census.sockets().await;
        sockets.extend(self.endpoints.all());
        sockets
    }
}

/// When a node started.
#[derive(Debug, Clone, Copy)]
pub struct Started {
    /// By the wall clock.
    pub at: UnixMillis,
    /// By the clock that never jumps.
    pub instant: Instant,
}

impl Started {
    /// Now.
    pub fn now() -> Self {
        Self {
            at: crate::clock::now(),
            instant: Instant::now(),
        }
    }

    /// An instant by the wall clock of the start: always the same for the same instant, wherever that clock jumps.
    pub fn wall(&self, instant: std::time::Instant) -> UnixMillis {
        let after = instant.saturating_duration_since(self.instant.into_std());
        UnixMillis(
            self.at
                .0
                .saturating_add(after.as_millis().try_into().unwrap_or(u64::MAX)),
        )
    }
}

/// What a management service of the configuration speaks; TLS where it has a certificate.
#[derive(Debug, Clone)]
pub struct Secured {
    /// The service.
    pub service: ServiceName,
    /// What services speak.
    pub servers: Servers,
}

/// Serves a management listener: lines and HTTP, over TLS where `tls` says so. Once `stop` is cancelled the listener is closed, and the future ends
/// with its last connection; dropping it cuts the connections off.
pub async fn serve(
    listener: TcpListener,
    context: Arc<Context>,
    access: Arc<Access>,
    tls: Option<Secured>,
    stop: CancellationToken,
) {
    connection::serve(
        listener,
        context,
        Port::Management(access, tls),
        Limits::default(),
        stop,
    )
    .await;
}

/// Serves the read-only HTTP endpoints to everybody, and nothing else (`--metrics`). Ends as [`serve`] does.
pub async fn serve_metrics(listener: TcpListener, context: Arc<Context>, stop: CancellationToken) {
    connection::serve(listener, context, Port::Metrics, Limits::default(), stop).await;
}

#[cfg(test)]
mod test_node;
#[cfg(test)]
mod tests;
