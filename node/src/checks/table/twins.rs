//! Backends that are in several pools: one check can do for all of them.

use std::collections::BTreeMap;

use fleetbal_raft::model::BackendAddress;

use crate::health::Key;
use crate::snapshot::Snapshot;

/// By address, those that are in more than one pool.
#[derive(Debug, Default)]
pub(super) struct Twins(BTreeMap<BackendAddress, Vec<Key>>);

impl Twins {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let mut all: BTreeMap<_, Vec<Key>> = BTreeMap::new();
        if snapshot.pools().len() > 1 {
            for backend in snapshot.pools().flat_map(|(_, pool)| pool.backends()) {
                let keys = all.entry(backend.address()).or_default();
                keys.push(backend.key().clone());
            }
        }
        all.retain(|_, keys| keys.len() > 1);
        Self(all)
    }

    /// The same backend in other pools.
    pub(super) fn of_key<'a>(&'a self, key: &'a Key) -> impl Iterator<Item = &'a Key> {
        let keys = self.0.get(&key.backend).into_iter().flatten();
        keys.filter(move |other| *other != key)
    }
}
