//! Requests of one service that wait for a connection, on all workers of the node, in the order in which they get one:
//! high priority first, then normal, then low; within each, whoever came first (Perlbal, reference section 4.7).
//!
//! There is a lock, but only those take it who have to wait anyway, and those who have a connection to give while
//! somebody waits. Whether anybody does is one atomic. What is opened for those who wait is in [`super::opening`].

mod all;
mod lines;
mod openings;

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use fleetbal_raft::model::ServiceName;
use rand::Rng;
use tokio::sync::oneshot;

use crate::snapshot::{BackendState, QueueSettings};
use crate::upstream::{Connections, Detached, Lease};
pub use all::Queues;
pub use lines::{Class, Length};
use lines::{Lines, Waiter};
pub(super) use openings::Demand;
pub use openings::Opening;
use openings::Openings;

/// What of one service is shared by all workers of a node.
#[derive(Debug)]
pub struct Queue {
    service: ServiceName,
    connections: Arc<Connections>,
    /// How many wait.
    waiting: AtomicUsize,
    /// By worker: whether it was told that somebody waits, and has not looked yet.
    told: Box<[AtomicBool]>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    /// Those whom any backend will do.
    any: Lines,
    /// Those who want one backend, by its key.
    of: BTreeMap<usize, (Arc<BackendState>, Lines)>,
    openings: Openings,
}

/// What a waiting request gets.
#[derive(Debug)]
pub(super) enum Answer {
    /// A connection.
    Connection(Passed),
    /// The news that nobody is there to connect to.
    Nobody,
}

/// A connection on its way to the request that gets it.
#[derive(Debug)]
pub(super) enum Passed {
    /// Within a worker.
    Within(Lease),
    /// From one worker to another.
    Across(Detached),
}

impl Passed {
    pub(super) fn take(self) -> io::Result<Lease> {
        match self {
            Self::Within(lease) => Ok(lease),
            Self::Across(detached) => detached.attach(),
        }
    }
}

/// There are as many as may wait.
#[derive(Debug)]
pub(super) struct Full;

/// A place in the queue. Dropping it gives it up.
#[derive(Debug)]
pub(super) struct Ticket {
    queue: Arc<Queue>,
    place: Place,
    answer: oneshot::Receiver<Answer>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    id: u64,
    class: Class,
    /// The key of the backend that is wanted.
    of: Option<usize>,
}

/// Tells one backend from another, also from one that had its address before.
fn key(backend: &Arc<BackendState>) -> usize {
    Arc::as_ptr(backend).addr()
}

impl Queue {
    /// An empty one, of so many workers.
    fn new(service: ServiceName, workers: usize) -> Self {
        Self {
            service,
            connections: Arc::new(Connections::new(workers)),
            waiting: AtomicUsize::new(0),
            told: (0..workers).map(|_| AtomicBool::default()).collect(),
            inner: Mutex::default(),
        }
    }

    /// Whose it is.
    pub fn service(&self) -> &ServiceName {
        &self.service
    }

    /// The service's connections to backends.
    pub fn connections(&self) -> &Arc<Connections> {
        &self.connections
    }

    /// How many wait.
    #[inline]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// How many wait in each class, and for how long.
    pub fn lengths(&self, now: Instant) -> [Length; 3] {
        let inner = self.lock();
        let all = || std::iter::once(&inner.any).chain(inner.of.values().map(|(_, lines)| lines));
        Class::ALL.map(|class| all().fold(Length::default(), |sum, lines| sum.with(lines.length(class, now))))
    }

    /// The connections that are being opened.
    pub fn openings(&self) -> Vec<Arc<Opening>> {
        self.lock().openings.all().to_vec()
    }

    /// Takes a place, for any backend or for one, unless `limit` wait already.
    pub(super) fn enter(
        self: &Arc<Self>,
        class: Class,
        backend: Option<&Arc<BackendState>>,
        worker: usize,
        limit: Option<usize>,
    ) -> Result<Ticket, Full> {
        let (sender, answer) = oneshot::channel();
        let mut inner = self.lock();
        if limit.is_some_and(|limit| self.waiting() >= limit) {
            return Err(Full);
        }
        let id = inner.next;
        inner.next += 1;
        let waiter = Waiter {
            since: Instant::now(),
            worker,
            sender,
        };
        let lines = match backend {
            None => &mut inner.any,
            Some(backend) => {
                let entry = inner.of.entry(key(backend));
                &mut entry.or_insert_with(|| (Arc::clone(backend), Lines::default())).1
            }
        };
        lines.enter(class, id, waiter);
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let place = Place {
            id,
            class,
            of: backend.map(key),
        };
        Ok(Ticket {
            queue: Arc::clone(self),
            place,
            answer,
        })
    }

    /// Gives a connection of worker `from` to the first in line who can use it. It comes back if there is none.
    pub(in crate::role) fn hand(
        &self,
        mut lease: Lease,
        from: usize,
        settings: QueueSettings,
        rng: &mut impl Rng,
    ) -> Option<Lease> {
        let backend = key(lease.backend());
        loop {
            let Some(waiter) = self.pop_for(backend, settings, rng) else {
                return Some(lease);
            };
            let passed = if waiter.worker == from {
                Passed::Within(lease)
            } else {
                match lease.detach() {
                    Ok(detached) => Passed::Across(detached),
                    Err(error) => {
                        tracing::warn!(%error, "cannot pass a connection on");
                        // It asks again.
                        drop(waiter.sender.send(Answer::Nobody));
                        return None;
                    }
                }
            };
            match waiter.sender.send(Answer::Connection(passed)) {
                // It has just given up its place.
                Err(Answer::Connection(passed)) => lease = passed.take().ok()?,
                Ok(()) | Err(Answer::Nobody) => return None,
            }
        }
    }

    /// Whether anybody waits who can use a connection to that backend.
    pub(super) fn wants(&self, backend: &Arc<BackendState>) -> bool {
        let inner = self.lock();
        !inner.any.is_empty() || inner.of.contains_key(&key(backend))
    }

    fn pop_for(&self, backend: usize, settings: QueueSettings, rng: &mut impl Rng) -> Option<Waiter> {
        let mut inner = self.lock();
        let skips_high = inner.relieves(settings, rng);
        let any = inner.any.first(skips_high).map(|first| (first, None));
        let of = inner
            .of
            .get(&backend)
            .and_then(|(_, lines)| lines.first(skips_high));
        let of = of.map(|first| (first, Some(backend)));
        let ((class, id), of) = match (any, of) {
            (Some(any), Some(of)) => any.min(of),
            (any, of) => any.or(of)?,
        };
        self.remove(&mut inner, Place { id, class, of })
    }

    fn remove(&self, inner: &mut Inner, place: Place) -> Option<Waiter> {
        let removed = match place.of {
            None => inner.any.remove(place.class, place.id),
            Some(of) => {
                let lines = &mut inner.of.get_mut(&of)?.1;
                let removed = lines.remove(place.class, place.id);
                if lines.is_empty() {
                    inner.of.remove(&of);
                }
                removed
            }
        };
        if removed.is_some() {
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }
        removed
    }

    /// Tells everybody of these places that nobody is there.
    fn dismiss(&self, mut inner: MutexGuard<'_, Inner>, places: Vec<Place>) {
        let removed: Vec<_> = places
            .into_iter()
            .filter_map(|place| self.remove(&mut inner, place))
            .collect();
        drop(inner);
        for waiter in removed {
            // Whoever has left does not mind.
            drop(waiter.sender.send(Answer::Nobody));
        }
    }

    /// Whether a worker is to be told that somebody waits: it was not yet.
    pub(super) fn is_to_be_told(&self, worker: usize) -> bool {
        self.told
            .get(worker)
            .is_some_and(|told| !told.swap(true, Ordering::SeqCst))
    }

    /// A worker is about to look, or could not be told.
    pub(in crate::role) fn was_told(&self, worker: usize) {
        if let Some(told) = self.told.get(worker) {
            told.store(false, Ordering::SeqCst);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Whether the high-priority queue is passed over this time: Perlbal's relief of a long normal queue.
    fn relieves(&self, settings: QueueSettings, rng: &mut impl Rng) -> bool {
        if settings.relief_size == 0 || settings.relief_chance == 0 {
            return false;
        }
        let of = self.of.values().map(|(_, lines)| lines.len(Class::Normal));
        let normal = self.any.len(Class::Normal) + of.sum::<usize>();
        normal >= settings.relief_size && rng.random_range(0..100) < settings.relief_chance
    }
}

impl Ticket {
    /// What it gets, once it does.
    pub(super) fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Answer> {
        // A sender that is dropped without a word had nothing to give.
        Pin::new(&mut self.answer)
            .poll(cx)
            .map(|answer| answer.unwrap_or(Answer::Nobody))
    }

    /// Gives the place up. What had been given to it meanwhile.
    pub(super) fn leave(mut self) -> Option<Answer> {
        self.give_up();
        self.answer.close();
        self.answer.try_recv().ok()
    }

    fn give_up(&mut self) {
        let mut inner = self.queue.lock();
        self.queue.remove(&mut inner, self.place);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.give_up();
    }
}

#[cfg(test)]
#[path = "queue/tests.rs"]
mod tests;
