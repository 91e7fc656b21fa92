//! Backends that are in several pools: one check can do for all of them.

use std::collections::{BTreeMap, BTreeSet};

use fleetbal_raft::model::BackendAddress;

use crate::health::Key;

/// All backends, by address.
#[derive(Debug, Default)]
pub(super) struct Twins(BTreeMap<BackendAddress, BTreeSet<Key>>);

impl Twins {
    pub(super) fn insert(&mut self, key: &Key) {
        self.0.entry(key.backend).or_default().insert(key.clone());
    }

    pub(super) fn remove(&mut self, key: &Key) {
        if let Some(keys) = self.0.get_mut(&key.backend) {
            keys.remove(key);
            if keys.is_empty() {
                self.0.remove(&key.backend);
            }
        }
    }

    /// The same backend in other pools.
    pub(super) fn of_key<'a>(&'a self, key: &'a Key) -> impl Iterator<Item = &'a Key> {
        let keys = self.0.get(&key.backend).into_iter().flatten();
        keys.filter(move |other| *other != key)
    }
}
