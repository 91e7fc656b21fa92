//! What connections to backends one service has on this node, counted over all workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The counts. Workers write to cache lines of their own; what they share is written to seldom.
#[derive(Debug)]
pub struct Connections {
    open: AtomicUsize,
    /// Places for idle connections that workers have taken, whether a connection is in them or not.
    places: AtomicUsize,
    idle: Box<[Idle]>,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Idle(AtomicUsize);

impl Connections {
    /// None yet, of so many workers.
    pub fn new(workers: usize) -> Self {
        Self {
            open: AtomicUsize::new(0),
            places: AtomicUsize::new(0),
            idle: (0..workers).map(|_| Idle::default()).collect(),
        }
    }

    /// How many are open, in use or idle.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// How many are idle.
    pub fn idle(&self) -> usize {
        self.idle.iter().map(|idle| idle.0.load(Ordering::SeqCst)).sum()
    }

    /// How many are idle on one worker.
    pub fn idle_of(&self, worker: usize) -> usize {
        self.idle
            .get(worker)
            .map_or(0, |idle| idle.0.load(Ordering::SeqCst))
    }

    /// Whether there are other workers that could have an idle one.
    #[inline]
    pub fn are_shared(&self) -> bool {
        self.idle.len() > 1
    }

    /// Tells the others how many are idle on a worker. What the worker reads next is newer than that.
    #[inline]
    pub(super) fn publish(&self, worker: usize, count: usize) {
        if let Some(idle) = self.idle.get(worker) {
            let order = if self.are_shared() {
                Ordering::SeqCst
            } else {
                Ordering::Relaxed
            };
            idle.0.store(count, order);
        }
    }

    /// Takes a place for an idle connection, if fewer than `limit` are taken.
    pub(super) fn take_place(&self, limit: usize) -> bool {
        let taken = self
            .places
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |places| {
                (places < limit).then_some(places + 1)
            });
        taken.is_ok()
    }

    /// Gives places back.
    pub(super) fn give_places(&self, count: usize) {
        self.places.fetch_sub(count, Ordering::Relaxed);
    }

    /// How many places too many are taken.
    pub(super) fn places_over(&self, limit: usize) -> usize {
        self.places.load(Ordering::Relaxed).saturating_sub(limit)
    }

    /// Counts one as open, until the result is dropped.
    pub(super) fn count(self: &Arc<Self>) -> Counted {
        self.open.fetch_add(1, Ordering::SeqCst);
        Counted(Arc::clone(self))
    }
}

/// An open connection, counted as such.
#[derive(Debug)]
pub(super) struct Counted(Arc<Connections>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}
