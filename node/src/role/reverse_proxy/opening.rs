//! Opens connections for requests that wait, and ahead of those to come, by tasks of their own: who waits gets whichever
//! connection is there first, and what is being opened is not lost when a client leaves.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::queue::{Demand, Opening, Queue};
use crate::plugin::{Hooks, Points};
use crate::role::local::{Local, Served};
use crate::snapshot::ServiceView;
use crate::upstream::{self, Lease, Verifier};

/// Sees to it that whoever waits is served as soon as may be: other workers that have something idle are told, and see
/// to the rest; where there are none, what is missing is opened.
pub(in crate::role) fn replenish(local: &Rc<Local>, served: &Rc<Served>) {
    let others_look = served.queue.waiting() > 0 && tell_others(local, served);
    if !others_look {
        open_missing(local, served);
    }
}

/// Opens what is missing.
fn open_missing(local: &Rc<Local>, served: &Rc<Served>) {
    let current = served.current(local);
    let view = current.as_ref().map(|current| &current.view);
    if let Some(view) = view
        && let Some(pool) = &view.pool
    {
        let settings = &view.settings;
        let demand = Demand {
            pool,
            ahead: if view.enabled {
                settings.queue.connect_ahead
            } else {
                0
            },
            now: Instant::now(),
        };
        let rng = &mut *local.rng.borrow_mut();
        for opening in served.queue.begin_openings(demand, rng) {
            let carried = carry_through(Rc::clone(local), Rc::clone(served), opening, verifier(view));
            tokio::task::spawn_local(carried);
        }
    }
    let pool = view.and_then(|view| view.pool.as_deref());
    served.queue.dismiss_hopeless(pool);
}

/// Another worker has told that somebody waits.
pub(in crate::role) fn was_told(local: &Rc<Local>, served: &Rc<Served>) {
    served.queue.was_told(local.worker);
    give_idle(local, served);
    if served.queue.waiting() > 0 {
        open_missing(local, served);
    }
}

/// Does so if anybody waits; next to nothing if nobody does.
#[inline]
pub(super) fn replenish_for_waiting(local: &Rc<Local>, served: &Rc<Served>) {
    if served.queue.waiting() > 0 {
        replenish(local, served);
    }
}

/// Gives what is idle here to those who wait anywhere.
pub(in crate::role) fn give_idle(local: &Rc<Local>, served: &Rc<Served>) {
    let Some(current) = served.current(local) else {
        return;
    };
    while served.queue.waiting() > 0 {
        let wants = |backend: &Arc<_>| served.queue.wants(backend);
        let Some(lease) = served.idle.take_for(local.deadlines.now(), wants) else {
            return;
        };
        served.pass_on(local, &current, lease);
    }
}

/// A connection is there that serves no request: it goes to whoever waits, or is idle, if it is still wanted.
pub(super) fn offer(local: &Rc<Local>, served: &Rc<Served>, lease: Lease) {
    let current = served.current(local);
    if let Some(current) = current.filter(|current| current.holds(lease.backend())) {
        served.pass_on(local, &current, lease);
        // Somebody may have begun to wait meanwhile, and have found nothing idle.
        if served.queue.connections().are_shared() {
            give_idle(local, served);
        }
    }
}

/// Tells those that have idle connections. Whether there are any.
fn tell_others(local: &Local, served: &Served) -> bool {
    let queue = &served.queue;
    let mut others_look = false;
    for worker in (0..local.workers).filter(|worker| *worker != local.worker) {
        if queue.connections().idle_of(worker) == 0 {
            continue;
        }
        others_look |= if queue.is_to_be_told(worker) {
            let peer = local.peers.get(worker);
            let is_told = peer.is_some_and(|peer| peer.try_send(Arc::clone(queue)).is_ok());
            if !is_told {
                queue.was_told(worker);
            }
            is_told
        } else {
            // It was, and has not looked yet.
            true
        };
    }
    others_look
}

/// What is being opened is taken off the list whatever becomes of it.
struct Pending {
    queue: Arc<Queue>,
    opening: Arc<Opening>,
    has_failed: bool,
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.has_failed {
            self.queue.failed(&self.opening);
        } else {
            self.queue.opened(&self.opening);
        }
    }
}

/// How the service's connections are verified, if they are.
fn verifier(view: &ServiceView) -> Option<Verifier> {
    let request = view.settings.verify_request.clone()?;
    let sees = |hooks: &&Arc<Hooks>| hooks.points().meets(Points::VERIFICATION);
    Some(Verifier {
        request,
        service: view.name.clone(),
        hooks: view.hooks.as_ref().filter(sees).map(Arc::clone),
    })
}

async fn carry_through(
    local: Rc<Local>,
    served: Rc<Served>,
    opening: Arc<Opening>,
    verify: Option<Verifier>,
) {
    let mut pending = Pending {
        queue: Arc::clone(&served.queue),
        opening: Arc::clone(&opening),
        has_failed: true,
    };
    let connections = served.queue.connections();
    let opened = upstream::connect(&opening.backend, verify.as_ref(), connections, &opening.stage).await;
    pending.has_failed = opened.is_err();
    drop(pending);
    // Its error was counted where it arose; to clients it matters only when no other backend is left.
    if let Ok(lease) = opened {
        offer(&local, &served, lease);
    }
    replenish(&local, &served);
}
