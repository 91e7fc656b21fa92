//! Counters of the data plane.
//!
//! What every worker counts for each request is kept per worker, on cache lines of its own, and added up when it is
//! read: two workers never write to the same line. Counters of backends are with the backends, in
//! [`PoolView`](crate::snapshot::PoolView).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use fleetbal_raft::model::ServiceName;

/// Status codes are counted one by one from 100 to 599.
const CODES: usize = 500;
const FIRST_CODE: u16 = 100;

/// Counters of all services. They outlive configurations: a service that comes back goes on counting.
#[derive(Debug, Default)]
pub struct Stats {
    services: Mutex<BTreeMap<ServiceName, Arc<ServiceStats>>>,
}

impl Stats {
    /// Counters at zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// The counters of one service, made where there are none yet.
    pub fn service(&self, name: &ServiceName) -> Arc<ServiceStats> {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stats) = services.get(name) {
            return Arc::clone(stats);
        }
        let stats = Arc::new(ServiceStats::default());
        services.insert(name.clone(), Arc::clone(&stats));
        stats
    }

    /// The counters of every service that ever listened, by name.
    pub fn services(&self) -> Vec<(ServiceName, Arc<ServiceStats>)> {
        let services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        services
            .iter()
            .map(|(name, stats)| (name.clone(), Arc::clone(stats)))
            .collect()
    }

    /// Requests answered since the start, of all services.
    pub fn requests_total(&self) -> u64 {
        self.sum(ServiceStats::requests_total)
    }

    /// Client connections that are open now, of all services.
    pub fn open_connections(&self) -> u64 {
        self.sum(ServiceStats::open_connections)
    }

    /// Requests that are being served now, of all services.
    pub fn requests_in_flight(&self) -> u64 {
        self.sum(ServiceStats::requests_in_flight)
    }

    fn sum(&self, of: impl Fn(&ServiceStats) -> u64) -> u64 {
        let services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        services.values().map(|stats| of(stats)).sum()
    }
}

/// The counters of one service.
#[derive(Debug)]
pub struct ServiceStats {
    shards: [OnceLock<Box<Shard>>; SHARDS],
    log_lines_written: AtomicU64,
    log_lines_dropped: AtomicU64,
}

/// Workers beyond this number share counters with others.
const SHARDS: usize = 64;

impl Default for ServiceStats {
    fn default() -> Self {
        Self {
            shards: [const { OnceLock::new() }; SHARDS],
            log_lines_written: AtomicU64::new(0),
            log_lines_dropped: AtomicU64::new(0),
        }
    }
}

impl ServiceStats {
    /// Lines of its access log were written.
    pub fn log_lines_written(&self, lines: u64) {
        self.log_lines_written.fetch_add(lines, Ordering::Relaxed);
    }

    /// Lines of its access log were lost.
    pub fn log_lines_dropped(&self, lines: u64) {
        self.log_lines_dropped.fetch_add(lines, Ordering::Relaxed);
    }

    /// Lines of its access log since the start: those that were written, and those that were lost.
    pub fn log_lines(&self) -> (u64, u64) {
        (read(&self.log_lines_written), read(&self.log_lines_dropped))
    }

    /// The counters that one worker writes to.
    pub fn shard(&self, worker: usize) -> &Shard {
        match self.shards.get(worker % SHARDS) {
            Some(shard) => shard.get_or_init(Box::default),
            // The remainder is below the length.
            None => &EMPTY,
        }
    }

    /// Requests answered since the start.
    pub fn requests_total(&self) -> u64 {
        self.sum(|shard| shard.codes.iter().map(read).sum())
    }

    /// Requests answered since the start by status code, without those that never occurred.
    pub fn requests_by_code(&self) -> Vec<(u16, u64)> {
        let counts = (FIRST_CODE..).zip(0..CODES).map(|(code, at)| {
            let count = self.sum(|shard| shard.codes.get(at).map_or(0, read));
            (code, count)
        });
        counts.filter(|(_, count)| *count > 0).collect()
    }

    /// Client connections accepted since the start.
    pub fn accepted_total(&self) -> u64 {
        self.sum(|shard| read(&shard.accepted))
    }

    /// Client connections that are open now.
    pub fn open_connections(&self) -> u64 {
        // Read first what closes them, so that the difference is never negative.
        let closed = self.sum(|shard| read(&shard.closed));
        self.accepted_total().saturating_sub(closed)
    }

    /// Requests that are being served now.
    pub fn requests_in_flight(&self) -> u64 {
        let ended = self.sum(|shard| read(&shard.ended));
        self.sum(|shard| read(&shard.started)).saturating_sub(ended)
    }

    fn sum(&self, of: impl Fn(&Shard) -> u64) -> u64 {
        self.shards
            .iter()
            .filter_map(OnceLock::get)
            .map(|shard| of(shard))
            .sum()
    }
}

/// What one worker counts of one service.
#[derive(Debug)]
#[repr(align(128))]
pub struct Shard {
    accepted: AtomicU64,
    closed: AtomicU64,
    started: AtomicU64,
    ended: AtomicU64,
    codes: [AtomicU64; CODES],
}

static EMPTY: Shard = Shard::new();

impl Default for Shard {
    fn default() -> Self {
        Self::new()
    }
}

impl Shard {
    const fn new() -> Self {
        Self {
            accepted: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            started: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            codes: [const { AtomicU64::new(0) }; CODES],
        }
    }

    /// A client connection was accepted.
    pub fn connection_opened(&self) {
        add(&self.accepted);
    }

    /// A client connection is gone.
    pub fn connection_closed(&self) {
        add(&self.closed);
    }

    /// A request's head was read.
    pub fn request_started(&self) {
        add(&self.started);
    }

    /// A request is over, answered or not.
    pub fn request_ended(&self) {
        add(&self.ended);
    }

    /// A request was answered with a status code.
    pub fn answered(&self, code: u16) {
        if let Some(count) = self
            .codes
            .get(usize::from(code).wrapping_sub(usize::from(FIRST_CODE)))
        {
            add(count);
        }
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_up_over_workers() {
        let stats = Stats::new();
        let www = stats.service(&ServiceName::parse("www").unwrap());
        for (worker, code) in [(0, 200), (1, 200), (1, 404), (65, 599), (0, 99), (0, 600)] {
            www.shard(worker).answered(code);
        }
        assert_eq!(www.requests_by_code(), [(200, 2), (404, 1), (599, 1)]);
        assert_eq!(stats.requests_total(), 4);
        www.shard(0).connection_opened();
        www.shard(1).connection_opened();
        www.shard(0).connection_closed();
        assert_eq!((www.accepted_total(), stats.open_connections()), (2, 1));
    }

    #[test]
    fn the_same_name_is_the_same_service() {
        let stats = Stats::new();
        let name = ServiceName::parse("www").unwrap();
        assert!(Arc::ptr_eq(&stats.service(&name), &stats.service(&name)));
        assert_eq!(stats.services().len(), 1);
    }
}
