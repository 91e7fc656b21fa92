//! What the backends of a pool have in common: rules, how they are asked, and whether the pool is in panic.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fleetbal_raft::model::{HealthRules, OutlierRules, Pool, PoolName};
use itertools::Itertools as _;

use super::super::probe::How;
use super::entry::Entry;
use crate::health::Usable;
use crate::snapshot::{BackendState, PoolView, Snapshot};

/// How often a backend in trouble is checked.
pub(super) const IN_TROUBLE: Duration = Duration::from_secs(1);

/// An observation is fresh for so many intervals between checks.
const FRESH_INTERVALS: u32 = 3;

#[derive(Debug, Default)]
pub(super) struct Pools(BTreeMap<PoolName, PoolHealth>);

#[derive(Debug)]
pub(super) struct PoolHealth {
    model: Arc<Pool>,
    view: Arc<PoolView>,
    /// What verifies connections to its backends, where a service has that done.
    verify: Option<Arc<[u8]>>,
    /// Whether a service uses it.
    is_used: bool,
    usable: Usable,
    /// Backends that are out by the outcome of their requests.
    ejected: usize,
    is_panic: bool,
}

/// A pool about which something is different.
#[derive(Debug)]
pub(super) struct Changed {
    pub(super) name: PoolName,
    /// As it was; none where it is new.
    pub(super) before: Option<Arc<PoolView>>,
    /// As it is; none where it is gone.
    pub(super) now: Option<Arc<PoolView>>,
}

impl Pools {
    /// Follows the configuration. What is usable has to be counted anew in those that are different, and in no other: a
    /// change costs little however many pools there are.
    pub(super) fn follow(&mut self, snapshot: &Snapshot) -> Vec<Changed> {
        let verify: BTreeMap<_, _> = snapshot
            .services()
            .filter_map(|(_, service)| {
                let request = service.settings.verify_request.as_ref()?;
                Some((&service.pool.as_ref()?.name, request))
            })
            .collect();
        let used = snapshot
            .services()
            .filter_map(|(_, service)| service.pool.as_ref());
        let used: BTreeSet<_> = used.map(|pool| &pool.name).collect();
        // Both are in the order of names: they are walked in step, and nothing is looked up for what stays.
        let now = snapshot.config.pools().zip(snapshot.pools());
        let now = now.map(|((name, model), (_, view))| (name, model, view));
        let (mut gone, mut different) = (Vec::new(), Vec::new());
        for pair in self
            .0
            .iter_mut()
            .merge_join_by(now, |(one, _), (other, ..)| (*one).cmp(other))
        {
            match pair.left_and_right() {
                (Some((_, known)), Some((name, model, view))) => {
                    known.is_used = used.contains(name);
                    if !known.is_like(model, view, verify.get(name).copied()) {
                        different.push((name, model, view));
                    }
                }
                (None, Some(fresh)) => different.push(fresh),
                (Some((name, _)), None) => gone.push(name.clone()),
                (None, None) => {}
            }
        }
        let gone = gone.into_iter().filter_map(|name| self.0.remove_entry(&name));
        let mut changed: Vec<_> = gone
            .map(|(name, pool)| Changed {
                name,
                before: Some(pool.view),
                now: None,
            })
            .collect();
        for (name, model, view) in different {
            let known = self.0.remove(name);
            let pool = PoolHealth {
                model: Arc::clone(model),
                view: Arc::clone(view),
                verify: verify.get(name).copied().cloned(),
                is_used: used.contains(name),
                usable: Usable::default(),
                ejected: 0,
                is_panic: known.as_ref().is_some_and(|known| known.is_panic),
            };
            self.0.insert(name.clone(), pool);
            changed.push(Changed {
                name: name.clone(),
                before: known.map(|known| known.view),
                now: Some(Arc::clone(view)),
            });
        }
        changed
    }

    pub(super) fn get(&self, name: &PoolName) -> Option<&PoolHealth> {
        self.0.get(name)
    }

    /// Those that services use of which no backend is up, though they have some.
    pub(super) fn without_any(&self) -> impl Iterator<Item = (&PoolName, &PoolHealth)> {
        let is_without = |pool: &PoolHealth| pool.is_used && pool.usable.total > 0 && pool.usable.up == 0;
        self.0.iter().filter(move |(_, pool)| is_without(pool))
    }

    /// Those whose slow backends are to be found, and what is slow.
    pub(super) fn that_time(&self) -> impl Iterator<Item = (&PoolHealth, u32)> {
        self.0
            .values()
            .filter_map(|pool| Some((pool, pool.outlier().latency?)))
    }

    pub(super) fn is_panic(&self, name: &PoolName) -> bool {
        self.get(name).is_some_and(|pool| pool.is_panic)
    }

    /// Counts a backend that was not counted yet.
    pub(super) fn count(&mut self, name: &PoolName, entry: &Entry) {
        self.count_ejected(name, false, entry.outcome.is_ejected());
        if let Some(pool) = self.0.get_mut(name).filter(|_| !entry.is_draining) {
            pool.usable.total += u64::from(entry.weight);
            pool.usable.up += if entry.is_up() { entry.weight.into() } else { 0 };
        }
    }

    /// A backend that was out by the outcome of its requests, or not, is it now, or not.
    pub(super) fn count_ejected(&mut self, name: &PoolName, before: bool, now: bool) {
        if let Some(pool) = self.0.get_mut(name) {
            pool.ejected = (pool.ejected + usize::from(now)).saturating_sub(usize::from(before));
        }
    }

    /// The verdict on a backend that was counted has turned.
    pub(super) fn recount(&mut self, name: &PoolName, entry: &Entry) {
        if let Some(pool) = self.0.get_mut(name).filter(|_| !entry.is_draining) {
            let weight = u64::from(entry.weight);
            pool.usable.up = if entry.is_up() {
                pool.usable.up.saturating_add(weight)
            } else {
                pool.usable.up.saturating_sub(weight)
            };
        }
    }

    /// Whether the pool's panic has begun or ended.
    pub(super) fn panic_turned(&mut self, name: &PoolName) -> bool {
        let Some(pool) = self.0.get_mut(name) else {
            return false;
        };
        let is_panic = pool.usable.is_panic(pool.model.panic_threshold);
        std::mem::replace(&mut pool.is_panic, is_panic) != is_panic
    }
}

impl PoolHealth {
    fn is_like(&self, model: &Arc<Pool>, view: &Arc<PoolView>, verify: Option<&Arc<[u8]>>) -> bool {
        Arc::ptr_eq(&self.view, view) && Arc::ptr_eq(&self.model, model) && self.verify.as_ref() == verify
    }

    pub(super) fn rules(&self) -> &HealthRules {
        &self.model.health
    }

    pub(super) fn backends(&self) -> &[Arc<BackendState>] {
        self.view.backends()
    }

    /// When backends are out by the outcome of their requests.
    pub(super) fn outlier(&self) -> &OutlierRules {
        &self.model.outlier
    }

    /// For how long the part of a backend that came back grows.
    pub(super) fn slow_start(&self) -> Option<Duration> {
        self.model.slow_start
    }

    /// Whether the pool can do without this one for its outcomes: not too many are out for theirs, and another is up.
    pub(super) fn spares(&self, entry: &Entry) -> bool {
        let weight = if entry.is_draining { 0 } else { entry.weight };
        self.ejected < self.outlier().most_of(self.backends().len()) && self.usable.up > weight.into()
    }

    /// Whether a check for this pool says for another one what one of its own would.
    pub(super) fn asks_like(&self, other: &Self) -> bool {
        let (one, two) = (self.rules(), other.rules());
        let same = match (self.how(), other.how()) {
            (How::Connect, How::Connect) => true,
            (How::Verify(one), How::Verify(two)) => one == two,
            (How::Http(one), How::Http(two)) => {
                let asked = |rules: HealthRules| (rules.path, rules.method, rules.host, rules.expect);
                asked(one) == asked(two)
            }
            _ => false,
        };
        same && one.timeout == two.timeout
    }

    /// Between two checks by one node: while all is well, where that is asked for; while it is not.
    pub(super) fn intervals(&self) -> (Option<Duration>, Duration) {
        let rules = self.rules();
        if rules.is_active() {
            (Some(rules.interval), rules.interval.min(IN_TROUBLE))
        } else {
            (None, IN_TROUBLE)
        }
    }

    /// For how long an observation is fresh.
    pub(super) fn window(&self) -> Duration {
        let (interval, in_trouble) = self.intervals();
        interval.unwrap_or(in_trouble) * FRESH_INTERVALS
    }

    /// How long it takes at most until checkers that one node has told of trouble have looked for themselves, and all
    /// know.
    pub(super) fn patience(&self) -> Duration {
        (self.rules().timeout + IN_TROUBLE) * self.rules().fall.unwrap_or(1) + IN_TROUBLE
    }

    /// How a backend is asked.
    pub(super) fn how(&self) -> How {
        let rules = self.rules();
        match &self.verify {
            _ if rules.path.is_some() => How::Http(rules.clone()),
            Some(request) if !rules.tcp => How::Verify(Arc::clone(request)),
            Some(_) | None => How::Connect,
        }
    }
}
