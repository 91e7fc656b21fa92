//! One worker's thread.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use fleetbal_raft::model::ServiceName;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::listen;
use crate::monitor::sockets::{Kind, Socket};
use crate::plugin;
use crate::plugin::command::{CommandLine, Told};
use crate::priority;
use crate::role::{self, Local, Place, Queue, Shared};
use crate::snapshot::View;

/// Threads of a worker that wait for disks, at most.
const DISK_THREADS: usize = 16;

/// What a worker is told to do.
#[derive(Debug)]
pub(super) enum Order {
    /// Accept connections of a service.
    Open {
        service: ServiceName,
        listeners: Vec<StdListener>,
        /// Dropped when they are closed.
        alive: Arc<()>,
    },
    /// Accept no more of them.
    Close { service: ServiceName },
    /// Accept nothing more, and say when no connection is left.
    Drain { done: oneshot::Sender<()> },
    /// Say what sockets there are.
    Count { done: oneshot::Sender<Vec<Socket>> },
    /// Carry out a management command of a plugin.
    Command {
        line: CommandLine,
        done: oneshot::Sender<Option<Told>>,
    },
    /// Say that this worker takes orders.
    Answer { done: oneshot::Sender<()> },
}

/// What a worker starts with.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) place: Place,
    pub(super) view: View,
    pub(super) shared: Shared,
    /// Services for which somebody waits, elsewhere.
    pub(super) told: mpsc::Receiver<Arc<Queue>>,
    pub(super) orders: mpsc::Receiver<Order>,
}

impl Setup {
    /// Starts the thread, and waits until it is ready for orders. It ends when nobody can give it any more.
    pub(super) fn start(self) -> io::Result<thread::JoinHandle<()>> {
        let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
        let thread = thread::Builder::new()
            .name(format!("worker-{}", self.place.worker))
            .spawn(move || {
                priority::come_first();
                let runtime = Builder::new_current_thread()
                    .enable_all()
                    .max_blocking_threads(DISK_THREADS)
                    .build_local(LocalOptions::default());
                match runtime {
                    Ok(runtime) => {
                        drop(ready.send(Ok(())));
                        runtime.block_on(self.run());
                    }
                    Err(error) => drop(ready.send(Err(error))),
                }
            })?;
        is_ready
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("a worker ended as it started")))?;
        Ok(thread)
    }

    async fn run(mut self) {
        let is_first = self.place.worker == 0;
        let local = Local::new(self.place, self.view, self.shared);
        plugin::lua::run_timers_here();
        tokio::task::spawn_local(tick(Rc::clone(&local)));
        tokio::task::spawn_local(listen_to_others(Rc::clone(&local), self.told));
        let mut accepting: BTreeMap<ServiceName, Accepting> = BTreeMap::new();
        while let Some(order) = self.orders.recv().await {
            match order {
                Order::Open {
                    service,
                    listeners,
                    alive,
                } => {
                    if is_first {
                        role::prepare(&local, &local.served(&service));
                    }
                    let stop = CancellationToken::new();
                    let shown = Accepting::new(stop.clone(), &listeners);
                    for listener in listeners {
                        open(&local, &service, listener, (stop.clone(), Arc::clone(&alive)));
                    }
                    if let Some(old) = accepting.insert(service, shown) {
                        old.stop.cancel();
                    }
                }
                Order::Close { service } => {
                    if let Some(old) = accepting.remove(&service) {
                        old.stop.cancel();
                    }
                }
                // Whoever asked may have stopped waiting.
                Order::Count { done } => {
                    let mut sockets = local.sockets();
                    for (service, accepting) in &accepting {
                        sockets.extend(accepting.sockets(service));
                    }
                    done.send(sockets).unwrap_or_default();
                }
                Order::Command { line, done } => done.send(local.command(&line)).unwrap_or_default(),
                Order::Answer { done } => done.send(()).unwrap_or_default(),
                Order::Drain { done } => {
                    for old in std::mem::take(&mut accepting).into_values() {
                        old.stop.cancel();
                    }
                    local.start_draining();
                    tokio::task::spawn_local(tell_when_empty(Rc::clone(&local), done));
                }
            }
        }
    }
}

/// A service's listeners.
#[derive(Debug)]
struct Accepting {
    stop: CancellationToken,
    since: Instant,
    listeners: Vec<(i32, SocketAddr)>,
}

impl Accepting {
    fn new(stop: CancellationToken, listeners: &[StdListener]) -> Self {
        let shown = |listener: &StdListener| Some((listener.as_raw_fd(), listener.local_addr().ok()?));
        Self {
            stop,
            since: Instant::now(),
            listeners: listeners.iter().filter_map(shown).collect(),
        }
    }

    fn sockets(&self, service: &ServiceName) -> impl Iterator<Item = Socket> {
        self.listeners.iter().map(|(descriptor, address)| Socket {
            descriptor: Some(*descriptor),
            age: self.since.elapsed(),
            service: Some(service.clone()),
            kind: Kind::Listener(*address),
        })
    }
}

fn open(
    local: &Rc<Local>,
    service: &ServiceName,
    listener: StdListener,
    (stop, alive): (CancellationToken, Arc<()>),
) {
    let listener = match listen::Listener::new(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, %service, "cannot wait for connections");
            return;
        }
    };
    let accepting = listen::accept(listener, Rc::clone(local), local.served(service), stop);
    // A task of its own: the root of the runtime would be polled at every turn.
    tokio::task::spawn_local(async move {
        accepting.await;
        drop(alive);
    });
}

async fn tell_when_empty(local: Rc<Local>, done: oneshot::Sender<()>) {
    // Listeners that were just stopped get their turn first, and what they accept counts.
    tokio::task::yield_now().await;
    local.emptied().await;
    local.flush_logs();
    // Whoever asked may have stopped waiting.
    done.send(()).unwrap_or_default();
}

async fn listen_to_others(local: Rc<Local>, mut told: mpsc::Receiver<Arc<Queue>>) {
    while let Some(queue) = told.recv().await {
        role::somebody_waits(&local, &queue);
    }
}

async fn tick(local: Rc<Local>) {
    let mut seconds = tokio::time::interval(role::TICK);
    seconds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    seconds.tick().await;
    loop {
        seconds.tick().await;
        local.tick();
    }
}
