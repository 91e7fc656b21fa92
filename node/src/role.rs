//! What a service does with a connection.

mod buffers;
mod client;
mod connection;
mod date;
mod deadline;
mod held;
mod local;
mod reverse_proxy;
mod selector;
mod web_server;

use std::net::SocketAddr;
use std::task::Context;

use fleetbal_raft::model::Role;
use tokio::net::TcpStream;

use crate::http::ProxyError;
use client::{Begun, Client, Incoming, refused};
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
        Some(Role::ReverseProxy | Role::Selector | Role::WebServer) => {
            connection::serve(counted, io, peer.ip()).await;
        }
        // These have listeners of their own; they are not the workers'.
        Some(Role::Management | Role::UploadTracker) | None => drop(io),
    }
}

/// Has a request's service begin to answer it. How many bytes of the input are used.
#[inline]
fn begin(client: &mut Client, begun: Begun<'_>, cx: &mut Context<'_>) -> (usize, Incoming) {
    match begun.current.view.role {
        Some(Role::ReverseProxy) => reverse_proxy::begin(client, begun, cx),
        Some(Role::WebServer) => web_server::begin(client, begun, cx),
        // A selector has handed it on before.
        Some(Role::Management | Role::Selector | Role::UploadTracker) | None => refused(NO_HTTP),
    }
}

const NO_HTTP: ProxyError = ProxyError::Internal("This service does not answer requests.");
