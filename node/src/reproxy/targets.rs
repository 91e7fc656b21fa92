//! Connections to the hosts of `X-REPROXY-URL`: by the text `host:port`, outside of every pool, shared by all workers.
//!
//! As in Perlbal (reference, section 5.4): one connection at a time is being opened to a target, whoever comes in the
//! meantime waits in line, and idle connections are used again only for a few seconds. Sockets are handed from worker
//! to worker as the system knows them, so a connection that comes free serves whoever waited longest.

mod table;

use std::io;
use std::net::TcpStream as StdStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::url::Target;
use table::{Granted, Table, Told, Waiter};
pub use table::{Stage, TargetConnection, TargetFigures};

/// How long a target may take to be found and to accept a connection: enough for one lost SYN and a slow network.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long an idle connection is good for (Perlbal's value).
pub(super) const IDLE: Duration = Duration::from_secs(5);

/// All connections to targets, of a whole node.
#[derive(Debug, Default)]
pub struct Targets {
    table: Mutex<Table>,
}

/// Why there is no connection to a target.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The network, the name service or the target said no.
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    /// Nothing was said in time.
    #[error("no connection in time")]
    TimedOut,
    /// Somebody else tried while this request waited.
    #[error("somebody else tried in vain")]
    Unreachable,
}

/// A connection to a target, for one request at a time. Dropping it closes the connection.
#[derive(Debug)]
pub struct Lease {
    /// The connection.
    pub io: TcpStream,
    /// Whether it has served another request already, and may therefore have been closed in between.
    pub is_used: bool,
    place: Place,
}

/// A connection's place in the table, for as long as it lives.
#[derive(Debug)]
struct Place {
    targets: Arc<Targets>,
    target: Target,
    /// Its number; none once the connection is the table's again.
    id: Option<u64>,
}

/// What somebody who waited is told.
#[derive(Debug)]
enum Grant {
    /// To open a connection.
    Open(Place),
    /// To use this one.
    Kept(Place, StdStream),
    /// That there will be none.
    Unreachable,
}

impl Targets {
    /// A connection to a target, for one request: an idle one, a new one, or, where `limit` are open, the
    /// next that comes free. `client` is the client's descriptor, to be shown. Dropping the future gives up the
    /// place in line.
    ///
    /// # Errors
    /// When the target cannot be reached.
    pub async fn lease(
        self: &Arc<Self>,
        target: &Target,
        limit: Option<usize>,
        client: i32,
    ) -> Result<Lease, TargetError> {
        let (sender, granted) = oneshot::channel();
        let waiter = Waiter { sender, client };
        let told = self.table().ask(target, limit, waiter, Instant::now());
        self.tell(target, told);
        match granted.await {
            Ok(Grant::Kept(place, io)) => Lease::kept(place, io),
            Ok(Grant::Open(place)) => place.open().await,
            Ok(Grant::Unreachable) | Err(_) => Err(TargetError::Unreachable),
        }
    }

    /// Closes idle connections whose time is over, and forgets who left the line. To be called now and then.
    pub fn sweep(&self) {
        let closed = self.table().sweep(Instant::now());
        drop(closed);
    }

    /// What there is now.
    pub fn figures(&self) -> Vec<TargetFigures> {
        self.table().figures()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(self: &Arc<Self>, target: &Target, id: u64) -> Place {
        Place {
            targets: Arc::clone(self),
            target: target.clone(),
            id: Some(id),
        }
    }

    /// Tells those who waited. The table must not be locked: whoever left in between gives its place back at once.
    fn tell(self: &Arc<Self>, target: &Target, told: Vec<Told>) {
        for (sender, granted) in told {
            let grant = match granted {
                Granted::Open(id) => Grant::Open(self.place(target, id)),
                Granted::Kept(id, io) => Grant::Kept(self.place(target, id), io),
                Granted::Unreachable => Grant::Unreachable,
            };
            drop(sender.send(grant));
        }
    }
}

impl Place {
    async fn open(self) -> Result<Lease, TargetError> {
        let connecting = TcpStream::connect((self.target.host.as_str(), self.target.port));
        let opened = match timeout(CONNECT_TIMEOUT, connecting).await {
            Err(_) => Err(TargetError::TimedOut),
            Ok(opened) => opened.map_err(TargetError::Connect),
        };
        match opened {
            Ok(io) => {
                // Without it a request waits a little longer; nothing else.
                io.set_nodelay(true).unwrap_or_default();
                let ends = io.local_addr().ok().zip(io.peer_addr().ok());
                self.tell(|table, target, id| table.opened(target, id, ends));
                Ok(Lease {
                    io,
                    is_used: false,
                    place: self,
                })
            }
            Err(error) => {
                self.tell(Table::failed);
                Err(error)
            }
        }
    }
}

impl Place {
    fn tell(&self, change: impl FnOnce(&mut Table, &Target, u64) -> Vec<Told>) {
        if let Some(id) = self.id {
            let told = change(&mut self.targets.table(), &self.target, id);
            self.targets.tell(&self.target, told);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.tell(Table::closed);
    }
}

impl Lease {
    fn kept(place: Place, io: StdStream) -> Result<Self, TargetError> {
        Ok(Self {
            io: TcpStream::from_std(io).map_err(TargetError::Connect)?,
            is_used: true,
            place,
        })
    }

    /// The answer has begun.
    pub fn is_answered(&self) {
        self.place.tell(|table, target, id| {
            table.enter(target, id, Stage::Receiving);
            Vec::new()
        });
    }

    /// The request is through: the connection goes to whoever waited longest, or is idle for so long at most.
    pub fn release(self, idle_for: Duration) {
        let Self { io, mut place, .. } = self;
        // What cannot be kept is closed.
        if let Ok(io) = io.into_std() {
            let until = Instant::now() + idle_for.min(IDLE);
            place.tell(|table, target, id| table.release(target, id, io, until));
            place.id = None;
        }
    }
}

#[cfg(test)]
#[path = "targets_tests.rs"]
mod tests;
