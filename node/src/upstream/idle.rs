//! Idle connections of one service on one worker: the hottest is used first.

use std::cell::RefCell;
use std::sync::Arc;
use std::task::{Context, Waker};

use tokio::net::TcpStream;

use super::Lease;
use crate::snapshot::BackendState;

/// Connections that wait for a request, the one used last at the end.
#[derive(Debug, Default)]
pub struct IdleConnections(RefCell<Vec<Lease>>);

impl IdleConnections {
    /// The hottest one that the backend has not closed, whichever backend it is.
    #[inline]
    pub fn take_hottest(&self) -> Option<Lease> {
        let mut idle = self.0.borrow_mut();
        while let Some(lease) = idle.pop() {
            if is_quiet(&lease.io) {
                return Some(lease);
            }
        }
        None
    }

    /// The hottest one of a backend that the backend has not closed.
    pub fn take_of(&self, backend: &Arc<BackendState>) -> Option<Lease> {
        let mut idle = self.0.borrow_mut();
        while let Some(at) = idle
            .iter()
            .rposition(|lease| Arc::ptr_eq(lease.backend(), backend))
        {
            let lease = idle.remove(at);
            if is_quiet(&lease.io) {
                return Some(lease);
            }
        }
        None
    }

    /// Keeps a connection, unless there are `limit` already: then it is closed.
    #[inline]
    pub fn put(&self, lease: Lease, limit: usize) {
        let mut idle = self.0.borrow_mut();
        if idle.len() < limit {
            idle.push(lease);
        }
    }

    /// Closes those that their backend has closed, that sent what nobody asked for, or that are not to be kept.
    pub fn sweep(&self, keep: impl Fn(&Arc<BackendState>) -> bool) {
        self.0
            .borrow_mut()
            .retain(|lease| is_quiet(&lease.io) && keep(lease.backend()));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Whether nothing was heard on a connection since the last read. Asks the runtime, not the system.
#[inline]
fn is_quiet(io: &TcpStream) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    io.poll_read_ready(&mut context).is_pending()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fleetbal_raft::model::{BackendAddress, Batch, Change, FleetConfig, PoolName};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::super::connect;
    use super::*;
    use crate::snapshot::{NodeVariables, Publisher};

    async fn backend() -> (TcpListener, Arc<BackendState>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let pool = PoolName::parse("p").unwrap();
        let changes = vec![
            Change::CreatePool(pool.clone()),
            Change::PoolAdd {
                pool,
                backend: BackendAddress::parse(&address).unwrap(),
                weight: 1,
            },
        ];
        let batch = Batch {
            changes,
            if_version: None,
        };
        let (mut publisher, view) = Publisher::new(NodeVariables::default());
        publisher.publish(&Arc::new(FleetConfig::default().with_batch(&batch).unwrap()));
        let state = Arc::clone(&view.load().pool("p").unwrap().backends()[0]);
        (listener, state)
    }

    #[tokio::test]
    async fn the_hottest_first_and_no_closed_one() {
        let (listener, state) = backend().await;
        let idle = IdleConnections::default();
        let mut ends = Vec::new();
        for _ in 0..3 {
            let lease = connect(&state, None).await.unwrap();
            ends.push((lease.io.local_addr().unwrap(), listener.accept().await.unwrap().0));
            idle.put(lease, 3);
        }
        idle.put(connect(&state, None).await.unwrap(), 3);
        assert_eq!(
            (idle.len(), state.open_connections()),
            (3, 3),
            "no more than the limit"
        );
        let (hottest, mut end) = ends.pop().unwrap();
        let mut lease = idle.take_hottest().unwrap();
        assert_eq!(lease.io.local_addr().unwrap(), hottest);
        // It is still good after something was read from it.
        end.write_all(b"x").await.unwrap();
        assert_eq!(lease.io.read(&mut [0; 8]).await.unwrap(), 1);
        idle.put(lease, 3);
        drop(end);
        let (next, _end) = ends.pop().unwrap();
        let mut taken = None;
        for _ in 0..1000 {
            // The runtime hears of the end when it next looks.
            tokio::time::sleep(Duration::from_millis(1)).await;
            idle.sweep(|_| true);
            if idle.len() == 2 {
                taken = idle.take_of(&state);
                break;
            }
        }
        assert_eq!(taken.unwrap().io.local_addr().unwrap(), next);
        idle.sweep(|_| false);
        assert!(idle.is_empty());
        assert_eq!(state.open_connections(), 0);
    }
}
