//! What a service does with a connection.

mod access;
mod buffers;
mod client;
mod connection;
mod date;
mod deadline;
mod echo;
mod held;
mod hooked;
mod intake;
mod local;
mod record;
mod reverse_proxy;
mod selector;
mod stream;
mod web_server;

use std::net::SocketAddr;
use std::task::Context;
use std::time::Duration;

use fleetbal_raft::model::Role;
use tokio::net::TcpStream;

use crate::http::ProxyError;
use crate::tls::{self, Refused, Stream};
use client::{Begun, Client, Incoming, refused};
pub(crate) use deadline::TICK;
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

/// How long a client may take to agree on keys where the service sets no limit (Perlbal's value).
const HANDSHAKE: Duration = Duration::from_mins(1);

const NO_TLS: ProxyError = ProxyError::BadRequest("this port speaks HTTPS, and got HTTP");

/// Serves a client's connection to its end.
pub(crate) async fn serve(counted: Counted, io: TcpStream, peer: SocketAddr) {
    let Some(current) = counted.served.current(&counted.local) else {
        return;
    };
    let (role, tls) = (current.view.role, current.view.tls);
    let patience = current.view.settings.idle_timeout.unwrap_or(HANDSHAKE);
    drop(current);
    let io = if tls {
        match Box::pin(secure(counted, io, peer, patience)).await {
            Some(secured) => secured,
            None => return,
        }
    } else {
        (counted, Stream::Plain(io))
    };
    let (counted, io) = io;
    match role {
        Some(Role::ReverseProxy | Role::Selector | Role::WebServer) => {
            connection::serve(counted, io, peer).await;
        }
        Some(Role::Echo) => Box::pin(echo::serve(counted, io, peer)).await,
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
        Some(Role::Echo | Role::Management | Role::Selector | Role::UploadTracker) | None => refused(NO_HTTP),
    }
}

const NO_HTTP: ProxyError = ProxyError::Internal("This service does not answer requests.");

/// Agrees with a client on keys; none: it was told why not, if it could be told.
async fn secure(
    counted: Counted,
    io: TcpStream,
    peer: SocketAddr,
    patience: Duration,
) -> Option<(Counted, Stream)> {
    // Whoever has no certificate does not listen; connections may have been in the queue.
    let config = counted.local.tls.config(counted.served.name())?;
    match tls::accept(io, config, patience).await {
        Ok(stream) => Some((counted, stream)),
        Err(Refused::Plain(io)) => {
            connection::refuse(counted, Stream::Plain(io), peer, NO_TLS).await;
            None
        }
        Err(Refused::Failed(error)) => {
            tracing::debug!(%error, %peer, "no agreement on TLS");
            None
        }
    }
}
