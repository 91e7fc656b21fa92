//! Listeners of the traffic ports: opened for every worker, closed without losing whoever is in the queue.

use std::cell::Cell;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::rc::Rc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustix::net::SocketFlags;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::role::{self, Counted, Local, Served};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// How long a worker that cannot accept waits: what it lacks (descriptors, memory) is not there at once.
const BACK_OFF: Duration = Duration::from_millis(50);

/// A listener for each of `count` workers, over which the system spreads connections.
///
/// # Errors
/// When the address is taken or not this machine's. An address that anybody else listens on is taken, also where
/// that listener would share it.
pub(crate) fn bind_all(address: SocketAddr, count: usize) -> io::Result<Vec<StdListener>> {
    drop(bind(address, false)?);
    (0..count)
        .map(|_| {
            let socket = bind(address, true)?;
            socket.listen(BACKLOG)?;
            Ok(socket.into())
        })
        .collect()
}

/// Listeners for each of `count` workers, shared by all where they are too few. No listener is left over, for what
/// waits in its queue has to be accepted; and no worker without one.
///
/// # Errors
/// When the system has no descriptor left.
pub(crate) fn share_out(given: Vec<StdListener>, count: usize) -> io::Result<Vec<Vec<StdListener>>> {
    let mut shares: Vec<Vec<StdListener>> = (0..count).map(|_| Vec::new()).collect();
    let copies: io::Result<Vec<_>> = (given.len()..count)
        .filter_map(|worker| given.get(worker % given.len()))
        .map(StdListener::try_clone)
        .collect();
    for (number, listener) in given.into_iter().chain(copies?).enumerate() {
        // Accepted connections inherit it.
        socket2::SockRef::from(&listener).set_tcp_nodelay(true)?;
        if let Some(share) = shares.get_mut(number % count) {
            share.push(listener);
        }
    }
    Ok(shares)
}

fn bind(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// A listener in a worker's event queue.
#[derive(Debug)]
pub(crate) struct Listener {
    io: AsyncFd<StdListener>,
    /// Whether one connection was accepted since the event queue last told of any.
    has_accepted: Cell<bool>,
}

impl Listener {
    /// Puts it into the event queue of the worker that this is called on.
    #[expect(
        deprecated,
        reason = "what replaces it is unsafe, as a type may lie about its descriptor; the standard library's does not"
    )]
    pub(crate) fn new(listener: StdListener) -> io::Result<Self> {
        Ok(Self {
            io: AsyncFd::with_interest(listener, Interest::READABLE)?,
            has_accepted: Cell::new(false),
        })
    }

    /// The next connection. Dropping the future loses none.
    async fn next(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let accept = |listener: &StdListener| {
            // A call that accepts nothing makes a socket and throws it away; a look costs a fraction of that.
            if self.has_accepted.replace(false) && !has_waiting(listener)? {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            accept_one(listener).inspect(|_| self.has_accepted.set(true))
        };
        let (io, peer) = self.io.async_io(Interest::READABLE, accept).await?;
        Ok((TcpStream::from_std(io)?, peer))
    }
}

fn has_waiting(listener: &StdListener) -> io::Result<bool> {
    let now = rustix::event::Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let mut look = [PollFd::new(listener, PollFlags::IN)];
    Ok(rustix::event::poll(&mut look, Some(&now))? > 0)
}

fn accept_one(listener: &StdListener) -> io::Result<(StdStream, SocketAddr)> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (io, peer) = rustix::net::acceptfrom_with(listener, flags)?;
    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
    Ok((io.into(), peer.ok_or(io::ErrorKind::ConnectionAborted)?))
}

/// Accepts connections, each served by a task of its own, until it is stopped. What is in the queue then is still
/// accepted.
pub(crate) async fn accept(
    listener: Listener,
    local: Rc<Local>,
    served: Rc<Served>,
    stop: CancellationToken,
) {
    let mut stopped = std::pin::pin!(stop.cancelled());
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stopped => break,
            accepted = listener.next() => accepted,
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
    if let Err(error) = empty(&listener.io.into_inner(), &local, &served) {
        tracing::warn!(%error, "cannot accept what is left in the queue of a listener");
    }
}

fn start(local: &Rc<Local>, served: &Rc<Served>, io: TcpStream, peer: SocketAddr) {
    let counted = Counted::new(Rc::clone(local), Rc::clone(served));
    // A panic ends its task, and with it the connection, but nothing else.
    tokio::task::spawn_local(role::serve(counted, io, peer));
}

/// Accepts until the queue is empty. Asks the system itself: the runtime may not have heard of the latest yet.
fn empty(listener: &StdListener, local: &Rc<Local>, served: &Rc<Served>) -> io::Result<()> {
    loop {
        match accept_one(listener) {
            Ok((io, peer)) => start(local, served, TcpStream::from_std(io)?, peer),
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
