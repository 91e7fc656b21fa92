//! Listeners of the traffic ports: opened for every worker, closed without losing whoever is in the queue.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::rc::Rc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::role::{self, Counted, Local, Served};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// How long a worker that cannot accept waits: what it lacks (descriptors, memory) is not there at once.
const BACK_OFF: Duration = Duration::from_millis(50);

/// Opens one listener for each of `count` workers; the system spreads connections over them.
///
/// # Errors
/// When the address is taken or not this machine's. An address that anybody else listens on is taken, also where
/// that listener would share it.
pub(crate) fn open_shared(address: SocketAddr, count: usize) -> io::Result<Vec<StdListener>> {
    drop(bind(address, false)?);
    (0..count)
        .map(|_| {
            let socket = bind(address, true)?;
            // Accepted connections inherit it.
            socket.set_tcp_nodelay(true)?;
            socket.set_nonblocking(true)?;
            socket.listen(BACKLOG)?;
            Ok(socket.into())
        })
        .collect()
}

fn bind(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Accepts connections, each served by a task of its own, until it is stopped. What is in the queue then is still
/// accepted.
pub(crate) async fn accept(
    listener: TcpListener,
    local: Rc<Local>,
    served: Rc<Served>,
    stop: CancellationToken,
) {
    let mut stopped = std::pin::pin!(stop.cancelled());
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stopped => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((io, peer)) => start(&local, &served, io, peer),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                tokio::select! {
                    biased;
                    () = &mut stopped => break,
                    () = tokio::time::sleep(BACK_OFF) => {}
                }
            }
        }
    }
    if let Err(error) = empty(listener, &local, &served) {
        tracing::warn!(%error, "cannot accept what is left in the queue of a listener");
    }
}

fn start(local: &Rc<Local>, served: &Rc<Served>, io: TcpStream, peer: SocketAddr) {
    let counted = Counted::new(Rc::clone(local), Rc::clone(served));
    // A panic ends its task, and with it the connection, but nothing else.
    tokio::task::spawn_local(role::serve(counted, io, peer));
}

/// Accepts until the queue is empty. Asks the system itself: the runtime may not have heard of the latest yet.
fn empty(listener: TcpListener, local: &Rc<Local>, served: &Rc<Served>) -> io::Result<()> {
    let listener = listener.into_std()?;
    loop {
        match listener.accept() {
            Ok((io, peer)) => {
                io.set_nonblocking(true)?;
                start(local, served, TcpStream::from_std(io)?, peer);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether the error is that of a connection which is gone already, and says nothing about the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
