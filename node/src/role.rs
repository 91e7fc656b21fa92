//! What a service does with a connection.

mod buffers;
mod deadline;
mod local;
mod reverse_proxy;

use std::net::SocketAddr;
use std::rc::Rc;

use fleetbal_raft::model::Role;
use tokio::net::TcpStream;

pub(crate) use deadline::Deadlines;
pub(crate) use local::{Local, Served};

/// Serves a client's connection to its end.
pub(crate) async fn serve(local: Rc<Local>, served: Rc<Served>, io: TcpStream, peer: SocketAddr) {
    let role = served.current(&local).and_then(|current| current.view.role);
    match role {
        Some(Role::ReverseProxy) => reverse_proxy::serve(local, served, io, peer.ip()).await,
        // Management has listeners of its own; they are not the workers'.
        Some(Role::Management) | None => drop(io),
    }
}
