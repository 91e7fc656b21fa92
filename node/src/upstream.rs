//! Connections to backends. Which backend is not decided here.

mod connect;
mod idle;
mod learning;
mod verify;

use std::sync::Arc;

use tokio::net::TcpStream;

use crate::snapshot::{BackendState, OpenConnection};

pub use connect::{ConnectError, connect};
pub use idle::IdleConnections;

/// A connection to a backend, for one request at a time. Dropping it closes the connection.
#[derive(Debug)]
pub struct Lease {
    /// The connection.
    pub io: TcpStream,
    open: OpenConnection,
}

impl Lease {
    fn new(io: TcpStream, backend: &Arc<BackendState>) -> Self {
        Self {
            io,
            open: backend.count_connection(),
        }
    }

    /// The backend that it leads to.
    pub fn backend(&self) -> &Arc<BackendState> {
        self.open.backend()
    }
}
