//! Pools and the state of their backends on this node.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use fleetbal_raft::model::{BackendAddress, BalanceMethod, PoolName};

/// A pool of one version. The state of a backend that stays in the pool is the same from version to version.
#[derive(Debug)]
pub struct PoolView {
    /// Its name.
    pub name: PoolName,
    /// How to choose among its backends.
    pub method: BalanceMethod,
    backends: Vec<Arc<BackendState>>,
    turn: Arc<Turn>,
}

/// A counter on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Turn(AtomicUsize);

impl PoolView {
    pub(super) fn new(
        name: &PoolName,
        method: BalanceMethod,
        addresses: impl Iterator<Item = BackendAddress>,
        before: Option<&Self>,
    ) -> Self {
        let kept = |address| before?.backend(address).map(Arc::clone);
        let backends = addresses.map(|a| kept(a).unwrap_or_else(|| Arc::new(BackendState::new(a))));
        Self {
            name: name.clone(),
            method,
            backends: backends.collect(),
            turn: before.map_or_else(Arc::default, |before| Arc::clone(&before.turn)),
        }
    }

    /// Its backends, oldest first.
    pub fn backends(&self) -> &[Arc<BackendState>] {
        &self.backends
    }

    /// One backend, by address.
    pub fn backend(&self, address: BackendAddress) -> Option<&Arc<BackendState>> {
        self.backends.iter().find(|backend| backend.address == address)
    }

    /// Whether this very backend is in it; one that was removed and added again is another.
    pub fn holds(&self, backend: &Arc<BackendState>) -> bool {
        self.backends.iter().any(|b| Arc::ptr_eq(b, backend))
    }

    /// A number that is one higher each time, over all workers; for methods that go round.
    pub fn next_turn(&self) -> usize {
        self.turn.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// What this node knows of one backend of one pool. All workers write to it, so it has cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
pub struct BackendState {
    address: BackendAddress,
    requests: AtomicU64,
    connects: AtomicU64,
    connect_failures: AtomicU64,
    failures: AtomicU64,
    open: AtomicU64,
    barred_until: AtomicU64,
    unverified_until: AtomicU64,
}

impl BackendState {
    fn new(address: BackendAddress) -> Self {
        Self {
            address,
            requests: AtomicU64::new(0),
            connects: AtomicU64::new(0),
            connect_failures: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            open: AtomicU64::new(0),
            barred_until: AtomicU64::new(0),
            unverified_until: AtomicU64::new(0),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> BackendAddress {
        self.address
    }

    /// Requests that it answered.
    pub fn requests_total(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Connections opened to it.
    pub fn connects_total(&self) -> u64 {
        self.connects.load(Ordering::Relaxed)
    }

    /// Connections to it that could not be opened or verified.
    pub fn connect_failures_total(&self) -> u64 {
        self.connect_failures.load(Ordering::Relaxed)
    }

    /// Requests that it did not answer, or not to the end.
    pub fn failures_total(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Connections to it that are open now, in use or idle.
    pub fn open_connections(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// Counts an answered request.
    pub fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that it failed.
    pub fn count_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection that was opened, until the result is dropped.
    pub fn count_connection(self: &Arc<Self>) -> OpenConnection {
        self.connects.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        OpenConnection(Arc::clone(self))
    }

    /// Counts a connection that could not be opened, and keeps the backend from being chosen for a while.
    pub fn bar(&self, now: Instant, length: Duration) {
        self.connect_failures.fetch_add(1, Ordering::Relaxed);
        self.barred_until.store(millis(now + length), Ordering::Relaxed);
    }

    /// Whether it is kept from being chosen.
    pub fn is_barred(&self, now: Instant) -> bool {
        let until = self.barred_until.load(Ordering::Relaxed);
        until != 0 && millis(now) < until
    }

    /// Leaves verification of its new connections out for a while.
    pub fn skip_verification(&self, now: Instant, length: Duration) {
        self.unverified_until
            .store(millis(now + length), Ordering::Relaxed);
    }

    /// Whether verification of its new connections is left out.
    pub fn skips_verification(&self, now: Instant) -> bool {
        let until = self.unverified_until.load(Ordering::Relaxed);
        until != 0 && millis(now) < until
    }
}

/// An open connection to a backend, counted as such for as long as this lives.
#[derive(Debug)]
pub struct OpenConnection(Arc<BackendState>);

impl OpenConnection {
    /// The backend that it leads to.
    pub fn backend(&self) -> &Arc<BackendState> {
        &self.0
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Milliseconds since this was first asked, from 1, so that an instant fits into an atomic.
fn millis(at: Instant) -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let since = at.saturating_duration_since(*START).as_millis();
    u64::try_from(since).unwrap_or(u64::MAX).saturating_add(1)
}
