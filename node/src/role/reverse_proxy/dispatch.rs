//! Which connection a request goes out on.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use super::opening;
use super::queue::{Answer, Ticket};
use super::request::Request;
use crate::balance::{self, Pick};
use crate::http::ProxyError;
use crate::role::client::Client;
use crate::role::local::{Current, Local, Served};
use crate::snapshot::{BackendState, PoolView};
use crate::upstream::Lease;

const NOBODY: ProxyError = ProxyError::Unavailable("No backend is available.");
const NO_POOL: ProxyError = ProxyError::Unavailable("The service has no pool.");
const QUEUE_FULL: ProxyError = ProxyError::Busy("Too many requests wait for a backend.");
const WAITED_TOO_LONG: ProxyError = ProxyError::Busy("No backend was free in time.");

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

/// What a look at this worker's idle connections came to.
pub(super) enum Found {
    /// A connection that the request may use.
    Idle(Lease),
    /// None; where the method picks a backend for each request, this is the one.
    Nothing(Option<Arc<BackendState>>),
}

impl Found {
    /// Both as a request has them.
    pub(super) fn parts(self) -> (Option<Lease>, Option<Arc<BackendState>>) {
        match self {
            Self::Idle(lease) => (Some(lease), None),
            Self::Nothing(picked) => (None, picked),
        }
    }
}

/// Looks for an idle connection of this worker that the request may use.
#[inline]
pub(super) fn reuse(local: &Local, served: &Served, current: &Current, turn: Turn) -> Found {
    let Some(pool) = current.view.pool.as_ref() else {
        return Found::Nothing(None);
    };
    let tick = local.deadlines.now();
    if pool.plan().takes_any_idle() {
        return served
            .idle
            .take_hottest(tick)
            .map_or(Found::Nothing(None), Found::Idle);
    }
    let picked = pick(local, pool, turn, &[], None);
    match picked.as_ref().map(|backend| served.idle.take_of(backend, tick)) {
        Some(Some(lease)) => Found::Idle(lease),
        Some(None) | None => Found::Nothing(picked),
    }
}

/// The same for a backend that was chosen.
pub(super) fn reuse_of(local: &Local, served: &Served, backend: Arc<BackendState>) -> Found {
    let lease = served.idle.take_of(&backend, local.deadlines.now());
    lease.map_or(Found::Nothing(Some(backend)), Found::Idle)
}

/// A backend that was not tried yet; those that failed a moment ago are tried last, and so is `avoided`.
fn pick(
    local: &Local,
    pool: &PoolView,
    turn: Turn,
    tried: &[Arc<BackendState>],
    avoided: Option<&Arc<BackendState>>,
) -> Option<Arc<BackendState>> {
    let now = Instant::now();
    let backends = pool.backends();
    let is_untried = |at: usize| {
        let is_new = |backend: &Arc<BackendState>| !tried.iter().any(|tried| Arc::ptr_eq(tried, backend));
        !pool.is_draining(at) && backends.get(at).is_some_and(is_new)
    };
    let is_welcome = |at: usize| {
        let is_welcome = |backend: &Arc<BackendState>| {
            !backend.is_barred(now) && avoided.is_none_or(|avoided| !Arc::ptr_eq(avoided, backend))
        };
        is_untried(at) && backends.get(at).is_some_and(is_welcome)
    };
    let rng = &mut *local.rng.borrow_mut();
    let at = balance::pick(pool, turn.pick(now), is_welcome, rng)
        .or_else(|| balance::pick(pool, turn.pick(now), is_untried, rng))?;
    backends.get(at).map(Arc::clone)
}

/// Waits for a connection: for any, or for one to the backend that was picked, and where that fails to another. Whoever
/// failed this request before is `avoided`, if there is anybody else. Dropping the future gives up the place in the
/// queue.
pub(super) async fn lease(
    client: &Client,
    request: &Request,
    avoided: Option<&Arc<BackendState>>,
) -> Result<Lease, ProxyError> {
    let mut tried = Vec::new();
    let mut picked = request.picked.clone();
    client.arm(request.current.view.settings.queue.timeout);
    client.record.uses(None);
    loop {
        // Not by the rules that it began with: who was removed gets no further request.
        let current = client.served().current(client.local());
        let pool = current.as_ref().and_then(|current| current.view.pool.as_ref());
        let pool = pool.ok_or(NO_POOL)?;
        let wants_one = !pool.plan().takes_any_idle() || avoided.is_some() || !tried.is_empty();
        if wants_one && picked.as_ref().is_none_or(|backend| !pool.holds(backend)) {
            picked = pick(client.local(), pool, request.turn, &tried, avoided);
            if picked.is_none() {
                return Err(NOBODY);
            }
        }
        match wait(client, request, picked.as_ref()).await? {
            Some(lease) => return Ok(lease),
            None if picked.is_none() => return Err(NOBODY),
            None => tried.extend(picked.take()),
        }
    }
}

/// Waits in the queue. None: there is nobody to connect to.
async fn wait(
    client: &Client,
    request: &Request,
    backend: Option<&Arc<BackendState>>,
) -> Result<Option<Lease>, ProxyError> {
    let (local, served) = (&client.counted.local, &client.serving);
    let limit = request.current.view.settings.queue.limit;
    let ticket = served.queue.enter(request.class, backend, local.worker, limit);
    let mut ticket = ticket.map_err(|_| QUEUE_FULL)?;
    // What became idle here since this request looked is not forgotten.
    opening::give_idle(local, served);
    opening::replenish(local, served);
    let answer = poll_fn(|cx| {
        if client.timed_out() {
            return Poll::Ready(None);
        }
        ticket.poll_answer(cx).map(Some)
    })
    .await;
    match answer {
        Some(Answer::Nobody) => Ok(None),
        // One that is lost on its way is like one that was closed: there may be others.
        Some(Answer::Connection(passed)) => passed.take().map(Some).map_err(|_| NOBODY),
        None => {
            give_back(client, ticket);
            Err(WAITED_TOO_LONG)
        }
    }
}

/// Leaves the queue. A connection that came at the last moment is for others.
fn give_back(client: &Client, ticket: Ticket) {
    if let Some(Answer::Connection(passed)) = ticket.leave()
        && let Ok(lease) = passed.take()
    {
        opening::offer(&client.counted.local, &client.serving, lease);
    }
}
