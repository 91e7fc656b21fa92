//! Which connection a request goes out on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::balance::{self, Pick};
use crate::http::ProxyError;
use crate::role::local::{Current, Local, Served};
use crate::snapshot::BackendState;
use crate::upstream::{self, Lease};

/// How long a request may wait for a connection, over all backends that are tried.
const OPEN_LIMIT: Duration = Duration::from_secs(10);

/// Decided once for a request: what its backend is picked by.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Turn {
    number: usize,
    hash: u64,
}

impl Turn {
    /// The next one of the service's pool, for a request of this hash.
    pub(super) fn next(current: &Current, hash: u64) -> Self {
        let pool = current.view.pool.as_ref();
        let pool = pool.filter(|pool| pool.plan().takes_turns());
        Self {
            number: pool.map_or(0, |pool| pool.next_turn()),
            hash,
        }
    }

    fn pick(self, now: Instant) -> Pick {
        Pick {
            turn: self.number,
            hash: self.hash,
            now,
        }
    }
}

/// An idle connection that the request may use.
#[inline]
pub(super) fn reuse(local: &Local, served: &Served, current: &Current, turn: Turn) -> Option<Lease> {
    let pool = current.view.pool.as_ref()?;
    if pool.plan().takes_any_idle() {
        return served.idle.take_hottest();
    }
    let now = Instant::now();
    let backends = pool.backends();
    let is_up = |at: usize| backends.get(at).is_some_and(|backend| !backend.is_barred(now));
    let usable = |at: usize| !pool.is_draining(at) && is_up(at);
    let mut rng = local.rng.borrow_mut();
    let at = balance::pick(pool, turn.pick(now), usable, &mut *rng)?;
    served.idle.take_of(backends.get(at)?)
}

/// Opens a connection: to the backend that is picked, or else to any other that takes it. Those that failed a moment
/// ago are tried last, and so is `avoid`. Dropping the future gives up the connection that is being opened.
pub(super) async fn open(
    local: &Local,
    current: &Current,
    turn: Turn,
    avoid: Option<&Arc<BackendState>>,
) -> Result<Lease, ProxyError> {
    let none = ProxyError::Unavailable("No backend is available.");
    let pool = current.view.pool.as_ref();
    let pool = pool.ok_or(ProxyError::Unavailable("The service has no pool."))?;
    let verify = current.view.settings.verify_request.as_deref();
    let backends = pool.backends();
    let mut untried = vec![true; backends.len()];
    let give_up = Instant::now() + OPEN_LIMIT;
    loop {
        let now = Instant::now();
        let is_untried = |at: usize| !pool.is_draining(at) && untried.get(at).copied().unwrap_or(false);
        let is_first_choice = |at: usize| {
            let is_welcome = |backend: &Arc<BackendState>| {
                !backend.is_barred(now) && avoid.is_none_or(|avoid| !Arc::ptr_eq(avoid, backend))
            };
            is_untried(at) && backends.get(at).is_some_and(is_welcome)
        };
        let picked = {
            let rng = &mut *local.rng.borrow_mut();
            balance::pick(pool, turn.pick(now), is_first_choice, rng)
                .or_else(|| balance::pick(pool, turn.pick(now), is_untried, rng))
        };
        let backend = picked.and_then(|at| backends.get(at).zip(untried.get_mut(at)));
        let Some((backend, untried)) = backend.filter(|_| now < give_up) else {
            return Err(none);
        };
        *untried = false;
        // Its error was counted where it arose; to the client it matters only when no other backend is left.
        if let Ok(lease) = upstream::connect(backend, verify).await {
            return Ok(lease);
        }
    }
}
