//! The listening sockets of this process: those that it was given, in place of those that it would bind itself, and
//! those that it has open, to be given to its successor.
//!
//! A service manager opens them before the process runs, and keeps them open whatever becomes of it; the process whose
//! place this one takes passes all that it has. Which service one is for is told by its address alone. Nothing here
//! knows what a socket is used for.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
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

/// What this process was given, and has open. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Sockets(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    given: Vec<Passed>,
    /// What somebody asked for.
    used: BTreeSet<(Kind, SocketAddr)>,
    /// What is listened on, and is not the service manager's.
    open: BTreeMap<u64, Passed>,
    next: u64,
}

/// Who opened a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A service manager: it stays open, so that a service can be disabled and enabled again.
    ServiceManager,
    /// A process of this node: it is whose service asks for it, and closed where none does.
    Node,
}

/// A socket that goes from one process to another.
#[derive(Debug)]
pub struct Passed {
    /// What comes in there.
    pub kind: Kind,
    /// Where it is bound.
    pub address: SocketAddr,
    /// Who opened it.
    pub origin: Origin,
    /// The socket.
    pub socket: OwnedFd,
}

/// Sockets that are open, for as long as whoever has them listens.
#[derive(Debug, Default)]
pub struct Open {
    sockets: Sockets,
    numbers: Vec<u64>,
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut held = self.sockets.held();
        for number in &self.numbers {
            held.open.remove(number);
        }
    }
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

    /// Listeners for this address: all that were given, else those that `bind` makes; and what counts them as open.
    ///
    /// # Errors
    /// Those of `bind`, or when the system has no descriptor left.
    pub fn streams(
        &self,
        address: SocketAddr,
        bind: impl FnOnce() -> io::Result<Vec<TcpListener>>,
    ) -> io::Result<(Vec<TcpListener>, Open)> {
        self.listen(Kind::Stream, address, bind, |listener| {
            listener.set_nonblocking(true)
        })
    }

    /// The same for datagrams, of which one socket is enough.
    ///
    /// # Errors
    /// As [`Sockets::streams`].
    pub fn datagrams(
        &self,
        address: SocketAddr,
        bind: impl FnOnce() -> io::Result<UdpSocket>,
    ) -> io::Result<(UdpSocket, Open)> {
        let bind = || bind().map(|socket| vec![socket]);
        let (mut sockets, open) = self.listen(Kind::Datagram, address, bind, |socket| {
            socket.set_nonblocking(true)
        })?;
        let socket = sockets.pop().ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok((socket, open))
    }

    fn listen<S: From<OwnedFd> + AsFd>(
        &self,
        kind: Kind,
        address: SocketAddr,
        bind: impl FnOnce() -> io::Result<Vec<S>>,
        prepare: impl Fn(&S) -> io::Result<()>,
    ) -> io::Result<(Vec<S>, Open)> {
        let (given, origin) = self.given(kind, address)?;
        let sockets: Vec<S> = if given.is_empty() {
            bind()?
        } else {
            given.into_iter().map(S::from).collect()
        };
        sockets.iter().try_for_each(prepare)?;
        let mut open = Open::default();
        if origin == Origin::Node {
            open = self.count(kind, address, &sockets)?;
        }
        Ok((sockets, open))
    }

    /// What was given for this address, and by whom: copies of the service manager's, or else what a process of this
    /// node passed, which then is nobody else's.
    fn given(&self, kind: Kind, address: SocketAddr) -> io::Result<(Vec<OwnedFd>, Origin)> {
        let mut held = self.held();
        held.used.insert((kind, address));
        let fitting = held.given.iter().filter(|given| given.is_for(kind, address));
        let kept = fitting.filter(|given| given.origin == Origin::ServiceManager);
        let kept = kept
            .map(|given| given.socket.try_clone())
            .collect::<io::Result<Vec<_>>>()?;
        if !kept.is_empty() {
            return Ok((kept, Origin::ServiceManager));
        }
        let passed = held.given.extract_if(.., |given| given.is_for(kind, address));
        Ok((passed.map(|given| given.socket).collect(), Origin::Node))
    }

    fn count<S: AsFd>(&self, kind: Kind, address: SocketAddr, sockets: &[S]) -> io::Result<Open> {
        let copies = sockets.iter().map(|socket| socket.as_fd().try_clone_to_owned());
        let copies = copies.collect::<io::Result<Vec<_>>>()?;
        let mut held = self.held();
        let mut numbers = Vec::new();
        for socket in copies {
            let number = held.next;
            held.next += 1;
            numbers.push(number);
            let origin = Origin::Node;
            held.open.insert(
                number,
                Passed {
                    kind,
                    address,
                    origin,
                    socket,
                },
            );
        }
        Ok(Open {
            sockets: self.clone(),
            numbers,
        })
    }

    /// Copies of all that was given and is open, for the process that takes the place of this one.
    ///
    /// # Errors
    /// When the system has no descriptor left.
    pub fn copies(&self) -> io::Result<Vec<Passed>> {
        let held = self.held();
        held.given
            .iter()
            .chain(held.open.values())
            .map(Passed::copy)
            .collect()
    }

    /// Takes what a process of this node passed.
    pub fn take(&self, passed: impl IntoIterator<Item = Passed>) {
        self.held().given.extend(passed);
    }

    /// Closes what a process of this node passed and nobody asked for.
    pub fn close_unclaimed(&self) {
        self.held()
            .given
            .retain(|given| given.origin == Origin::ServiceManager);
    }

    /// Where a service manager gave this process a socket that nobody asked for yet.
    pub fn unused(&self) -> Vec<SocketAddr> {
        let held = self.held();
        let kept = held
            .given
            .iter()
            .filter(|given| given.origin == Origin::ServiceManager);
        let unused = kept.filter(|given| !held.used.contains(&(given.kind, given.address)));
        unused.map(|given| given.address).collect()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Passed {
    fn is_for(&self, kind: Kind, address: SocketAddr) -> bool {
        self.kind == kind && self.address == address
    }

    fn copy(&self) -> io::Result<Self> {
        Ok(Self {
            socket: self.socket.try_clone()?,
            ..*self
        })
    }
}

/// A listener, else a socket for datagrams.
fn take(passed: &mut ListenFd, index: usize) -> io::Result<Option<Passed>> {
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
) -> io::Result<Option<Passed>> {
    let Some(socket) = socket else { return Ok(None) };
    let address = address(&socket)?;
    Ok(Some(Passed {
        kind,
        address,
        origin: Origin::ServiceManager,
        socket: socket.into(),
    }))
}
