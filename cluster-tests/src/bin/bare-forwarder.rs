//! The floor of the proxy bench: `bare-forwarder IP:PORT BACKEND` opens a connection to BACKEND for each client and
//! passes bytes both ways, on one thread. It reads none of them, so no HTTP proxy on epoll can take less.

use std::env;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;

use anyhow::Context;
use fleetbal_cluster_tests::Result;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// As much as fleetbal takes at once.
const BUFFER: usize = 64 << 10;
/// Events taken from the kernel at once.
const EVENTS: usize = 256;
/// Clients that wait to be accepted, as with the others.
const BACKLOG: i32 = 4096;
/// What tells the listener's events from those of pairs.
const LISTENER: u64 = u64::MAX;

/// One direction of a connection: what was read and could not be sent yet.
#[derive(Default)]
struct Way {
    unsent: Vec<u8>,
    sent: usize,
}

impl Way {
    /// Moves what can be moved now; whether there will be more.
    fn pass(&mut self, from: &TcpStream, to: &TcpStream, buffer: &mut [u8]) -> std::io::Result<bool> {
        if !self.flush(to)? {
            return Ok(true);
        }
        loop {
            let length = match { from }.read(buffer) {
                Ok(0) => return to.shutdown(Shutdown::Write).map(|()| false),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            };
            let sent = write(to, buffer.get(..length).unwrap_or_default())?;
            if sent < length {
                self.unsent
                    .extend_from_slice(buffer.get(sent..length).unwrap_or_default());
                return Ok(true);
            }
            // Less than there was room for: the socket is empty, and the next byte is an event.
            if length < buffer.len() {
                return Ok(true);
            }
        }
    }

    /// Whether all of it is gone.
    fn flush(&mut self, to: &TcpStream) -> std::io::Result<bool> {
        if self.unsent.is_empty() {
            return Ok(true);
        }
        self.sent += write(to, self.unsent.get(self.sent..).unwrap_or_default())?;
        if self.sent < self.unsent.len() {
            return Ok(false);
        }
        self.unsent.clear();
        self.sent = 0;
        Ok(true)
    }
}

fn write(mut to: &TcpStream, bytes: &[u8]) -> std::io::Result<usize> {
    match to.write(bytes) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        result => result,
    }
}

/// A client and its connection to the backend.
struct Pair {
    client: TcpStream,
    backend: TcpStream,
    up: Way,
    down: Way,
}

impl Pair {
    /// Goes on where `from_client` or the backend has news; whether the pair lives on.
    fn turn(&mut self, from_client: bool, event: EpollFlags, buffer: &mut [u8]) -> std::io::Result<bool> {
        let (here, there) = (&self.client, &self.backend);
        let mut open = true;
        if event.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR) {
            open &= if from_client {
                self.up.pass(here, there, buffer)?
            } else {
                self.down.pass(there, here, buffer)?
            };
        }
        // Room again for what could not be sent to this side; what waits behind it made its event long ago.
        let stuck = if from_client {
            !self.down.unsent.is_empty()
        } else {
            !self.up.unsent.is_empty()
        };
        if stuck && event.contains(EpollFlags::EPOLLOUT) {
            open &= if from_client {
                self.down.pass(there, here, buffer)?
            } else {
                self.up.pass(here, there, buffer)?
            };
        }
        Ok(open)
    }
}

/// All pairs, in their places; events name these.
#[derive(Default)]
struct Pairs {
    all: Vec<Option<Pair>>,
    free: Vec<usize>,
}

fn watch(epoll: &Epoll, socket: impl AsFd, what: EpollFlags, name: u64) -> Result {
    epoll
        .add(socket, EpollEvent::new(what, name))
        .context("epoll_ctl")
}

fn accept(epoll: &Epoll, client: TcpStream, backend: &str, pairs: &mut Pairs) -> Result {
    let backend = TcpStream::connect(backend).with_context(|| format!("connect to {backend}"))?;
    let place = pairs.free.pop().unwrap_or(pairs.all.len());
    let both = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
    for (socket, side) in [(&client, 0), (&backend, 1)] {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        watch(epoll, socket, both, place as u64 * 2 + side)?;
    }
    let pair = Some(Pair {
        client,
        backend,
        up: Way::default(),
        down: Way::default(),
    });
    match pairs.all.get_mut(place) {
        Some(free) => *free = pair,
        None => pairs.all.push(pair),
    }
    Ok(())
}

fn main() -> Result {
    let mut arguments = env::args().skip(1);
    let listen = arguments.next().context("no address to listen on")?;
    let backend = arguments.next().context("no backend")?;
    let listener = TcpListener::bind(&listen).with_context(|| format!("listen on {listen}"))?;
    rustix::net::listen(&listener, BACKLOG)?;
    let epoll = Epoll::new(EpollCreateFlags::empty()).context("epoll_create")?;
    watch(&epoll, &listener, EpollFlags::EPOLLIN, LISTENER)?;
    let (mut pairs, mut buffer) = (Pairs::default(), vec![0; BUFFER]);
    let mut events = [EpollEvent::empty(); EVENTS];
    loop {
        let count = epoll
            .wait(&mut events, EpollTimeout::NONE)
            .context("epoll_wait")?;
        for event in events.iter().take(count) {
            if event.data() == LISTENER {
                let client = listener.accept().context("accept")?.0;
                if let Err(error) = accept(&epoll, client, &backend, &mut pairs) {
                    eprintln!("{error:#}");
                }
                continue;
            }
            let place = usize::try_from(event.data() / 2)?;
            let Some(seat) = pairs.all.get_mut(place) else {
                continue;
            };
            let Some(pair) = seat else {
                continue;
            };
            // An error on either side ends both, as does the end of one: the bench's connections end when it does.
            if !pair
                .turn(event.data() % 2 == 0, event.events(), &mut buffer)
                .unwrap_or(false)
            {
                *seat = None;
                pairs.free.push(place);
            }
        }
    }
}
