//! Everything that this node knows of its backends' health, and what follows from it. No I/O: it is told what was seen,
//! what others tell, and the time.
//!
//! What holds: what another node tells counts for as long as that node lives and tells it, by this node's clock alone; so
//! no clock but one's own matters, and nothing has to be said again only to stay true.

mod agenda;
mod entry;
#[cfg(test)]
pub(super) mod fixture;
mod outcome;
mod outliers;
mod plan;
mod pools;
mod twins;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use fleetbal_raft::model::{BackendAddress, PoolName};

use super::probe::Check;
use super::report::{BackendHealth, Unreachable, Why};
use crate::gossip::Voice;
use crate::health::{Key, Observation, Seen, Told};
use crate::snapshot::Snapshot;
use agenda::Agenda;
use entry::{Context, Entry};
use pools::{Changed, PoolHealth, Pools};
use twins::Twins;

/// The state of all backends.
#[derive(Debug)]
pub(super) struct Table {
    own: Arc<str>,
    /// The names of all nodes that live, this one included.
    alive: BTreeSet<Arc<str>>,
    /// What each of the others that live tells.
    voices: BTreeMap<Arc<str>, Arc<Told>>,
    pools: Pools,
    entries: BTreeMap<Key, Entry>,
    agenda: Agenda,
    twins: Twins,
    told: Told,
    is_news: bool,
    checks: u64,
    failed_checks: u64,
}

impl Table {
    pub(super) fn new(own: &str) -> Self {
        let own: Arc<str> = own.into();
        Self {
            alive: BTreeSet::from([Arc::clone(&own)]),
            own,
            voices: BTreeMap::new(),
            pools: Pools::default(),
            entries: BTreeMap::new(),
            agenda: Agenda::default(),
            twins: Twins::default(),
            told: Told::new(),
            is_news: false,
            checks: 0,
            failed_checks: 0,
        }
    }

    /// Follows the configuration. Backends that stay keep what is known of them.
    pub(super) fn set_snapshot(&mut self, snapshot: &Snapshot, now: Instant) {
        let changed = self.pools.follow(snapshot);
        for pool in &changed {
            self.follow_pool(pool, now);
        }
        for pool in &changed {
            let backends = pool.now.iter().flat_map(|view| view.backends());
            for backend in backends {
                self.review(backend.key(), now);
            }
            self.publish(&pool.name);
        }
    }

    fn follow_pool(&mut self, pool: &Changed, now: Instant) {
        let before = pool.before.iter().flat_map(|view| view.backends());
        let mut before: BTreeMap<_, _> = before
            .filter_map(|backend| self.entries.remove_entry(backend.key()))
            .collect();
        let rules = self.pools.get(&pool.name).map(PoolHealth::outlier);
        let errors_after = rules.and_then(|rules| rules.errors);
        if let Some(view) = &pool.now {
            for (at, backend) in view.backends().iter().enumerate() {
                let key = backend.key();
                let known = before
                    .remove(key)
                    .filter(|entry| Arc::ptr_eq(&entry.backend, backend));
                let mut entry = known.unwrap_or_else(|| self.fresh_entry(backend, now));
                entry.weight = view.weight_of(at);
                entry.is_draining = view.is_draining(at);
                entry.backend.tell_errors_after(errors_after);
                self.pools.count(&pool.name, &entry);
                self.twins.insert(key);
                self.entries.insert(key.clone(), entry);
            }
        }
        for gone in before.keys() {
            self.twins.remove(gone);
            self.agenda.remove(gone);
            self.is_news |= self.told.remove(gone).is_some();
        }
    }

    fn fresh_entry(&mut self, backend: &Arc<crate::snapshot::BackendState>, now: Instant) -> Entry {
        let mut entry = Entry::new(backend, now);
        self.agenda.remove(backend.key());
        self.is_news |= self.told.remove(backend.key()).is_some();
        for (name, told) in &self.voices {
            if let Some(observation) = told.get(backend.key()) {
                entry.hear(name, Some(observation), now);
            }
        }
        entry
    }

    /// Follows what the nodes of the fleet tell, and who lives.
    pub(super) fn set_voices(&mut self, voices: &[Voice], now: Instant) {
        let alive = voices.iter().filter(|voice| voice.is_alive || voice.is_self);
        let mut alive: BTreeSet<_> = alive.map(|voice| Arc::clone(&voice.name)).collect();
        alive.insert(Arc::clone(&self.own));
        let mut touched = self.set_alive(alive);
        for voice in voices.iter().filter(|voice| voice.is_alive && !voice.is_self) {
            let before = self
                .voices
                .insert(Arc::clone(&voice.name), Arc::clone(&voice.told));
            let before = before.unwrap_or_default();
            if !Arc::ptr_eq(&before, &voice.told) {
                touched.extend(self.hear(&voice.name, &before, &voice.told, now));
            }
        }
        self.review_all(touched, now);
    }

    /// Who went is heard no more, and others check in his place. The backends that this touches.
    fn set_alive(&mut self, alive: BTreeSet<Arc<str>>) -> BTreeSet<Key> {
        let mut touched = BTreeSet::new();
        let went: Vec<_> = self.alive.difference(&alive).cloned().collect();
        let came: Vec<_> = alive.difference(&self.alive).cloned().collect();
        if went.is_empty() && came.is_empty() {
            return touched;
        }
        self.alive = alive;
        for name in &went {
            let told = self.voices.remove(name).unwrap_or_default();
            for key in told.keys() {
                if let Some(entry) = self.entries.get_mut(key) {
                    entry.forget(name);
                    touched.insert(key.clone());
                }
            }
        }
        for (key, entry) in &mut self.entries {
            if entry.follow(&came, &went, &self.alive) {
                touched.insert(key.clone());
            }
        }
        touched
    }

    /// Takes in what one node tells in place of what it told before. The backends that this touches.
    fn hear(&mut self, name: &Arc<str>, before: &Told, told: &Told, now: Instant) -> Vec<Key> {
        let differs = |key: &&Key| before.get(*key) != told.get(*key);
        let all: BTreeSet<&Key> = before.keys().chain(told.keys()).collect();
        let mut touched = Vec::new();
        for key in all.into_iter().filter(differs) {
            if let Some(entry) = self.entries.get_mut(key) {
                entry.hear(name, told.get(key), now);
                touched.push(key.clone());
            }
        }
        touched
    }

    /// A real request or a verification on this node showed this.
    pub(super) fn saw(&mut self, key: &Key, seen: &Seen, now: Instant) {
        let Some((entry, pool)) = self.entries.get_mut(key).zip(self.pools.get(&key.pool)) else {
            return;
        };
        entry.tracker.saw(seen, pool.rules().rise, now);
        self.review(key, now);
    }

    /// A check is through. None: it showed nothing.
    pub(super) fn checked(&mut self, check: &Check, started: Instant, seen: Option<&Seen>, now: Instant) {
        self.checks += 1;
        self.failed_checks += u64::from(!matches!(seen, Some(Seen::Up(_))));
        for backend in &check.of {
            let key = backend.key();
            let Some((entry, pool)) = self.entries.get_mut(key).zip(self.pools.get(&key.pool)) else {
                continue;
            };
            if Arc::ptr_eq(&entry.backend, backend) {
                entry.checked(started, seen, pool, now);
                self.review(key, now);
            }
        }
    }

    /// Looks which backends have answered requests since the last look: they are up, but some may be slow.
    pub(super) fn look(&mut self, now: Instant) {
        self.look_for_slow(now);
        let mut touched = Vec::new();
        for (key, entry) in &mut self.entries {
            if entry.has_answered(now) {
                touched.push(key.clone());
            }
        }
        self.review_all(touched, now);
    }

    /// The checks to begin now.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Check> {
        let mut checks = Vec::new();
        while let Some(key) = self.agenda.pop(now) {
            checks.extend(self.begin_check(&key, now));
            self.review(&key, now);
        }
        checks
    }

    fn begin_check(&mut self, key: &Key, now: Instant) -> Option<Check> {
        let pool = self.pools.get(&key.pool)?;
        let entry = self.entries.get_mut(key)?;
        if !entry.begin_check(now) {
            return None;
        }
        let mut of = vec![Arc::clone(&entry.backend)];
        for twin in self.twins.of_key(key) {
            let agrees = self
                .pools
                .get(&twin.pool)
                .is_some_and(|other| other.asks_like(pool));
            if let Some(entry) = self.entries.get_mut(twin).filter(|_| agrees)
                && entry.join_check()
            {
                of.push(Arc::clone(&entry.backend));
            }
        }
        Some(Check {
            address: key.backend,
            of,
            how: pool.how(),
            timeout: pool.rules().timeout,
            node: Arc::clone(&self.own),
        })
    }

    /// When something is due next.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.agenda.next()
    }

    /// What this node tells the others, if it is something new.
    pub(super) fn take_told(&mut self) -> Option<Arc<Told>> {
        std::mem::take(&mut self.is_news).then(|| Arc::new(self.told.clone()))
    }

    pub(super) fn checks(&self) -> (u64, u64) {
        (self.checks, self.failed_checks)
    }

    pub(super) fn all(&self, pool: Option<&PoolName>, now: Instant) -> Vec<BackendHealth> {
        let wanted = self
            .entries
            .iter()
            .filter(|(key, _)| pool.is_none_or(|pool| *pool == key.pool));
        wanted
            .map(|(key, entry)| entry.health(key, self.pools.is_panic(&key.pool), now))
            .collect()
    }

    pub(super) fn why(&self, backend: BackendAddress, now: Instant) -> Vec<Why> {
        let wanted = self.entries.iter().filter(|(key, _)| key.backend == backend);
        let why = wanted.filter_map(|(key, entry)| {
            let pool = self.pools.get(&key.pool)?;
            let health = entry.health(key, self.pools.is_panic(&key.pool), now);
            Some(entry.why(health, pool, &self.own, &self.alive, now))
        });
        why.collect()
    }

    pub(super) fn unreachable(&self, now: Instant) -> Vec<Unreachable> {
        let without_any = self.pools.without_any();
        let unreachable = without_any.filter_map(|(name, pool)| {
            let entries = pool
                .backends()
                .iter()
                .filter_map(|backend| self.entries.get(backend.key()));
            let entries: Vec<_> = entries.filter(|entry| !entry.is_draining).collect();
            let since = entries.iter().map(|entry| entry.since(now)).min()?;
            Some(Unreachable {
                name: name.clone(),
                since,
                is_seen_here: entries.iter().all(|entry| entry.is_seen_down(pool, now)),
                patience: pool.patience(),
            })
        });
        unreachable.collect()
    }

    fn review_all(&mut self, keys: impl IntoIterator<Item = Key>, now: Instant) {
        for key in keys {
            self.review(&key, now);
        }
    }

    /// Thinks anew about one backend, after anything about it has changed or grown old.
    fn review(&mut self, key: &Key, now: Instant) {
        let Some(entry) = self.entries.get(key) else {
            return;
        };
        let was_up = entry.is_up();
        let was_ejected = entry.outcome.is_ejected();
        self.reconsider(key, (was_up, was_ejected), now);
    }

    /// The same where what it was before is known: whether it was to be used, and whether it was out by its outcomes.
    fn reconsider(&mut self, key: &Key, (was_up, was_ejected): (bool, bool), now: Instant) {
        let Some((entry, pool)) = self.entries.get_mut(key).zip(self.pools.get(&key.pool)) else {
            return;
        };
        let context = Context {
            own: &self.own,
            alive: &self.alive,
            pool,
        };
        let word = entry.review(&context, now);
        self.agenda.set(key, entry.wakes_at());
        let is_changed = was_up != entry.is_up();
        let is_ejected = entry.outcome.is_ejected();
        self.pools.count_ejected(&key.pool, was_ejected, is_ejected);
        if is_changed {
            self.pools.recount(&key.pool, entry);
            self.warm_up(key, now);
        }
        self.say(key, word);
        if is_changed {
            self.publish_one(key);
        }
    }

    /// How long an answer took is no news.
    fn say(&mut self, key: &Key, word: Option<Observation>) {
        let before = self.told.get(key);
        let same = match (before, &word) {
            (None, None) | (Some(Observation::Up(_)), Some(Observation::Up(_))) => true,
            (before, word) => before == word.as_ref(),
        };
        if same {
            return;
        }
        match word {
            Some(word) => self.told.insert(key.clone(), word),
            None => self.told.remove(key),
        };
        self.is_news = true;
    }

    /// Tells the data plane of one backend, and of all its pool's where panic begins or ends with it.
    fn publish_one(&mut self, key: &Key) {
        if self.pools.panic_turned(&key.pool) {
            self.publish(&key.pool);
        } else if let Some(entry) = self.entries.get(key) {
            entry.publish(self.pools.is_panic(&key.pool));
        }
    }

    fn publish(&mut self, pool: &PoolName) {
        self.pools.panic_turned(pool);
        let is_panic = self.pools.is_panic(pool);
        for key in self.pools.get(pool).into_iter().flat_map(PoolHealth::backends) {
            if let Some(entry) = self.entries.get(key.key()) {
                entry.publish(is_panic);
            }
        }
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
