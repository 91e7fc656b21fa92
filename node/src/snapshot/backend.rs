//! What this node knows of one backend of one pool.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use fleetbal_raft::model::{BackendAddress, PoolName};

use super::answers::LastAnswers;
use super::outcomes::{Outcomes, Timed};
use super::reports::{Reports, What};
use crate::balance::hash::mixed;
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

/// Beside a time: whether it came back a moment ago, and has a part of its requests that grows.
const WARMING: u64 = 1 << 62;

/// What a backend has of its requests at least while it is warming up, in thousandths.
const LEAST_PART: u64 = 100;

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
    /// While it is [`WARMING`]: since when and for how long, in milliseconds.
    warming_from: AtomicU64,
    warming_for: AtomicU64,
    outcomes: Outcomes,
    /// When the last connection was begun, and when the last one was opened: seconds since the epoch.
    last_attempt: AtomicU64,
    last_connect: AtomicU64,
    answers: LastAnswers,
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
            warming_from: AtomicU64::new(0),
            warming_for: AtomicU64::new(0),
            outcomes: Outcomes::default(),
            last_attempt: AtomicU64::new(0),
            last_connect: AtomicU64::new(0),
            answers: LastAnswers::default(),
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
        self.tell(What::Seen(seen));
    }

    fn tell(&self, what: What) {
        self.reports.tell(&self.key, what);
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

    /// Counts a request that was answered with this status, in this second since the epoch.
    #[inline]
    pub fn count_answer(&self, status: u16, epoch: u64) {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        self.answers.count(number, status, epoch);
        if status < 500 {
            self.outcomes.well();
        } else {
            self.count_error();
        }
    }

    /// What it answered last.
    pub fn answers(&self) -> &LastAnswers {
        &self.answers
    }

    /// Counts an answer that is an error, whatever becomes of the request.
    pub fn count_error(&self) {
        if let Some(in_a_row) = self.outcomes.erred() {
            self.tell(What::Errors(in_a_row));
        }
    }

    /// Counts a request that it failed.
    pub fn count_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.count_error();
    }

    /// Requests that it answered with 5xx, or not at all, or not to the end.
    pub fn errors_total(&self) -> u64 {
        self.outcomes.errors()
    }

    /// So many errors in a row are to be told; none: no errors are.
    pub fn tell_errors_after(&self, errors: Option<u32>) {
        self.outcomes.tell_after(errors);
    }

    /// An answer began so long after its request was sent. Counted where its pool asks for that.
    pub fn took(&self, time: Duration) {
        self.outcomes.took(time);
    }

    /// What was counted so.
    pub fn timed(&self) -> Timed {
        self.outcomes.timed()
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

    /// It came back: from now on its part of the requests grows, until it is whole after that time.
    pub fn warm_up(&self, now: Instant, length: Duration) {
        let length = length.as_millis().try_into().unwrap_or(u64::MAX);
        self.warming_from.store(wide_millis(now), Ordering::Relaxed);
        self.warming_for.store(length, Ordering::Relaxed);
        self.barred_until.fetch_or(WARMING, Ordering::Relaxed);
    }

    /// Its part is whole.
    pub fn is_warm(&self) {
        self.barred_until.fetch_and(!WARMING, Ordering::Relaxed);
    }

    /// What it has of its requests while that grows, in thousandths; none: all of them.
    pub fn part(&self, now: Instant) -> Option<u64> {
        if self.barred_until.load(Ordering::Relaxed) & WARMING == 0 {
            return None;
        }
        let since = wide_millis(now).saturating_sub(self.warming_from.load(Ordering::Relaxed));
        let part = since
            .saturating_mul(1000)
            .checked_div(self.warming_for.load(Ordering::Relaxed));
        part.filter(|part| *part < 1000).map(|part| part.max(LEAST_PART))
    }

    /// The verdict stays what it is.
    fn bar_until(&self, until: u64) {
        let (order, failed) = (Ordering::Relaxed, Ordering::Relaxed);
        let mut before = self.barred_until.load(failed);
        while let Err(now) =
            self.barred_until
                .compare_exchange_weak(before, before & (OUT | WARMING) | until, order, failed)
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
        self.answers.heard(clock::now().0 / 1000);
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

    /// Whether it is kept from being chosen: it was judged so, failed here a moment ago, or is warming up and leaves the
    /// request of this moment to others.
    #[inline]
    pub fn is_barred(&self, now: Instant) -> bool {
        let until = self.barred_until.load(Ordering::Relaxed);
        until != 0 && (wide_millis(now) < until & !WARMING || until & WARMING != 0 && self.leaves(now))
    }

    /// The same for each look at one moment: a coin that is thrown anew for each look would fall well sooner or later.
    #[cold]
    fn leaves(&self, now: Instant) -> bool {
        let Some(part) = self.part(now) else {
            self.is_warm();
            return false;
        };
        let own = std::ptr::from_ref(self).addr() as u64;
        mixed(wide_nanos(now) ^ mixed(own)) % 1000 >= part
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
            self.backend.took(elapsed);
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
    let since = since_start(at).as_millis();
    u64::try_from(since).unwrap_or(u64::MAX).saturating_add(1)
}

fn wide_nanos(at: Instant) -> u64 {
    u64::try_from(since_start(at).as_nanos()).unwrap_or(u64::MAX)
}

fn since_start(at: Instant) -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    at.saturating_duration_since(*START)
}
