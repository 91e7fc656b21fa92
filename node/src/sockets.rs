//! The listening sockets that this process was given, in place of those it would bind itself.
//!
//! A service manager opens them before the process runs, and keeps them open whatever becomes of it; which service one
//! is for is told by its address alone. Nothing here knows what a socket is used for.

use std::collections::BTreeSet;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use listenfd::ListenFd;

/// What comes in at a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Connections.
    Stream,
    /// Datagrams.
    Datagram,
}

/// What this process was given. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Sockets(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    given: Vec<Given>,
    /// What somebody asked for.
    used: BTreeSet<(Kind, SocketAddr)>,
}

#[derive(Debug)]
struct Given {
    kind: Kind,
    address: SocketAddr,
    socket: OwnedFd,
}

impl Sockets {
    /// Takes what a service manager passed to this process (`LISTEN_FDS`). To be called once, before any thread runs.
    ///
    /// # Errors
    /// Where one of them is no socket of an IP address, in words for whoever wrote the unit.
    pub fn from_service_manager() -> Result<Self, String> {
        let mut passed = ListenFd::from_env();
        let sockets = Self::default();
        for index in 0..passed.len() {
            let given = take(&mut passed, index).map_err(|error| {
                format!("LISTEN_FDS: socket {index} is neither ListenStream nor ListenDatagram of an ip:port: {error}")
            })?;
            sockets.held().given.extend(given);
        }
        Ok(sockets)
    }

    /// Whether there is one for this address.
    pub fn has(&self, kind: Kind, address: SocketAddr) -> bool {
        let held = self.held();
        held.given.iter().any(|given| given.is_for(kind, address))
    }

    /// All listeners for this address; none where they have to be bound.
    ///
    /// # Errors
    /// When the system has no descriptor left.
    pub fn streams(&self, address: SocketAddr) -> io::Result<Vec<TcpListener>> {
        let all = self.all(Kind::Stream, address)?;
        all.into_iter()
            .map(TcpListener::from)
            .map(|listener| listener.set_nonblocking(true).map(|()| listener))
            .collect()
    }

    /// A socket for the datagrams of this address; none where it has to be bound.
    ///
    /// # Errors
    /// When the system has no descriptor left.
    pub fn datagrams(&self, address: SocketAddr) -> io::Result<Option<UdpSocket>> {
        let socket = self.all(Kind::Datagram, address)?.pop().map(UdpSocket::from);
        if let Some(socket) = &socket {
            socket.set_nonblocking(true)?;
        }
        Ok(socket)
    }

    /// Where this process was given a socket that nobody asked for yet.
    pub fn unused(&self) -> Vec<SocketAddr> {
        let held = self.held();
        let unused = held
            .given
            .iter()
            .filter(|given| !held.used.contains(&(given.kind, given.address)));
        unused.map(|given| given.address).collect()
    }

    /// Copies of the sockets: the service manager's own stay, so that a service can be disabled and enabled again.
    fn all(&self, kind: Kind, address: SocketAddr) -> io::Result<Vec<OwnedFd>> {
        let mut held = self.held();
        held.used.insert((kind, address));
        let fitting = held.given.iter().filter(|given| given.is_for(kind, address));
        fitting.map(|given| given.socket.try_clone()).collect()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Given {
    fn is_for(&self, kind: Kind, address: SocketAddr) -> bool {
        self.kind == kind && self.address == address
    }
}

/// A listener, else a socket for datagrams.
fn take(passed: &mut ListenFd, index: usize) -> io::Result<Option<Given>> {
    if let Ok(listener) = passed.take_tcp_listener(index) {
        return given(Kind::Stream, listener, TcpListener::local_addr);
    }
    given(
        Kind::Datagram,
        passed.take_udp_socket(index)?,
        UdpSocket::local_addr,
    )
}

fn given<S: Into<OwnedFd>>(
    kind: Kind,
    socket: Option<S>,
    address: impl FnOnce(&S) -> io::Result<SocketAddr>,
) -> io::Result<Option<Given>> {
    let Some(socket) = socket else { return Ok(None) };
    let address = address(&socket)?;
    Ok(Some(Given {
        kind,
        address,
        socket: socket.into(),
    }))
}
