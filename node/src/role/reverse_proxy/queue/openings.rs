//! Connections that are being opened for a service on this node: one a backend at a time, as with Perlbal.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use fleetbal_raft::model::ServiceName;
use rand::Rng;

use super::{Class, Inner, Place, Queue, key};
use crate::balance::{self, Pick};
use crate::monitor::sockets::{Backend, BackendState as Doing, Kind, Socket};
use crate::snapshot::{BackendState, PoolView};
use crate::upstream::Stage;

/// At most so many are begun at once (Perlbal's value).
const AT_ONCE: usize = 10;

/// One that is being opened.
#[derive(Debug)]
pub struct Opening {
    /// Where it leads.
    pub backend: Arc<BackendState>,
    /// Since when.
    pub since: Instant,
    /// How far it has come.
    pub stage: Stage,
    /// Whoever has a lower number waited for it from its beginning.
    begun: u64,
}

impl Opening {
    /// It as others see it; it has no descriptor to tell of yet.
    pub(super) fn socket(&self, service: &ServiceName) -> Socket {
        let state = if self.stage.is_verifying() {
            Doing::Verifying
        } else {
            Doing::Connecting
        };
        Socket {
            descriptor: None,
            age: self.since.elapsed(),
            service: Some(service.clone()),
            kind: Kind::Backend(Backend {
                address: self.backend.address(),
                local_port: None,
                client: None,
                uses: 0,
                state,
                is_verified: false,
            }),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Openings {
    all: Vec<Arc<Opening>>,
    /// By backend: up to which number all who waited have seen it fail.
    failed: BTreeMap<usize, u64>,
}

impl Openings {
    pub(super) fn all(&self) -> &[Arc<Opening>] {
        &self.all
    }

    fn is_opening(&self, backend: &Arc<BackendState>) -> bool {
        self.all
            .iter()
            .any(|opening| Arc::ptr_eq(&opening.backend, backend))
    }

    fn failed(&self, backend: &Arc<BackendState>) -> u64 {
        self.failed.get(&key(backend)).copied().unwrap_or_default()
    }

    fn end(&mut self, opening: &Arc<Opening>) {
        self.all.retain(|other| !Arc::ptr_eq(other, opening));
    }
}

/// What the number of connections to open depends on.
#[derive(Debug, Clone, Copy)]
pub(in crate::role::reverse_proxy) struct Demand<'a> {
    /// Where to.
    pub(in crate::role::reverse_proxy) pool: &'a PoolView,
    /// How many there are to be beyond what is asked for.
    pub(in crate::role::reverse_proxy) ahead: usize,
    /// The time.
    pub(in crate::role::reverse_proxy) now: Instant,
}

impl Queue {
    /// Begins to open what is missing (Perlbal, reference section 4.6): for all who wait, and ahead of those to come,
    /// but what is idle or being opened already counts. Each is the caller's to carry through.
    pub(in crate::role::reverse_proxy) fn begin_openings(
        &self,
        demand: Demand<'_>,
        rng: &mut impl Rng,
    ) -> Vec<Arc<Opening>> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let mut begun = inner.begin_for_one_backend(demand);
        let of = begun.len();
        let pending = inner.openings.all.len();
        let wanted = inner.any.total() + demand.ahead + of;
        let wanted = wanted
            .saturating_sub(self.connections.idle() + pending)
            .min(AT_ONCE);
        for _ in 0..wanted {
            let first = demand.pick(rng, |backend| {
                !backend.is_barred(demand.now) && !inner.openings.is_opening(backend)
            });
            let Some(backend) = first.or_else(|| self.pick_desperately(inner, demand, rng)) else {
                break;
            };
            begun.push(inner.begin(backend, demand.now));
        }
        begun
    }

    /// A backend that failed a moment ago, if nobody else is there for those who wait, and they have not seen it fail.
    fn pick_desperately(
        &self,
        inner: &Inner,
        demand: Demand<'_>,
        rng: &mut impl Rng,
    ) -> Option<Arc<BackendState>> {
        let newest = inner.any.newest()?;
        let is_hopeless = inner.openings.all.is_empty() && self.connections.open() == 0;
        is_hopeless
            .then(|| demand.pick(rng, |backend| inner.openings.failed(backend) <= newest))
            .flatten()
    }

    /// One was opened.
    pub(in crate::role::reverse_proxy) fn opened(&self, opening: &Arc<Opening>) {
        let mut inner = self.lock();
        inner.openings.end(opening);
        inner.openings.failed.remove(&key(&opening.backend));
    }

    /// One could not be opened. Whoever waits for that backend alone is told so.
    pub(in crate::role::reverse_proxy) fn failed(&self, opening: &Arc<Opening>) {
        let mut inner = self.lock();
        inner.openings.end(opening);
        let backend = key(&opening.backend);
        inner.openings.failed.insert(backend, opening.begun);
        let places = inner.places_of(backend);
        self.dismiss(inner, places);
    }

    /// Tells those that nobody is there who have seen every backend fail since they came, if there is no connection
    /// that could become free; and those who want a backend that is none of the pool any more.
    pub(in crate::role::reverse_proxy) fn dismiss_hopeless(&self, pool: Option<&PoolView>) {
        let mut inner = self.lock();
        let backends = || {
            let all = pool.map_or(&[][..], PoolView::backends).iter().enumerate();
            all.filter(|(at, _)| !pool.is_some_and(|pool| pool.is_draining(*at)))
                .map(|(_, backend)| backend)
        };
        let is_there = |of: &usize| backends().any(|backend| key(backend) == *of);
        inner.openings.failed.retain(|of, _| is_there(of));
        let gone: Vec<_> = inner.of.keys().copied().filter(|of| !is_there(of)).collect();
        let mut places: Vec<_> = gone.into_iter().flat_map(|of| inner.places_of(of)).collect();
        if inner.openings.all.is_empty() && self.connections.open() == 0 {
            let seen = backends().map(|backend| inner.openings.failed(backend)).min();
            places.extend(inner.places_of_any(seen.unwrap_or(u64::MAX)));
        }
        if !places.is_empty() {
            self.dismiss(inner, places);
        }
    }
}

impl Demand<'_> {
    fn pick(
        self,
        rng: &mut impl Rng,
        is_usable: impl Fn(&Arc<BackendState>) -> bool,
    ) -> Option<Arc<BackendState>> {
        let backends = self.pool.backends();
        let usable = |at: usize| !self.pool.is_draining(at) && backends.get(at).is_some_and(&is_usable);
        // No request is known that it would be for.
        let number = rng.random();
        let pick = Pick {
            turn: usize::try_from(number).unwrap_or_default(),
            hash: number,
            now: self.now,
        };
        let at = balance::pick(self.pool, pick, usable, rng)?;
        backends.get(at).map(Arc::clone)
    }
}

impl Inner {
    fn begin(&mut self, backend: Arc<BackendState>, now: Instant) -> Arc<Opening> {
        let opening = Arc::new(Opening {
            backend,
            since: now,
            stage: Stage::default(),
            begun: self.next,
        });
        self.openings.all.push(Arc::clone(&opening));
        opening
    }

    /// For those who want one backend: each of these gets one, if none is on its way.
    fn begin_for_one_backend(&mut self, demand: Demand<'_>) -> Vec<Arc<Opening>> {
        let wanted = self.of.values().map(|(backend, _)| backend);
        let missing: Vec<_> = wanted
            .filter(|backend| !self.openings.is_opening(backend) && demand.pool.holds(backend))
            .take(AT_ONCE)
            .map(Arc::clone)
            .collect();
        missing
            .into_iter()
            .map(|backend| self.begin(backend, demand.now))
            .collect()
    }

    fn places_of(&self, of: usize) -> Vec<Place> {
        let lines = self.of.get(&of).map(|(_, lines)| lines);
        let all = lines.into_iter().flat_map(|lines| lines.before(u64::MAX));
        all.map(|(class, id)| place(class, id, Some(of))).collect()
    }

    fn places_of_any(&self, before: u64) -> impl Iterator<Item = Place> {
        self.any.before(before).map(|(class, id)| place(class, id, None))
    }
}

fn place(class: Class, id: u64, of: Option<usize>) -> Place {
    Place { id, class, of }
}
