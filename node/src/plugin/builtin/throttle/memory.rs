//! What is remembered of clients. PURE but for its lock: whoever asks says what time it is.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lru::LruCache;

/// Clients that are remembered, at most; who was not seen for the longest time is forgotten first.
const MAX_CLIENTS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(65_535);

/// How often a client may ask.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Between two requests.
    pub(super) threshold: Duration,
    pub(super) initial_delay: Duration,
    pub(super) max_delay: Duration,
    /// Requests in progress.
    pub(super) max_concurrent: u64,
    /// Delays behind each other; 0 is never.
    pub(super) ban_threshold: u64,
    pub(super) ban_expiration: Duration,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Pass,
    Wait(Duration),
    Ban,
}

#[derive(Debug, Default)]
struct Client {
    in_progress: u64,
    /// Delays behind each other.
    violations: u32,
    /// Until when its last request counts.
    counts_until: Option<Instant>,
    banned_until: Option<Instant>,
}

/// Clients by address.
#[derive(Debug)]
pub(super) struct Memory {
    clients: Mutex<LruCache<IpAddr, Client>>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            clients: Mutex::new(LruCache::new(MAX_CLIENTS)),
        }
    }
}

/// A request that is in progress, until this is dropped.
#[derive(Debug)]
pub(super) struct InProgress {
    memory: Arc<Memory>,
    ip: IpAddr,
}

impl Drop for InProgress {
    fn drop(&mut self) {
        if let Some(client) = self.memory.lock().get_mut(&self.ip) {
            client.in_progress = client.in_progress.saturating_sub(1);
        }
    }
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, LruCache<IpAddr, Client>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a ban of that client ends now; it begins anew then.
    pub(super) fn unban(&self, ip: IpAddr, now: Instant) -> bool {
        let mut clients = self.lock();
        let client = clients.get_mut(&ip);
        let ended = client.filter(|client| client.banned_until.is_some_and(|until| until <= now));
        ended.is_some_and(|client| {
            client.banned_until = None;
            client.violations = 0;
            client.counts_until = None;
            true
        })
    }

    /// Whether a client is banned.
    pub(super) fn is_banned(&self, ip: IpAddr, now: Instant) -> bool {
        let mut clients = self.lock();
        let client = clients.get(&ip);
        client.is_some_and(|client| client.banned_until.is_some_and(|until| until > now))
    }

    /// Begins a request of a client; none: too many are in progress.
    pub(super) fn begin(self: &Arc<Self>, ip: IpAddr, pace: &Pace) -> Option<InProgress> {
        let mut clients = self.lock();
        let client = clients.get_or_insert_mut(ip, Client::default);
        if client.in_progress >= pace.max_concurrent {
            return None;
        }
        client.in_progress += 1;
        Some(InProgress {
            memory: Arc::clone(self),
            ip,
        })
    }

    /// What becomes of a request of one of those that may have to wait.
    pub(super) fn pace(&self, ip: IpAddr, now: Instant, pace: &Pace) -> Verdict {
        let mut clients = self.lock();
        let client = clients.get_or_insert_mut(ip, Client::default);
        if client.counts_until.is_none_or(|until| until <= now) {
            client.violations = 0;
            client.counts_until = now.checked_add(pace.threshold);
            return Verdict::Pass;
        }
        let factor = 2u32.saturating_pow(client.violations);
        let delay = pace.initial_delay.saturating_mul(factor).min(pace.max_delay);
        client.violations = client.violations.saturating_add(1);
        if pace.ban_threshold > 0 && u64::from(client.violations) >= pace.ban_threshold {
            client.banned_until = now.checked_add(pace.ban_expiration);
            return Verdict::Ban;
        }
        // As in Perlbal: whoever waited for its turn may go on at once.
        client.counts_until = now.checked_add(delay);
        if delay.is_zero() {
            Verdict::Pass
        } else {
            Verdict::Wait(delay)
        }
    }
}
