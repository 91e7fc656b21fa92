//! Connections to backends. Which backend is not decided here, nor who waits for one.

mod connect;
mod connections;
mod idle;
mod learning;
mod verify;

use std::io;
use std::net::TcpStream as StdStream;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Instant;

use fleetbal_raft::model::BackendAddress;
use tokio::net::TcpStream;

use crate::snapshot::{BackendState, OpenConnection};

pub use connect::{ConnectError, Stage, connect};
pub use connections::Connections;
pub use idle::IdleConnections;
pub use verify::Verifier;

/// A connection to a backend, for one request at a time. Dropping it closes the connection.
#[derive(Debug)]
pub struct Lease {
    /// The connection.
    pub io: TcpStream,
    state: State,
}

/// A connection to a backend as it is told of.
#[derive(Debug, Clone, Copy)]
pub struct Used {
    /// The backend.
    pub address: BackendAddress,
    /// Its descriptor.
    pub descriptor: i32,
    /// This node's end.
    pub local_port: u16,
    /// Requests that it served before.
    pub uses: u64,
    /// When it was opened.
    pub since: Instant,
}

/// All of a connection but its socket.
#[derive(Debug)]
struct State {
    open: OpenConnection,
    _counted: connections::Counted,
    since: Instant,
    local_port: u16,
    /// Requests that it was kept after.
    uses: u64,
    /// Whether the backend has said anything on it.
    is_proven: bool,
    /// The tick of the worker's clock from which on it is not used any more.
    good_until: u64,
}

/// A connection on its way to another worker.
#[derive(Debug)]
pub struct Detached {
    io: StdStream,
    state: State,
}

impl Lease {
    fn new(io: TcpStream, backend: &Arc<BackendState>, connections: &Arc<Connections>) -> Self {
        let local_port = io.local_addr().map_or(0, |address| address.port());
        Self {
            io,
            state: State {
                since: Instant::now(),
                local_port,
                open: backend.count_connection(),
                _counted: connections.count(),
                uses: 0,
                is_proven: false,
                good_until: u64::MAX,
            },
        }
    }

    /// The backend that it leads to.
    pub fn backend(&self) -> &Arc<BackendState> {
        self.state.open.backend()
    }

    /// What there is to tell of it.
    #[inline]
    pub fn used(&self) -> Used {
        Used {
            address: self.backend().address(),
            descriptor: self.io.as_raw_fd(),
            local_port: self.state.local_port,
            uses: self.state.uses,
            since: self.state.since,
        }
    }

    /// Counts a request that it served.
    #[inline]
    pub fn count_use(&mut self) {
        self.state.uses += 1;
        if !self.state.is_proven {
            self.state.is_proven = true;
            self.state.good_until = u64::MAX;
        }
    }

    /// How many requests it served.
    #[inline]
    pub fn uses(&self) -> u64 {
        self.state.uses
    }

    /// It is not to be used from this tick of the worker's clock on.
    #[inline]
    pub fn use_before(&mut self, tick: u64) {
        self.state.good_until = tick;
    }

    /// It is not to be used from this tick on, if its backend has never said anything on it.
    pub fn expire_unproven(&mut self, tick: u64) {
        if !self.state.is_proven {
            self.state.good_until = tick;
        }
    }

    /// Takes it from this worker's event queue, so that another one can serve it.
    ///
    /// # Errors
    /// The system's; the connection is closed then.
    pub fn detach(self) -> io::Result<Detached> {
        Ok(Detached {
            io: self.io.into_std()?,
            state: self.state,
        })
    }
}

impl Detached {
    /// Puts it into this worker's event queue.
    ///
    /// # Errors
    /// The system's; the connection is closed then.
    pub fn attach(self) -> io::Result<Lease> {
        Ok(Lease {
            io: TcpStream::from_std(self.io)?,
            state: self.state,
        })
    }
}
