//! What a service does with a connection.

mod buffers;
mod deadline;
mod local;
mod reverse_proxy;

use std::net::SocketAddr;

use fleetbal_raft::model::Role;
use tokio::net::TcpStream;

pub(crate) use deadline::Deadlines;
pub(crate) use local::{Counted, Local, Place, Served, Shared};
pub use reverse_proxy::{Class, Length, Opening, Queue, Queues};

/// Somebody waits for a connection of a service, on another worker.
pub(crate) fn somebody_waits(local: &std::rc::Rc<Local>, queue: &Queue) {
    reverse_proxy::was_told(local, &local.served(queue.service()));
}

/// Prepares what a service needs that begins to listen.
pub(crate) fn prepare(local: &Local, served: &Served) {
    reverse_proxy::sweep(local, served);
}

/// Serves a client's connection to its end.
pub(crate) async fn serve(counted: Counted, io: TcpStream, peer: SocketAddr) {
    let current = counted.served.current(&counted.local);
    match current.and_then(|current| current.view.role) {
        Some(Role::ReverseProxy) => reverse_proxy::serve(counted, io, peer.ip()).await,
        // These have listeners of their own; they are not the workers'.
        Some(Role::Management | Role::UploadTracker) | None => drop(io),
    }
}
