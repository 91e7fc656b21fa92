//! Keeps this node's view of the backends' health: takes in what requests saw and what the other nodes tell, checks what
//! it has to, judges, and tells the data plane and the others.
//!
//! All of the thinking is in `table`, which does no I/O; here it is driven.

mod probe;
mod report;
#[cfg(test)]
mod sim;
mod table;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fleetbal_raft::model::{BackendAddress, PoolName, Version};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, sleep_until};

use crate::gossip::FleetView;
use crate::health::{Seen, Told};
use crate::snapshot::{Report, View, What};
use probe::{Check, probe};
pub use report::{BackendHealth, Evidence, Standing, Unreachable, Why};
use table::Table;

/// How often all backends are looked at for requests that they answered.
const LOOK: Duration = Duration::from_secs(1);

/// Checks that run at the same time, at most.
const AT_ONCE: usize = 512;

/// What this node thinks of the backends. Clones share it.
#[derive(Debug, Clone)]
pub struct Health(Arc<Mutex<Table>>);

impl Health {
    /// Of a node of this name, which knows nothing yet.
    pub fn new(node: &str) -> Self {
        Self(Arc::new(Mutex::new(Table::new(node))))
    }

    /// The health of all backends, or of those of one pool, in order.
    pub fn all(&self, pool: Option<&PoolName>) -> Vec<BackendHealth> {
        self.lock().all(pool, Instant::now())
    }

    /// Why a backend is judged as it is, in each pool that it is in.
    pub fn why(&self, backend: BackendAddress) -> Vec<Why> {
        self.lock().why(backend, Instant::now())
    }

    /// The pools that services use of which no backend is up.
    pub fn unreachable(&self) -> Vec<Unreachable> {
        self.lock().unreachable(Instant::now())
    }

    /// How many checks this node has made, and how many of them failed.
    pub fn checks(&self) -> (u64, u64) {
        self.lock().checks()
    }

    /// Held for as long as it takes to think, never over an await, and never by the data plane.
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where what this node knows of backends comes from, and where it goes.
#[derive(Debug)]
pub struct Runner {
    /// What it thinks.
    pub health: Health,
    /// The backends.
    pub view: View,
    /// Moves on when this node balances by another version.
    pub settled: watch::Receiver<Version>,
    /// What requests saw.
    pub reports: mpsc::Receiver<Report>,
    /// The other nodes.
    pub fleet: FleetView,
    /// What this node tells them.
    pub told: watch::Sender<Arc<Told>>,
}

/// A check that is through: of what, begun when, and what it saw; none: that says nothing about the backend.
type Done = (Check, Instant, Option<Seen>);

impl Runner {
    /// Goes on until the node ends. Dropping the future ends all checks.
    pub async fn run(mut self) {
        let mut running: JoinSet<Done> = JoinSet::new();
        let slots = Arc::new(Semaphore::new(AT_ONCE));
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.configured();
        loop {
            let wake = self.begin_due(&mut running, &slots);
            tokio::select! {
                Some(report) = self.reports.recv() => self.reported(report),
                true = self.fleet.changed() => self.heard(),
                Ok(()) = self.settled.changed() => self.configured(),
                Some(Ok(done)) = running.join_next(), if !running.is_empty() => self.checked(done, &mut running),
                _ = look.tick() => self.look(),
                () = sleep_until(wake.into()) => {}
            }
        }
    }

    /// Begins the checks that are due, and tells what is new. When to come again.
    fn begin_due(&self, running: &mut JoinSet<Done>, slots: &Arc<Semaphore>) -> Instant {
        let now = Instant::now();
        let mut table = self.health.lock();
        for check in table.due(now) {
            let slots = Arc::clone(slots);
            running.spawn(async move {
                // The semaphore is never closed.
                let _slot = slots.acquire().await;
                let started = Instant::now();
                let seen = probe(&check).await;
                (check, started, seen)
            });
        }
        if let Some(told) = table.take_told() {
            self.told.send_replace(told);
        }
        table.next_due().unwrap_or(now + LOOK)
    }

    fn configured(&mut self) {
        self.settled.mark_unchanged();
        let snapshot = self.view.load_full();
        self.health.lock().set_snapshot(&snapshot, Instant::now());
    }

    fn heard(&self) {
        let voices = self.fleet.voices();
        self.health.lock().set_voices(&voices, Instant::now());
    }

    /// That a node has fallen silent is no change of the fleet's view, so it is looked for as well.
    fn look(&self) {
        self.heard();
        self.health.lock().look(Instant::now());
    }

    fn reported(&mut self, report: Report) {
        let mut table = self.health.lock();
        let now = Instant::now();
        let mut next = Some(report);
        while let Some(report) = next {
            match report.what {
                What::Seen(seen) => table.saw(&report.backend, &seen, now),
                What::Errors(in_a_row) => table.erred(&report.backend, in_a_row, now),
            }
            next = self.reports.try_recv().ok();
        }
    }

    /// All that are through by now at once: thousands may be, and what follows from them is told to the others but once.
    fn checked(&self, done: Done, running: &mut JoinSet<Done>) {
        let mut table = self.health.lock();
        let mut next = Some(done);
        while let Some((check, started, seen)) = next {
            table.checked(&check, started, seen.as_ref(), Instant::now());
            next = running.try_join_next().and_then(Result::ok);
        }
    }
}

#[cfg(test)]
mod scale_tests;
