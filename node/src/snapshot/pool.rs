//! Pools of one version.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fleetbal_raft::model::{BackendAddress, BalanceMethod, HashBy, Pool, PoolName};

use super::backend::BackendState;
use super::reports::Reports;
use crate::balance::{Plan, Weights};

/// A pool of one version. The state of a backend that stays in the pool is the same from version to version.
#[derive(Debug)]
pub struct PoolView {
    /// Its name.
    pub name: PoolName,
    /// How to choose among its backends.
    pub method: BalanceMethod,
    plan: Plan,
    weights: Weights,
    draining: Box<[bool]>,
    load_header: Option<String>,
    times_answers: bool,
    hash_by: Option<HashBy>,
    backends: Vec<Arc<BackendState>>,
    turn: Arc<Turn>,
}

/// A counter on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Turn(AtomicUsize);

impl PoolView {
    pub(super) fn new(name: &PoolName, pool: &Pool, before: Option<&Self>, reports: &Reports) -> Self {
        // By address at once: one look-up each would take quadratic time.
        let known = before.into_iter().flat_map(|before| &before.backends);
        let known: HashMap<_, _> = known.map(|backend| (backend.address(), backend)).collect();
        let kept = |address| known.get(&address).map(|backend| Arc::clone(backend));
        let addresses = || pool.backends().iter().map(|backend| backend.address);
        let fresh = |address| Arc::new(BackendState::new(name, address, reports.clone()));
        let backends = addresses().map(|address| kept(address).unwrap_or_else(|| fresh(address)));
        let backends: Vec<_> = backends.collect();
        let weights = Weights::new(pool.backends().iter().map(|backend| backend.weight));
        let method = pool.balance_method;
        // A plan depends on addresses and weights alone; draining, for one, leaves a hash's table as it is.
        let same = before.filter(|before| {
            let same_addresses = || before.backends.iter().map(|b| b.address()).eq(addresses());
            before.method == method && before.weights == weights && same_addresses()
        });
        let names = || addresses().map(|address| address.to_string()).collect();
        Self {
            name: name.clone(),
            method,
            plan: same.map_or_else(
                || Plan::new(method, names, &weights),
                |before| before.plan.clone(),
            ),
            weights,
            backends,
            draining: pool.backends().iter().map(|backend| backend.draining).collect(),
            load_header: pool.load_header.clone(),
            times_answers: pool.outlier.latency.is_some(),
            hash_by: (method == BalanceMethod::Hash).then(|| pool.hash_by.clone()),
            turn: before.map_or_else(Arc::default, |before| Arc::clone(&before.turn)),
        }
    }

    /// Its backends, oldest first.
    pub fn backends(&self) -> &[Arc<BackendState>] {
        &self.backends
    }

    /// Its method, worked out for its backends.
    #[inline]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The weights of its backends.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// The weight of one backend, by its place.
    pub fn weight_of(&self, at: usize) -> u32 {
        self.weights.of(at)
    }

    /// Whether a backend, by its place, gets no further request.
    #[inline]
    pub fn is_draining(&self, at: usize) -> bool {
        self.draining.get(at).copied().unwrap_or(false)
    }

    /// The header that its backends tell their load in; none: that of ORCA.
    pub fn load_header(&self) -> Option<&str> {
        self.load_header.as_deref()
    }

    /// Whether requests and answers have to be told to its backends: its method goes by that, or who is too slow is to be
    /// found.
    #[inline]
    pub fn learns(&self) -> bool {
        self.times_answers || self.plan.learns()
    }

    /// Whether it is counted how long answers take.
    pub fn times_answers(&self) -> bool {
        self.times_answers
    }

    /// What its requests are hashed by; none: its method asks for no hash.
    pub fn hash_by(&self) -> Option<&HashBy> {
        self.hash_by.as_ref()
    }

    /// One backend, by address.
    pub fn backend(&self, address: BackendAddress) -> Option<&Arc<BackendState>> {
        self.backends.iter().find(|backend| backend.address() == address)
    }

    /// Whether this very backend is in it and gets requests: one that was removed and added again is another, and the
    /// connections of one that is draining are not kept.
    pub fn holds(&self, backend: &Arc<BackendState>) -> bool {
        let at = self.backends.iter().position(|b| Arc::ptr_eq(b, backend));
        at.is_some_and(|at| !self.is_draining(at))
    }

    /// A number that is one higher each time, over all workers; for methods that go round.
    pub fn next_turn(&self) -> usize {
        self.turn.0.fetch_add(1, Ordering::Relaxed)
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
