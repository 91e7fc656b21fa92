//! What the machines of one plugin on one service share: values by key, also over a push.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The most that keys and values may have together, in bytes.
const MOST: usize = 1024 * 1024;

/// What each entry counts for beside its bytes.
const ENTRY: usize = 64;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Item {
    /// A number.
    Number(f64),
    /// Bytes.
    Text(Vec<u8>),
    /// A truth.
    Truth(bool),
}

impl Item {
    fn size(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Number(_) | Self::Truth(_) => 0,
        }
    }
}

#[derive(Debug)]
struct Entry {
    item: Item,
    until: Option<Instant>,
}

/// Values by key.
#[derive(Debug, Default)]
pub(super) struct Shared {
    area: Mutex<Area>,
    failed: AtomicU64,
}

#[derive(Debug, Default)]
struct Area {
    entries: HashMap<Vec<u8>, Entry>,
    size: usize,
}

/// There is no room for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the shared area is full: 1 MiB")]
pub(super) struct Full;

impl Shared {
    fn area(&self) -> MutexGuard<'_, Area> {
        self.area.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A value that is still good.
    pub(super) fn get(&self, key: &[u8]) -> Option<Item> {
        let mut area = self.area();
        area.drop_if_old(key);
        area.entries.get(key).map(|entry| entry.item.clone())
    }

    /// Sets a value, for so long.
    pub(super) fn set(&self, key: &[u8], item: Item, keep: Option<Duration>) -> Result<(), Full> {
        let mut area = self.area();
        area.remove(key);
        area.put(key, item, keep.map(|keep| Instant::now() + keep))
    }

    /// Adds to a number, which is 0 where there is none, and says what it is then. How long it is good does not change.
    pub(super) fn increase(&self, key: &[u8], by: f64, keep: Option<Duration>) -> Result<f64, Full> {
        let mut area = self.area();
        area.drop_if_old(key);
        let before = area.remove(key);
        let (value, until) = match before {
            Some(Entry {
                item: Item::Number(value),
                until,
            }) => (value, until),
            Some(_) | None => (0.0, keep.map(|keep| Instant::now() + keep)),
        };
        area.put(key, Item::Number(value + by), until)
            .map(|()| value + by)
    }

    /// A call failed, of whichever version.
    pub(super) fn has_failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// How many calls failed, of all versions.
    pub(super) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Forgets a value.
    pub(super) fn delete(&self, key: &[u8]) {
        self.area().remove(key);
    }
}

impl Area {
    fn drop_if_old(&mut self, key: &[u8]) {
        let is_old = |entry: &Entry| entry.until.is_some_and(|until| until <= Instant::now());
        if self.entries.get(key).is_some_and(is_old) {
            self.remove(key);
        }
    }

    fn remove(&mut self, key: &[u8]) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        self.size -= key.len() + entry.item.size() + ENTRY;
        Some(entry)
    }

    fn put(&mut self, key: &[u8], item: Item, until: Option<Instant>) -> Result<(), Full> {
        let size = key.len() + item.size() + ENTRY;
        if self.size + size > MOST {
            let now = Instant::now();
            let old = |entry: &Entry| entry.until.is_some_and(|until| until <= now);
            let gone: Vec<_> = self
                .entries
                .iter()
                .filter(|(_, entry)| old(entry))
                .map(|(key, _)| key.clone())
                .collect();
            for key in gone {
                self.remove(&key);
            }
        }
        if self.size + size > MOST {
            return Err(Full);
        }
        self.size += size;
        self.entries.insert(key.to_vec(), Entry { item, until });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_go_and_count() {
        let shared = Shared::default();
        assert_eq!(shared.get(b"a"), None);
        shared.set(b"a", Item::Text(b"x".to_vec()), None).unwrap();
        assert_eq!(shared.get(b"a"), Some(Item::Text(b"x".to_vec())));
        assert_eq!(shared.increase(b"n", 2.0, None), Ok(2.0));
        assert_eq!(shared.increase(b"n", -0.5, None), Ok(1.5));
        shared.set(b"a", Item::Truth(true), Some(Duration::ZERO)).unwrap();
        assert_eq!(shared.get(b"a"), None);
        shared.delete(b"n");
        assert_eq!(shared.area().size, 0);
    }

    #[test]
    fn there_is_an_end_to_it() {
        let shared = Shared::default();
        let large = Item::Text(vec![b'x'; 600 * 1024]);
        shared.set(b"a", large.clone(), Some(Duration::ZERO)).unwrap();
        // What is too old makes room.
        shared.set(b"b", large.clone(), None).unwrap();
        assert_eq!(shared.set(b"c", large.clone(), None), Err(Full));
        assert_eq!(shared.get(b"b"), Some(large));
    }
}
