//! What belongs to one worker: nothing here is shared between threads but what it reads through.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use fleetbal_raft::model::{FleetConfig, ServiceName};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::Notify;

use super::buffers::Buffers;
use super::deadline::Deadlines;
use crate::monitor::stats::{ServiceStats, Shard, Stats};
use crate::reproxy;
use crate::snapshot::{BackendState, ServiceView, View};
use crate::upload::Uploads;
use crate::upstream::{IdleConnections, Lease};

/// The state of one worker.
#[derive(Debug)]
pub(crate) struct Local {
    worker: usize,
    workers: usize,
    view: View,
    stats: Arc<Stats>,
    services: RefCell<BTreeMap<ServiceName, Rc<Served>>>,
    pub(super) buffers: Buffers,
    pub(crate) deadlines: Deadlines,
    pub(super) rng: RefCell<StdRng>,
    pub(super) uploads: Uploads,
    pub(super) reproxy: Arc<reproxy::Shared>,
    output: RefCell<Vec<u8>>,
    draining: Cell<bool>,
    connections: Cell<usize>,
    emptied: Notify,
}

impl Local {
    /// The state of worker number `worker` of `workers`.
    pub(crate) fn new(
        worker: usize,
        workers: usize,
        view: View,
        stats: Arc<Stats>,
        uploads: Uploads,
        reproxy: Arc<reproxy::Shared>,
    ) -> Rc<Self> {
        Rc::new(Self {
            worker,
            workers,
            view,
            stats,
            services: RefCell::default(),
            buffers: Buffers::default(),
            deadlines: Deadlines::default(),
            rng: RefCell::new(StdRng::from_os_rng()),
            uploads,
            reproxy,
            output: RefCell::default(),
            draining: Cell::new(false),
            connections: Cell::new(0),
            emptied: Notify::new(),
        })
    }

    /// One service on this worker.
    pub(crate) fn served(&self, name: &ServiceName) -> Rc<Served> {
        let mut services = self.services.borrow_mut();
        if let Some(served) = services.get(name) {
            return Rc::clone(served);
        }
        let served = Rc::new(Served {
            name: name.clone(),
            worker: self.worker,
            stats: self.stats.service(name),
            current: RefCell::default(),
            idle: IdleConnections::default(),
        });
        services.insert(name.clone(), Rc::clone(&served));
        served
    }

    /// A service by its name, if there is one now.
    pub(super) fn find(&self, name: &ServiceName) -> Option<(Rc<Served>, Rc<Current>)> {
        // Looked for first: nothing is made for a name that somebody made up.
        let is_there = self.view.load().service(name.as_str()).is_some();
        let served = is_there.then(|| self.served(name))?;
        let current = served.current(self)?;
        Some((served, current))
    }

    /// The configuration that services are of now.
    pub(super) fn config(&self) -> Arc<FleetConfig> {
        Arc::clone(&self.view.load().config)
    }

    /// A second has passed.
    pub(crate) fn tick(&self) {
        self.deadlines.tick();
        if self.worker == 0 {
            self.reproxy.targets.sweep();
        }
        self.services.borrow_mut().retain(|_, served| {
            let current = served.current(self);
            served.sweep(current.as_deref());
            // Nobody listens, and no connection is left: nothing is lost with it.
            current.is_some() || Rc::strong_count(served) > 1
        });
    }

    /// From now on every answer closes its connection.
    pub(crate) fn start_draining(&self) {
        self.draining.set(true);
    }

    /// Whether every answer closes its connection.
    #[inline]
    pub(super) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Waits until no client's connection is left.
    pub(crate) async fn emptied(&self) {
        while self.connections.get() > 0 {
            self.emptied.notified().await;
        }
    }

    /// The buffer that heads are written to, for a single step.
    #[inline]
    pub(super) fn take_output(&self) -> Vec<u8> {
        self.output.take()
    }

    /// Gives the buffer back.
    #[inline]
    pub(super) fn give_output(&self, output: Vec<u8>) {
        self.output.replace(output);
    }
}

/// A service on one worker.
#[derive(Debug)]
pub(crate) struct Served {
    name: ServiceName,
    worker: usize,
    stats: Arc<ServiceStats>,
    current: RefCell<Option<Rc<Current>>>,
    pub(super) idle: IdleConnections,
}

/// A service of one snapshot.
#[derive(Debug)]
pub(crate) struct Current {
    generation: u64,
    pub(super) view: Arc<ServiceView>,
}

impl Served {
    /// The service as it is configured now; none, if it is no more. The view is looked at once; what comes out is
    /// shared within the worker, without touching what other workers count references on.
    #[inline]
    pub(super) fn current(&self, local: &Local) -> Option<Rc<Current>> {
        let snapshot = local.view.load();
        if let Some(current) = &*self.current.borrow()
            && current.generation == snapshot.generation()
        {
            return Some(Rc::clone(current));
        }
        let fresh = snapshot.service(self.name.as_str()).map(|view| {
            Rc::new(Current {
                generation: snapshot.generation(),
                view: Arc::clone(view),
            })
        });
        drop(snapshot);
        self.current.replace(fresh.clone());
        self.sweep(fresh.as_deref());
        fresh
    }

    /// Closes idle connections to backends that are no longer the service's.
    fn sweep(&self, current: Option<&Current>) {
        let pool = current.and_then(|current| current.view.pool.as_ref());
        self.idle
            .sweep(|backend| pool.is_some_and(|pool| pool.holds(backend)));
    }

    /// Keeps a backend's connection for the next request, if it is still wanted.
    pub(super) fn keep(&self, local: &Local, used: &Rc<Current>, lease: Lease) {
        let Some(current) = self.current(local) else {
            return;
        };
        let unchanged = Rc::ptr_eq(&current, used);
        if !unchanged && !current.holds(lease.backend()) {
            return;
        }
        // The limit is the node's. Connections do not move between workers, so each gets its part, rounded up.
        let limit = current.view.settings.backend_persist_cache;
        self.idle.put(lease, limit.div_ceil(local.workers));
    }

    /// The counters that this worker writes to.
    #[inline]
    pub(super) fn shard(&self) -> &Shard {
        self.stats.shard(self.worker)
    }
}

impl Current {
    fn holds(&self, backend: &Arc<BackendState>) -> bool {
        self.view.pool.as_ref().is_some_and(|pool| pool.holds(backend))
    }
}

/// A client's connection, counted as open for as long as this lives.
#[derive(Debug)]
pub(crate) struct Counted {
    pub(super) local: Rc<Local>,
    pub(super) served: Rc<Served>,
}

impl Counted {
    /// Counts one more.
    pub(crate) fn new(local: Rc<Local>, served: Rc<Served>) -> Self {
        local.connections.set(local.connections.get() + 1);
        served.shard().connection_opened();
        Self { local, served }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.served.shard().connection_closed();
        let left = self.local.connections.get() - 1;
        self.local.connections.set(left);
        if left == 0 {
            self.local.emptied.notify_waiters();
            self.local.emptied.notify_one();
        }
    }
}
