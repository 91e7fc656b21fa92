//! Idle connections of one service on one worker: the hottest is used first.

use std::cell::RefCell;
use std::sync::Arc;
use std::task::{Context, Waker};

use tokio::net::TcpStream;

use super::{Connections, Lease, Used};
use crate::snapshot::BackendState;

/// Connections that wait for a request. What limits their number is the node's, so each that was used needs a place;
/// those that were opened ahead need none.
#[derive(Debug)]
pub struct IdleConnections {
    worker: usize,
    shared: Arc<Connections>,
    inner: RefCell<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// The one used last at the end, those that were never used at the beginning.
    leases: Vec<Lease>,
    /// How many of them were used.
    used: usize,
    /// How many places this worker has.
    places: usize,
}

impl IdleConnections {
    /// None yet, on that worker.
    pub fn new(worker: usize, shared: Arc<Connections>) -> Self {
        Self {
            worker,
            shared,
            inner: RefCell::default(),
        }
    }

    /// The hottest one that is still good at this tick, whichever backend it leads to.
    #[inline]
    pub fn take_hottest(&self, tick: u64) -> Option<Lease> {
        let inner = &mut *self.inner.borrow_mut();
        let mut taken = None;
        while taken.is_none() {
            let Some(lease) = inner.leases.pop() else { break };
            inner.used -= usize::from(lease.uses() > 0);
            taken = Some(lease).filter(|lease| is_good(lease, tick));
        }
        self.shared.publish(self.worker, inner.leases.len());
        taken
    }

    /// The hottest one of a backend that is still good at this tick.
    pub fn take_of(&self, backend: &Arc<BackendState>, tick: u64) -> Option<Lease> {
        self.take_where(tick, |lease| Arc::ptr_eq(lease.backend(), backend))
    }

    /// The hottest good one that leads where somebody wants to go.
    pub fn take_for(&self, tick: u64, is_wanted: impl Fn(&Arc<BackendState>) -> bool) -> Option<Lease> {
        self.take_where(tick, |lease| is_wanted(lease.backend()))
    }

    fn take_where(&self, tick: u64, is_wanted: impl Fn(&Lease) -> bool) -> Option<Lease> {
        let inner = &mut *self.inner.borrow_mut();
        let mut taken = None;
        while taken.is_none() {
            let Some(at) = inner.leases.iter().rposition(&is_wanted) else {
                break;
            };
            let lease = inner.leases.remove(at);
            inner.used -= usize::from(lease.uses() > 0);
            taken = Some(lease).filter(|lease| is_good(lease, tick));
        }
        self.shared.publish(self.worker, inner.leases.len());
        taken
    }

    /// Keeps a connection that was used, unless the node keeps `limit` already: then it is closed. Others read that
    /// it is there before this worker reads anything else.
    #[inline]
    pub fn put(&self, lease: Lease, limit: usize) {
        let inner = &mut *self.inner.borrow_mut();
        if inner.used == inner.places {
            if !self.shared.take_place(limit) {
                return;
            }
            inner.places += 1;
        }
        inner.used += 1;
        inner.leases.push(lease);
        self.shared.publish(self.worker, inner.leases.len());
    }

    /// Keeps one that was opened ahead.
    pub fn put_unused(&self, lease: Lease) {
        let inner = &mut *self.inner.borrow_mut();
        inner.leases.insert(0, lease);
        self.shared.publish(self.worker, inner.leases.len());
    }

    /// Closes those that are not good any more, or not to be kept, and gives up places that nobody needs or that are
    /// too many.
    pub fn sweep(&self, tick: u64, limit: usize, keep: impl Fn(&Arc<BackendState>) -> bool) {
        let inner = &mut *self.inner.borrow_mut();
        inner
            .leases
            .retain(|lease| is_good(lease, tick) && keep(lease.backend()));
        inner.used = inner.leases.iter().filter(|lease| lease.uses() > 0).count();
        let mut given_up = inner.places - inner.used;
        let over = self.shared.places_over(limit).saturating_sub(given_up);
        for _ in 0..over.min(inner.used) {
            // The coldest of those that were used.
            if let Some(at) = inner.leases.iter().position(|lease| lease.uses() > 0) {
                inner.leases.remove(at);
                inner.used -= 1;
                given_up += 1;
            }
        }
        inner.places -= given_up;
        self.shared.give_places(given_up);
        self.shared.publish(self.worker, inner.leases.len());
    }

    /// All of them, to be told of.
    pub fn all(&self) -> Vec<Used> {
        self.inner.borrow().leases.iter().map(Lease::used).collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.inner.borrow().leases.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Drop for IdleConnections {
    fn drop(&mut self) {
        self.shared.give_places(self.inner.get_mut().places);
        self.shared.publish(self.worker, 0);
    }
}

/// Whether the backend is not out, and has not said or closed anything on a connection since the last read, nor is about
/// to. Asks the runtime, not the system.
#[inline]
fn is_good(lease: &Lease, tick: u64) -> bool {
    lease.state.good_until > tick && !lease.backend().is_out() && is_quiet(&lease.io)
}

#[inline]
fn is_quiet(io: &TcpStream) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    io.poll_read_ready(&mut context).is_pending()
}

#[cfg(test)]
#[path = "idle_tests.rs"]
mod tests;
