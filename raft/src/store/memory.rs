//! Records in memory, for a node that stands alone and for tests. Gone with the process, so durable at once.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::records::{Key, Records, WhenDurable};

#[derive(Debug, Default)]
pub(super) struct Memory {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    records: BTreeMap<u64, Vec<u8>>,
    values: BTreeMap<Key, Vec<u8>>,
    committed: Option<Vec<u8>>,
}

impl Memory {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Records for Memory {
    fn append(&self, records: Vec<(u64, Vec<u8>)>) -> io::Result<()> {
        self.held().records.extend(records);
        Ok(())
    }

    fn read(&self, indexes: Range<u64>, limit: usize) -> io::Result<Vec<Vec<u8>>> {
        let held = self.held();
        let mut bytes = 0;
        let records = held.records.range(indexes).take_while(|(_, record)| {
            let more = bytes < limit;
            bytes += record.len();
            more
        });
        Ok(records.map(|(_, record)| record.clone()).collect())
    }

    fn last(&self) -> io::Result<Option<Vec<u8>>> {
        let held = self.held();
        Ok(held.records.last_key_value().map(|(_, record)| record.clone()))
    }

    fn remove_from(&self, index: u64) -> io::Result<()> {
        self.held().records.split_off(&index);
        Ok(())
    }

    fn purge(&self, index: u64, purged: Vec<u8>) -> io::Result<()> {
        let mut held = self.held();
        held.values.insert(Key::Purged, purged);
        held.records = held.records.split_off(&index.saturating_add(1));
        Ok(())
    }

    fn get(&self, key: Key) -> io::Result<Option<Vec<u8>>> {
        Ok(self.held().values.get(&key).cloned())
    }

    fn put(&self, key: Key, value: Option<Vec<u8>>) -> io::Result<()> {
        let mut held = self.held();
        match value {
            Some(value) => held.values.insert(key, value),
            None => held.values.remove(&key),
        };
        Ok(())
    }

    fn when_durable(&self, then: WhenDurable) {
        then(Ok(()));
    }

    fn note_committed(&self, _: u64, note: Vec<u8>) -> io::Result<()> {
        self.held().committed = Some(note);
        Ok(())
    }

    fn committed(&self) -> io::Result<Option<Vec<u8>>> {
        Ok(self.held().committed.clone())
    }
}
