//! The data plane's threads: one runtime each, with listeners, connections and memory of its own.
//!
//! What the rest of the node wants of them travels as orders over a bounded channel; nothing is shared on the path of
//! a request but the view and counters.

mod worker;

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use fleetbal_raft::model::ServiceName;
use tokio::sync::{mpsc, oneshot};

use crate::access_log::AccessLogs;
use crate::listen;
use crate::monitor::sockets::Socket;
use crate::monitor::stats::Stats;
use crate::plugin::command::{CommandLine, Told};
use crate::reproxy;
use crate::role::{Place, Queues, Shared};
use crate::snapshot::View;
use crate::sockets::{Open, Sockets};
use crate::tls::Servers;
use crate::upload::Tracker;
use worker::Order;

/// Orders that may wait for a worker. Each is carried out in microseconds.
const ORDERS: usize = 1024;

/// Services that a worker may have to be told of at once; with more, it finds out by itself within a second.
const TOLD: usize = 1024;

/// How long a drain waits for access logs.
const FLUSH_LOGS: Duration = Duration::from_secs(1);
/// How long a worker may take to say what sockets it has.
const CENSUS: Duration = Duration::from_secs(2);

/// How long to wait for own listeners on an address to close before it is opened again.
const REOPEN: Duration = Duration::from_secs(2);

/// The workers of a node. Dropping them closes every connection at once.
#[derive(Debug)]
pub struct Workers {
    threads: Vec<Worker>,
    listeners: Mutex<Listeners>,
    shared: Shared,
}

/// Asks the workers what sockets they have, and what plugins say to a command. It keeps none of them alive.
#[derive(Debug, Clone, Default)]
pub struct Census {
    orders: Arc<[mpsc::WeakSender<Order>]>,
    queues: Option<Arc<Queues>>,
}

#[derive(Debug)]
struct Worker {
    orders: Option<mpsc::Sender<Order>>,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Listeners {
    open: BTreeMap<ServiceName, Listener>,
    /// Told to close; alive for as long as a worker has one of them.
    closing: Vec<(SocketAddr, Weak<()>)>,
    /// None is opened any more.
    are_draining: bool,
}

#[derive(Debug)]
struct Listener {
    address: SocketAddr,
    /// Every worker's listener has a share of it.
    alive: Weak<()>,
    /// Dropped before they close: what waits in their queues is for the workers to accept.
    held: Open,
}

impl Workers {
    /// Starts `count` workers, at least one, which serve what `view` says and count in `stats`.
    ///
    /// # Errors
    /// When the system has no thread, or no event queue for one.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "handles are handed over, as to anything that is started"
    )]
    pub fn start(count: usize, view: View, stats: Arc<Stats>) -> io::Result<Self> {
        let count = count.max(1);
        let shared = Shared {
            stats,
            queues: Arc::new(Queues::new(count)),
            tracker: Arc::default(),
            reproxy: Arc::default(),
            tls: Servers::default(),
            access_logs: AccessLogs::default(),
        };
        let (peers, told): (Vec<_>, Vec<_>) = (0..count).map(|_| mpsc::channel(TOLD)).unzip();
        let peers: Arc<[_]> = peers.into();
        let mut threads = Vec::with_capacity(count);
        for (worker, told) in told.into_iter().enumerate() {
            let (orders, received) = mpsc::channel(ORDERS);
            let runtime = worker::Setup {
                place: Place {
                    worker,
                    peers: Arc::clone(&peers),
                },
                view: view.clone(),
                shared: shared.clone(),
                told,
                orders: received,
            };
            threads.push(Worker {
                orders: Some(orders),
                thread: Some(runtime.start()?),
            });
        }
        Ok(Self {
            threads,
            listeners: Mutex::default(),
            shared,
        })
    }

    /// Requests that wait, and connections that are being opened for them.
    pub fn queues(&self) -> &Arc<Queues> {
        &self.shared.queues
    }

    /// What is known of uploads, by whom they are tracked here.
    pub fn tracker(&self) -> &Arc<Tracker> {
        &self.shared.tracker
    }

    /// Who asks them what sockets they have.
    pub fn census(&self) -> Census {
        let orders = self.threads.iter().filter_map(|worker| worker.orders.as_ref());
        Census {
            orders: orders.map(mpsc::Sender::downgrade).collect(),
            queues: Some(Arc::clone(self.queues())),
        }
    }

    /// What the workers share for reproxying: connections and caches.
    pub fn reproxy(&self) -> &Arc<reproxy::Shared> {
        &self.shared.reproxy
    }

    /// What services need to speak TLS.
    pub fn tls(&self) -> &Servers {
        &self.shared.tls
    }

    /// The access logs of services.
    pub fn access_logs(&self) -> &AccessLogs {
        &self.shared.access_logs
    }

    /// Opens a service's listeners, in place of those at another address. Where they are open already, and in a drain,
    /// nothing is done. Where `sockets` has some for that address, they are taken and nothing is bound. May wait a moment for own
    /// listeners at this address that are being closed.
    ///
    /// # Errors
    /// When the address is taken or not this machine's; then nothing was changed.
    pub fn open(&self, service: &ServiceName, address: SocketAddr, sockets: &Sockets) -> io::Result<()> {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        let open = listeners.open.get(service);
        if listeners.are_draining || open.is_some_and(|open| open.address == address) {
            return Ok(());
        }
        listeners.wait_for_closed(address);
        let count = self.threads.len();
        let (opened, held) = sockets.streams(address, || listen::bind_all(address, count))?;
        let shares = listen::share_out(opened, count)?;
        let alive = Arc::new(());
        for (worker, listeners) in self.threads.iter().zip(shares) {
            worker.order(Order::Open {
                service: service.clone(),
                listeners,
                alive: Arc::clone(&alive),
            })?;
        }
        let listener = Listener {
            address,
            alive: Arc::downgrade(&alive),
            held,
        };
        // A worker that opens a service again closes what it had for it.
        if let Some(old) = listeners.open.insert(service.clone(), listener) {
            listeners.closing.push((old.address, old.alive));
        }
        Ok(())
    }

    /// Closes a service's listeners, if there are any, once their queues are empty. Its connections stay.
    pub fn close(&self, service: &ServiceName) {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(old) = listeners.open.remove(service) else {
            return;
        };
        drop(old.held);
        listeners.closing.push((old.address, old.alive));
        for worker in &self.threads {
            let ordered = worker.order(Order::Close {
                service: service.clone(),
            });
            if let Err(error) = ordered {
                tracing::error!(%error, %service, "cannot close a listener");
            }
        }
    }

    /// Closes the listeners of all services but these.
    pub fn close_all_but(&self, keep: impl Fn(&ServiceName) -> bool) {
        let others: Vec<_> = {
            let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
            listeners
                .open
                .keys()
                .filter(|service| !keep(service))
                .cloned()
                .collect()
        };
        for service in &others {
            self.close(service);
        }
    }

    /// Where a service listens now.
    pub fn address(&self, service: &ServiceName) -> Option<SocketAddr> {
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.open.get(service).map(|open| open.address)
    }

    /// Stops accepting for good, once the queues are empty; closes each connection with its next answer; and waits until none
    /// is left, at most for so long (none: without limit). Whether none is left. Dropping the future does not take
    /// the drain back.
    pub async fn drain(&self, within: Option<Duration>) -> bool {
        {
            let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
            listeners.are_draining = true;
            listeners.open.clear();
        }
        let all = self.all(|done| Order::Drain { done });
        let is_empty = match within {
            None => {
                all.await;
                true
            }
            Some(within) => tokio::time::timeout(within, all).await.is_ok(),
        };
        let flushed = tokio::time::timeout(FLUSH_LOGS, self.shared.access_logs.flush()).await;
        if flushed.is_err() {
            tracing::warn!("access logs could not be written to their end in time");
        }
        is_empty
    }

    /// Waits until every worker says that it takes orders: at once, unless one hangs.
    pub async fn answer(&self) {
        self.all(|done| Order::Answer { done }).await;
    }

    /// Gives each worker an order, at once, and then waits until all have done it. One that has ended has nothing to do.
    fn all(&self, order: fn(oneshot::Sender<()>) -> Order) -> impl Future<Output = ()> + use<> {
        let mut orders = Vec::new();
        for worker in &self.threads {
            let (done, is_done) = oneshot::channel();
            if worker.order(order(done)).is_ok() {
                orders.push(is_done);
            }
        }
        async {
            for is_done in orders {
                drop(is_done.await);
            }
        }
    }
}

impl Census {
    /// The sockets of clients, backends and listeners, and connections to backends that are being opened. Of a worker that
    /// has no time to answer there are none.
    pub async fn sockets(&self) -> Vec<Socket> {
        let mut answers = Vec::new();
        for orders in self.orders.iter().filter_map(mpsc::WeakSender::upgrade) {
            let (done, is_done) = oneshot::channel();
            if orders.try_send(Order::Count { done }).is_ok() {
                answers.push(is_done);
            }
        }
        let mut sockets = Vec::new();
        for answer in answers {
            if let Ok(Ok(found)) = tokio::time::timeout(CENSUS, answer).await {
                sockets.extend(found);
            }
        }
        let queues = self.queues.as_deref();
        sockets.extend(queues.map(Queues::openings).unwrap_or_default());
        sockets
    }

    /// Has plugins carry out a management command, on the first worker; none: none has anything to say.
    pub async fn command(&self, line: CommandLine) -> Option<Told> {
        let orders = self.orders.first().and_then(mpsc::WeakSender::upgrade)?;
        let (done, is_done) = oneshot::channel();
        let late = || Some(Told::Refused("the worker does not answer".to_owned()));
        if orders.try_send(Order::Command { line, done }).is_err() {
            return late();
        }
        match tokio::time::timeout(CENSUS, is_done).await {
            Ok(Ok(told)) => told,
            Ok(Err(_)) | Err(_) => late(),
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for worker in &mut self.threads {
            worker.orders = None;
        }
        for worker in &mut self.threads {
            let ended = worker.thread.take().map(thread::JoinHandle::join);
            if let Some(Err(_)) = ended {
                tracing::error!("a worker panicked");
            }
        }
    }
}

impl Worker {
    fn order(&self, order: Order) -> io::Result<()> {
        let orders = self.orders.as_ref();
        let sent = orders.is_some_and(|orders| orders.try_send(order).is_ok());
        if sent {
            Ok(())
        } else {
            Err(io::Error::other("a worker takes no orders"))
        }
    }
}

impl Listeners {
    /// Waits until the workers have closed what they were told to close at this address.
    fn wait_for_closed(&mut self, address: SocketAddr) {
        let give_up = Instant::now() + REOPEN;
        loop {
            self.closing.retain(|(_, alive)| alive.strong_count() > 0);
            let clear = self.closing.iter().all(|(closing, _)| *closing != address);
            if clear || Instant::now() > give_up {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}
