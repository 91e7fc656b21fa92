//! What this node knows of one backend of one pool, and how the data plane tells of it.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use fleetbal_raft::model::{BackendAddress, PoolName};
use tokio::sync::mpsc;

use crate::balance::reported_load::{LastReport, Load};
use crate::balance::response_time::{Pace, PeakEwma};
use crate::clock;
use crate::health::{Key, Seen};

/// How often a backend was tried to reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempts {
    /// How often.
    pub attempts: u64,
    /// When last, in seconds since the epoch; 0 is never.
    pub last_attempt: u64,
    /// When last with success.
    pub last_connect: u64,
}

/// How long a backend is not chosen after a failure, but by those that have no other (Perlbal's value).
const BARRED_FOR: Duration = Duration::from_secs(1);

/// How often that time doubles where verification fails again and again.
const MOST_DOUBLINGS: u32 = 3;

/// Beside a time: whether the backend gets no request as long as there are others.
const OUT: u64 = 1 << 63;

/// What the data plane saw of a backend.
#[derive(Debug)]
pub struct Report {
    /// The backend.
    pub backend: Key,
    /// What was seen.
    pub seen: Seen,
}

/// Where reports go: to whoever judges backends. By default to nobody.
#[derive(Debug, Clone, Default)]
pub struct Reports(Option<mpsc::Sender<Report>>);

/// Reports that wait to be read. What does not fit is lost; who fails goes on failing.
const REPORTS: usize = 4096;

impl Reports {
    /// Somewhere for them to go, and where they come out.
    pub fn channel() -> (Self, mpsc::Receiver<Report>) {
        let (sender, receiver) = mpsc::channel(REPORTS);
        (Self(Some(sender)), receiver)
    }
}

/// What this node knows of one backend of one pool. All workers write to it, so it has cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
pub struct BackendState {
    key: Key,
    /// Whether this node has seen it down, so that it is news when it can be reached.
    is_missed: AtomicBool,
    reports: Reports,
    requests: AtomicU64,
    connects: AtomicU64,
    connect_failures: AtomicU64,
    failures: AtomicU64,
    open: AtomicU64,
    /// Until when it is kept from being chosen, with [`OUT`] where it was judged so: later than ever, at one look.
    barred_until: AtomicU64,
    unverified_until: AtomicU64,
    /// When the last connection was begun, and when the last one was opened: seconds since the epoch.
    last_attempt: AtomicU64,
    last_connect: AtomicU64,
    attempts: AtomicU64,
    verified: AtomicU64,
    /// Verifications that failed since the last one that did not.
    unverified_in_a_row: AtomicU32,
    in_flight: AtomicU32,
    response_time: PeakEwma,
    report: LastReport,
}

impl BackendState {
    pub(super) fn new(pool: &PoolName, address: BackendAddress, reports: Reports) -> Self {
        Self {
            key: Key {
                pool: pool.clone(),
                backend: address,
            },
            is_missed: AtomicBool::new(false),
            reports,
            requests: AtomicU64::new(0),
            connects: AtomicU64::new(0),
            connect_failures: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            open: AtomicU64::new(0),
            barred_until: AtomicU64::new(0),
            unverified_until: AtomicU64::new(0),
            last_attempt: AtomicU64::new(0),
            last_connect: AtomicU64::new(0),
            attempts: AtomicU64::new(0),
            verified: AtomicU64::new(0),
            unverified_in_a_row: AtomicU32::new(0),
            in_flight: AtomicU32::new(0),
            response_time: PeakEwma::default(),
            report: LastReport::default(),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> BackendAddress {
        self.key.backend
    }

    /// Its pool and its address.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Whether it gets no request as long as there are others: so it was judged.
    #[inline]
    pub fn is_out(&self) -> bool {
        self.barred_until.load(Ordering::Relaxed) & OUT != 0
    }

    /// It was judged.
    pub fn set_out(&self, is_out: bool) {
        if is_out {
            self.barred_until.fetch_or(OUT, Ordering::Relaxed);
        } else {
            self.barred_until.fetch_and(!OUT, Ordering::Relaxed);
        }
    }

    /// Whether it is news when it can be reached.
    pub fn set_missed(&self, is_missed: bool) {
        self.is_missed.store(is_missed, Ordering::Relaxed);
    }

    /// Tells of it whoever judges.
    pub fn report(&self, seen: Seen) {
        if let Some(reports) = &self.reports.0 {
            let report = Report {
                backend: self.key.clone(),
                seen,
            };
            if reports.try_send(report).is_err() {
                tracing::trace!(backend = %self.key, "report of a backend lost");
            }
        }
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
        OpenConnection {
            backend: Arc::clone(self),
            begun: None,
        }
    }

    /// Requests that were sent to it and are not through, where its pool's method asks for that.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Its answer began so long after the request was sent.
    pub fn answered(&self, now: Instant, elapsed: Duration) {
        self.response_time.record(millis(now), elapsed);
    }

    /// It has not answered within that time, and will not.
    fn disappointed(&self, now: Instant, elapsed: Duration) {
        self.response_time.record_failure(millis(now), elapsed);
    }

    /// It told its load.
    pub fn reported(&self, now: Instant, load: f64) {
        self.report.record(millis(now), load);
    }

    /// What `response_time` goes by, at that many [`millis`].
    pub fn pace(&self, now: u32) -> Pace {
        Pace {
            in_flight: self.in_flight(),
            seconds: self.response_time.seconds(now),
        }
    }

    /// What `reported_load` goes by, at that many [`millis`].
    pub fn load(&self, now: u32) -> Load {
        Load {
            in_flight: self.in_flight(),
            report: self.report.read(now),
        }
    }

    /// Counts a connection that could not be opened, or not be verified, and keeps the backend from being chosen for a
    /// while. Where it accepts connections, and then says nothing of use on them, that takes longer each time.
    pub fn bar(&self, now: Instant, cannot_verify: bool) {
        self.connect_failures.fetch_add(1, Ordering::Relaxed);
        let again = if cannot_verify {
            self.unverified_in_a_row.fetch_add(1, Ordering::Relaxed)
        } else {
            0
        };
        let length = BARRED_FOR * (1 << again.min(MOST_DOUBLINGS));
        self.bar_until(wide_millis(now + length));
    }

    /// The verdict stays what it is.
    fn bar_until(&self, until: u64) {
        let (order, failed) = (Ordering::Relaxed, Ordering::Relaxed);
        let mut before = self.barred_until.load(failed);
        while let Err(now) =
            self.barred_until
                .compare_exchange_weak(before, before & OUT | until, order, failed)
        {
            before = now;
        }
    }

    /// A connection is about to be opened.
    pub fn attempt(&self) {
        self.attempts.fetch_add(1, Ordering::Relaxed);
        self.last_attempt.store(clock::now().0 / 1000, Ordering::Relaxed);
    }

    /// A connection was verified.
    pub fn count_verified(&self) {
        self.verified.fetch_add(1, Ordering::Relaxed);
    }

    /// Connections that were verified.
    pub fn verified(&self) -> u64 {
        self.verified.load(Ordering::Relaxed)
    }

    /// How often it was tried to reach.
    pub fn attempted(&self) -> Attempts {
        Attempts {
            attempts: self.attempts.load(Ordering::Relaxed),
            last_attempt: self.last_attempt.load(Ordering::Relaxed),
            last_connect: self.last_connect.load(Ordering::Relaxed),
        }
    }

    /// A connection was opened, and verified where that was asked.
    pub fn reached(&self) {
        self.last_connect.store(clock::now().0 / 1000, Ordering::Relaxed);
        self.unverified_in_a_row.store(0, Ordering::Relaxed);
        self.bar_until(0);
        if self.is_missed.load(Ordering::Relaxed) {
            self.report(Seen::Up(None));
        }
    }

    /// Whether it is kept from being chosen: it was judged so, or failed here a moment ago.
    #[inline]
    pub fn is_barred(&self, now: Instant) -> bool {
        let until = self.barred_until.load(Ordering::Relaxed);
        until != 0 && wide_millis(now) < until
    }

    /// Leaves verification of its new connections out for a while.
    pub fn skip_verification(&self, now: Instant, length: Duration) {
        self.unverified_until
            .store(wide_millis(now + length), Ordering::Relaxed);
    }

    /// Whether verification of its new connections is left out.
    pub fn skips_verification(&self, now: Instant) -> bool {
        self.unverified_for(now).is_some()
    }

    /// How long verification of its new connections is still left out; none: it is not.
    pub fn unverified_for(&self, now: Instant) -> Option<Duration> {
        let until = self.unverified_until.load(Ordering::Relaxed);
        let left = until.checked_sub(wide_millis(now)).filter(|left| *left > 0);
        left.map(Duration::from_millis)
    }
}

/// An open connection to a backend, counted as such for as long as this lives.
#[derive(Debug)]
pub struct OpenConnection {
    backend: Arc<BackendState>,
    /// The request that is counted as in flight.
    begun: Option<Begun>,
}

#[derive(Debug)]
struct Begun {
    at: Instant,
    answered: bool,
}

impl OpenConnection {
    /// The backend that it leads to.
    pub fn backend(&self) -> &Arc<BackendState> {
        &self.backend
    }

    /// Counts a request as in flight, until it ends or the connection does.
    pub fn begin_request(&mut self, now: Instant) {
        let begun = Begun {
            at: now,
            answered: false,
        };
        if self.begun.replace(begun).is_none() {
            self.backend.in_flight.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether a request is counted as in flight.
    #[inline]
    pub fn is_counted(&self) -> bool {
        self.begun.is_some()
    }

    /// The answer to the request in flight has begun. How long it took.
    pub fn request_answered(&mut self, now: Instant) -> Option<Duration> {
        let begun = self.begun.as_mut()?;
        begun.answered = true;
        Some(now.saturating_duration_since(begun.at))
    }

    /// The request is through.
    #[inline]
    pub fn end_request(&mut self) {
        if let Some(begun) = self.begun.take() {
            self.count_end(&begun);
        }
    }

    fn count_end(&self, begun: &Begun) {
        self.backend.in_flight.fetch_sub(1, Ordering::Relaxed);
        if !begun.answered {
            let now = Instant::now();
            let elapsed = now.saturating_duration_since(begun.at);
            self.backend.disappointed(now, elapsed);
        }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.end_request();
        self.backend.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Milliseconds of the node's clock, from 1, so that an instant fits into an atomic. It goes round after 49 days.
pub fn millis(at: Instant) -> u32 {
    u32::try_from(wide_millis(at) & u64::from(u32::MAX)).unwrap_or_default()
}

fn wide_millis(at: Instant) -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let since = at.saturating_duration_since(*START).as_millis();
    u64::try_from(since).unwrap_or(u64::MAX).saturating_add(1)
}
