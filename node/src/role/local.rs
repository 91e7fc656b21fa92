//! What belongs to one worker: nothing here is shared between threads but what it reads through.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use fleetbal_raft::model::{FleetConfig, ServiceName};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::{Notify, mpsc};

use super::access::{Logs, Unsent};
use super::buffers::Buffers;
use super::date::Date;
use super::deadline::Deadlines;
use super::record::Record;
use super::reverse_proxy::{Queue, Queues, give_idle, replenish};
use crate::access_log::AccessLogs;
use crate::files::Files;
use crate::monitor::sockets::{BackendState as Doing, Socket};
use crate::monitor::stats::{ServiceStats, Shard, Stats};
use crate::plugin;
use crate::plugin::command::{self, CommandLine, Told};
use crate::reproxy;
use crate::snapshot::{BackendState, ServiceView, View};
use crate::tls::Servers;
use crate::upload::{Tracker, Uploads};
use crate::upstream::{IdleConnections, Lease};

/// For how many ticks a connection is used that the backend never said anything on (Perlbal's seconds): it may lie in
/// the queue of a listener that nobody serves.
const UNPROVEN_FOR: u64 = 5;

/// For so many ticks before a backend closes a connection, as it said, it gets no request any more (Perlbal's seconds).
const BEFORE_CLOSE: u64 = 2;

/// How the workers of a node reach each other.
pub(crate) type Peers = Arc<[mpsc::Sender<Arc<Queue>>]>;

/// Which worker it is.
#[derive(Debug)]
pub(crate) struct Place {
    /// Its number.
    pub(crate) worker: usize,
    /// All of them.
    pub(crate) peers: Peers,
}

/// What all workers of a node share.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) stats: Arc<Stats>,
    pub(crate) queues: Arc<Queues>,
    pub(crate) tracker: Arc<Tracker>,
    pub(crate) reproxy: Arc<reproxy::Shared>,
    pub(crate) tls: Servers,
    pub(crate) access_logs: AccessLogs,
}

/// The state of one worker.
#[derive(Debug)]
pub(crate) struct Local {
    pub(super) worker: usize,
    pub(super) workers: usize,
    view: View,
    stats: Arc<Stats>,
    queues: Arc<Queues>,
    /// By worker: how it is told of a service for which somebody waits.
    pub(super) peers: Peers,
    services: RefCell<BTreeMap<ServiceName, Rc<Served>>>,
    pub(super) buffers: Buffers,
    pub(crate) deadlines: Deadlines<Record>,
    pub(super) rng: RefCell<StdRng>,
    pub(super) uploads: Uploads,
    pub(super) reproxy: Arc<reproxy::Shared>,
    pub(super) tls: Servers,
    pub(super) files: Files,
    pub(super) date: Date,
    pub(super) access_logs: AccessLogs,
    pub(super) logs: Logs,
    outputs: RefCell<Vec<Vec<u8>>>,
    draining: Cell<bool>,
    connections: Cell<usize>,
    emptied: Notify,
}

impl Local {
    /// The state of one worker.
    pub(crate) fn new(place: Place, view: View, shared: Shared) -> Rc<Self> {
        Rc::new(Self {
            worker: place.worker,
            workers: place.peers.len(),
            view,
            stats: shared.stats,
            queues: shared.queues,
            peers: place.peers,
            services: RefCell::default(),
            buffers: Buffers::default(),
            deadlines: Deadlines::default(),
            rng: RefCell::new(StdRng::from_os_rng()),
            uploads: Uploads::new(shared.tracker),
            reproxy: shared.reproxy,
            tls: shared.tls,
            files: Files::default(),
            date: Date::default(),
            access_logs: shared.access_logs,
            logs: Logs::default(),
            outputs: RefCell::default(),
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
        let queue = self.queues.of(name);
        let served = Rc::new(Served {
            name: name.clone(),
            worker: self.worker,
            stats: self.stats.service(name),
            current: RefCell::default(),
            idle: IdleConnections::new(self.worker, Arc::clone(queue.connections())),
            queue,
            unsent: RefCell::default(),
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

    /// Has the plugins that bring a management command along carry it out on this worker; none: none has anything to say.
    pub(crate) fn command(&self, line: &CommandLine) -> Option<Told> {
        let snapshot = self.view.load_full();
        let services = snapshot.services();
        command::run(line, services.filter_map(|(_, view)| view.hooks.as_deref()))
    }

    /// A second has passed.
    pub(crate) fn tick(self: &Rc<Self>) {
        self.deadlines.tick();
        self.buffers.tick();
        self.files.tick();
        self.logs.tick();
        plugin::lua::sweep();
        let mut lacking = Vec::new();
        if self.worker == 0 {
            self.reproxy.targets.sweep();
        }
        self.services.borrow_mut().retain(|_, served| {
            let current = served.current(self);
            served.sweep(self, current.as_deref());
            let hooks = current.iter().filter_map(|current| current.view.hooks.as_ref());
            hooks
                .flat_map(|hooks| hooks.all())
                .for_each(|(_, hook)| hook.wake());
            if current.as_ref().is_some_and(|current| served.lacks(current)) || served.queue.waiting() > 0 {
                lacking.push(Rc::clone(served));
            }
            // Nobody listens, and no connection is left: nothing is lost with it.
            current.is_some() || Rc::strong_count(served) > 1
        });
        for served in lacking {
            replenish(self, &served);
        }
    }

    /// The sockets of clients and backends that this worker has.
    pub(crate) fn sockets(&self) -> Vec<Socket> {
        let mut sockets: Vec<_> = Vec::new();
        for record in self.deadlines.all() {
            sockets.extend(record.sockets(self));
        }
        for served in self.services.borrow().values() {
            let current = served.current(self);
            let is_verified = current.is_some_and(|current| current.view.settings.verify_request.is_some());
            let idle = served.idle.all().into_iter();
            sockets.extend(idle.map(|used| used.socket(served, Doing::Bored, None, is_verified)));
        }
        sockets
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

    /// Hands over what was logged.
    pub(crate) fn flush_logs(&self) {
        self.logs.hand_over(self);
    }

    /// A buffer that a head is written to, for a single step.
    #[inline]
    pub(super) fn take_output(&self) -> Vec<u8> {
        self.outputs.borrow_mut().pop().unwrap_or_default()
    }

    /// Gives the buffer back.
    #[inline]
    pub(super) fn give_output(&self, output: Vec<u8>) {
        self.outputs.borrow_mut().push(output);
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
    pub(super) queue: Arc<Queue>,
    /// Lines of its access log.
    pub(super) unsent: RefCell<Unsent>,
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
        self.sweep(local, fresh.as_deref());
        fresh
    }

    /// Closes idle connections that are not good any more, or to backends that are no longer the service's.
    fn sweep(&self, local: &Local, current: Option<&Current>) {
        let pool = current.and_then(|current| current.view.pool.as_ref());
        let limit = current.map_or(0, |current| current.view.settings.backend_persist_cache);
        self.idle.sweep(local.deadlines.now(), limit, |backend| {
            pool.is_some_and(|pool| pool.holds(backend))
        });
    }

    /// Whether fewer connections are open ahead than should be.
    fn lacks(&self, current: &Current) -> bool {
        let ahead = current.view.settings.queue.connect_ahead;
        ahead > 0 && current.view.enabled && self.queue.connections().idle() < ahead
    }

    /// Keeps a backend's connection for the next request, if it is still wanted. The backend may have said after how many
    /// seconds it closes it.
    pub(super) fn keep(
        self: &Rc<Self>,
        local: &Rc<Local>,
        used: &Rc<Current>,
        mut lease: Lease,
        timeout: Option<u64>,
    ) {
        let Some(current) = self.current(local) else {
            return;
        };
        let unchanged = Rc::ptr_eq(&current, used);
        if !unchanged && !current.holds(lease.backend()) {
            return;
        }
        lease.count_use();
        let most = current.view.settings.max_backend_uses;
        if most > 0 && lease.uses() >= most {
            return;
        }
        if let Some(seconds) = timeout {
            lease.use_before(local.deadlines.now() + seconds.saturating_sub(BEFORE_CLOSE));
        }
        self.pass_on(local, &current, lease);
        if self.queue.connections().are_shared() && self.queue.waiting() > 0 {
            give_idle(local, self);
        }
    }

    /// Passes a connection to whoever waits; else it is idle.
    pub(super) fn pass_on(&self, local: &Local, current: &Current, lease: Lease) {
        let settings = &current.view.settings;
        let lease = if self.queue.waiting() > 0 {
            let rng = &mut *local.rng.borrow_mut();
            self.queue.hand(lease, self.worker, settings.queue, rng)
        } else {
            Some(lease)
        };
        match lease {
            Some(lease) if lease.uses() > 0 => self.idle.put(lease, settings.backend_persist_cache),
            Some(mut lease) => {
                lease.expire_unproven(local.deadlines.now() + UNPROVEN_FOR);
                self.idle.put_unused(lease);
            }
            None => {}
        }
    }

    /// Its name.
    pub(super) fn name(&self) -> &ServiceName {
        &self.name
    }

    /// Its counters on all workers.
    pub(super) fn stats(&self) -> &Arc<ServiceStats> {
        &self.stats
    }

    /// The counters that this worker writes to.
    #[inline]
    pub(super) fn shard(&self) -> &Shard {
        self.stats.shard(self.worker)
    }
}

impl Current {
    pub(super) fn holds(&self, backend: &Arc<BackendState>) -> bool {
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
