//! Backends that answer badly are taken out, and those that come back begin slowly.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Table;
use super::entry::Entry;
use super::outcome::{is_slow, normal};
use super::pools::PoolHealth;
use crate::health::Key;

impl Table {
    /// So many requests in a row on this node came to nothing.
    pub(in crate::checks) fn erred(&mut self, key: &Key, in_a_row: u32, now: Instant) {
        self.eject(key, format!("{in_a_row} requests in a row failed"), now);
    }

    fn eject(&mut self, key: &Key, reason: String, now: Instant) {
        let Some((entry, pool)) = self.entries.get_mut(key).zip(self.pools.get(&key.pool)) else {
            return;
        };
        let was_up = entry.is_up();
        if was_up && pool.spares(entry) {
            entry.outcome.eject(pool.outlier(), reason, now);
            self.reconsider(key, (was_up, false), now);
        }
    }

    /// Looks which backends take much longer than the others of their pool.
    pub(super) fn look_for_slow(&mut self, now: Instant) {
        let mut slow = Vec::new();
        for (pool, factor) in self.pools.that_time() {
            let times = times(pool, &mut self.entries);
            let all: Vec<_> = times.iter().map(|(_, time)| *time).collect();
            let Some(normal) = normal(&all) else { continue };
            for (key, time) in times {
                let is_slow = is_slow(time, normal, factor);
                let entry = self.entries.get_mut(&key);
                if entry.is_some_and(|entry| entry.outcome.was_slow(is_slow)) {
                    slow.push((key, time, normal));
                }
            }
        }
        for (key, time, normal) in slow {
            let millis = |time: Duration| time.as_secs_f64() * 1000.0;
            let (time, normal) = (millis(time), millis(normal));
            let reason = format!("answers took {time:.1} ms, where {normal:.1} ms are normal");
            self.eject(&key, reason, now);
        }
    }

    /// Lets a backend that came back begin slowly, if there are others; and nobody where there are none.
    pub(super) fn warm_up(&mut self, key: &Key, now: Instant) {
        let Some((entry, pool)) = self.entries.get(key).zip(self.pools.get(&key.pool)) else {
            return;
        };
        let Some(length) = pool.slow_start() else { return };
        let backends = pool.backends().iter();
        let up = backends
            .filter_map(|backend| self.entries.get(backend.key()))
            .filter(|entry| entry.is_up() && !entry.is_draining);
        let is_warm =
            |other: &Entry| !Arc::ptr_eq(&other.backend, &entry.backend) && other.backend.part(now).is_none();
        // The first one will do: thousands may come back at the same time.
        if !up.clone().any(is_warm) {
            up.for_each(|entry| entry.backend.is_warm());
        } else if entry.is_up() {
            entry.backend.warm_up(now, length);
        }
    }
}

/// How long answers of a pool's backends took since the last look, of those that are used.
fn times(pool: &PoolHealth, entries: &mut BTreeMap<Key, Entry>) -> Vec<(Key, Duration)> {
    let backends = pool.backends().iter();
    let times = backends.filter_map(|backend| {
        let entry = entries.get_mut(backend.key())?;
        let time = entry.outcome.look(entry.backend.timed());
        let time = time.filter(|_| entry.is_up() && !entry.is_draining)?;
        Some((backend.key().clone(), time))
    });
    times.collect()
}

#[cfg(test)]
#[path = "outlier_tests.rs"]
mod tests;
