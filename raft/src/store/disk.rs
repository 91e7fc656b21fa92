//! Records in sled. Every sled call is in this module and those below it.
//!
//! sled's own flush does not reach the disk on Linux (it calls `sync_file_range`), so its file is opened a second
//! time and synced by our own hand. What was written reaches the file in order, and sled recovers a prefix of it.

mod doubled;
mod hint;
mod keys;
mod mark;
mod open;
mod panics;
mod sync;

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::hint::Hint;
use self::mark::Mark;
use self::panics::guarded;
use self::sync::Syncer;
use super::StoreError;
use super::records::{Key, Records, WhenDurable};

/// Records that are removed by one write.
const REMOVED_AT_ONCE: usize = 1024;

/// What makes a file durable; `File::sync_data`, but for tests that count.
type SyncData = Box<dyn Fn(&File) -> io::Result<()> + Send>;

#[derive(Debug)]
pub(super) struct Disk {
    // Dropped first: it syncs what waits, and holds the store open.
    syncer: Syncer,
    path: PathBuf,
    log: sled::Tree,
    values: sled::Tree,
    mark: Arc<Mutex<Mark>>,
    hint: Arc<Mutex<Hint>>,
}

impl Disk {
    /// Opens the store in this directory, or makes one there. Blocks, up to 2 s where another process has it.
    pub(super) fn open(dir: &Path) -> Result<Self, StoreError> {
        Self::open_with(dir, Box::new(std::fs::File::sync_data))
    }

    pub(super) fn open_with(dir: &Path, sync_data: SyncData) -> Result<Self, StoreError> {
        let opened = open::open(dir)?;
        let path = dir.to_owned();
        let (log, values) = (opened.log, opened.values.clone());
        let hint = Arc::new(Mutex::new(Hint::open(dir)?));
        let mark = Arc::new(Mutex::new(opened.mark));
        let sync = Sync {
            path: path.clone(),
            db: opened.db,
            values: opened.values,
            file: opened.file,
            data_syncer: sync_data,
            mark: Arc::clone(&mark),
            hint: Arc::clone(&hint),
        };
        let syncer = Syncer::start(move || sync.run()).map_err(StoreError::file(dir))?;
        Ok(Self {
            syncer,
            path,
            log,
            values,
            mark,
            hint,
        })
    }

    /// Makes an error of a panic: sled panics at some damaged pages.
    fn guarded<T>(&self, work: impl FnOnce() -> Result<T, StoreError>) -> io::Result<T> {
        Ok(guarded(&self.path, work)?)
    }

    fn sled<T>(&self, work: impl FnOnce() -> sled::Result<T>) -> io::Result<T> {
        self.guarded(|| work().map_err(|error| store_error(&self.path, error)))
    }

    fn remove(&self, keys: impl Iterator<Item = sled::Result<sled::IVec>>) -> sled::Result<()> {
        let keys = keys.collect::<sled::Result<Vec<_>>>()?;
        for some in keys.chunks(REMOVED_AT_ONCE) {
            let mut batch = sled::Batch::default();
            for key in some {
                batch.remove(key);
            }
            self.log.apply_batch(batch)?;
        }
        Ok(())
    }

    fn read_guarded(&self, indexes: Range<u64>, limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut records = Vec::new();
        let mut total = 0;
        let mut current: Option<(u64, Vec<u8>)> = None;
        let span = keys::part(indexes.start, 0)..keys::part(indexes.end, 0);
        for pair in self.log.range(span) {
            let (key, bytes) = pair.map_err(|error| store_error(&self.path, error))?;
            let (index, _) = keys::parse(&key).ok_or_else(|| self.corrupt("a key of the log is none"))?;
            match &mut current {
                Some((at, parts)) if *at == index => parts.extend_from_slice(&bytes),
                _ => {
                    if let Some(whole) = current.replace((index, bytes.to_vec())) {
                        let record = self.join(&whole)?;
                        total += record.len();
                        records.push(record);
                    }
                    if total >= limit {
                        return Ok(records);
                    }
                }
            }
        }
        if let Some(whole) = current {
            records.push(self.join(&whole)?);
        }
        Ok(records)
    }

    fn join(&self, (index, parts): &(u64, Vec<u8>)) -> Result<Vec<u8>, StoreError> {
        let record = keys::join(parts).map(<[u8]>::to_vec);
        record.ok_or_else(|| self.corrupt(&format!("entry {index} of the log is not whole")))
    }

    fn corrupt(&self, reason: &str) -> StoreError {
        StoreError::corrupt(&self.path, reason)
    }
}

impl Records for Disk {
    fn append(&self, records: Vec<(u64, Vec<u8>)>) -> io::Result<()> {
        let Some(next) = records.last().map(|(last, _)| last.saturating_add(1)) else {
            return Ok(());
        };
        let parts = records
            .iter()
            .flat_map(|(index, record)| keys::cut(*index, record));
        let parts: Vec<_> = parts.collect();
        self.sled(|| match parts.as_slice() {
            // Most changes are one short entry. A batch would be written apart from what it holds.
            [(key, part)] => self.log.insert(key, part.as_slice()).map(drop),
            parts => {
                let mut batch = sled::Batch::default();
                for (key, part) in parts {
                    batch.insert(key.as_slice(), part.as_slice());
                }
                self.log.apply_batch(batch)
            }
        })?;
        lock(&self.mark).append(next);
        Ok(())
    }

    fn read(&self, indexes: Range<u64>, limit: usize) -> io::Result<Vec<Vec<u8>>> {
        if indexes.is_empty() {
            return Ok(Vec::new());
        }
        self.guarded(|| self.read_guarded(indexes, limit))
    }

    fn last(&self) -> io::Result<Option<Vec<u8>>> {
        let Some((key, _)) = self.sled(|| self.log.last())? else {
            return Ok(None);
        };
        let (index, _) = keys::parse(&key).ok_or_else(|| self.corrupt("a key of the log is none"))?;
        Ok(self.read(index..index.saturating_add(1), usize::MAX)?.pop())
    }

    fn remove_from(&self, index: u64) -> io::Result<()> {
        lock(&self.mark).cut(index)?;
        self.sled(|| self.remove(self.log.range(keys::part(index, 0)..).keys().rev()))
    }

    fn purge(&self, index: u64, purged: Vec<u8>) -> io::Result<()> {
        let first = index.saturating_add(1);
        let mut batch = sled::Batch::default();
        batch.insert(open::FIRST_KEY, &first.to_be_bytes());
        batch.insert(keys::value(Key::Purged), purged);
        self.sled(|| {
            self.values.apply_batch(batch)?;
            self.remove(self.log.range(..keys::part(first, 0)).keys())
        })
    }

    fn get(&self, key: Key) -> io::Result<Option<Vec<u8>>> {
        let value = self.sled(|| self.values.get(keys::value(key)))?;
        Ok(value.map(|bytes| bytes.to_vec()))
    }

    fn put(&self, key: Key, value: Option<Vec<u8>>) -> io::Result<()> {
        self.sled(|| match value {
            Some(bytes) => self.values.insert(keys::value(key), bytes),
            None => self.values.remove(keys::value(key)),
        })?;
        Ok(())
    }

    fn when_durable(&self, then: WhenDurable) {
        self.syncer.when_durable(then);
    }

    fn note_committed(&self, index: u64, note: Vec<u8>) -> io::Result<()> {
        let mut hint = lock(&self.hint);
        let durable = lock(&self.mark).reached().next;
        hint.note(index, note, durable)
    }

    fn committed(&self) -> io::Result<Option<Vec<u8>>> {
        lock(&self.hint).read()
    }
}

/// What the syncing thread needs.
struct Sync {
    path: PathBuf,
    db: sled::Db,
    values: sled::Tree,
    file: File,
    data_syncer: SyncData,
    mark: Arc<Mutex<Mark>>,
    hint: Arc<Mutex<Hint>>,
}

impl Sync {
    /// Makes all that was written before durable.
    fn run(&self) -> io::Result<()> {
        let begun = lock(&self.mark).begin();
        guarded(&self.path, || {
            let number = begun.reached.number.to_be_bytes();
            let written = self.values.insert(open::NUMBER_KEY, &number);
            let flushed = written.and_then(|_| self.db.flush());
            flushed.map_err(|error| store_error(&self.path, error))
        })?;
        (self.data_syncer)(&self.file)?;
        let mut hint = lock(&self.hint);
        let mut mark = lock(&self.mark);
        mark.end(begun)?;
        hint.settle(mark.reached().next)
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn store_error(path: &Path, error: sled::Error) -> StoreError {
    match error {
        sled::Error::Io(source) => StoreError::file(path)(source),
        error @ (sled::Error::CollectionNotFound(_)
        | sled::Error::Unsupported(_)
        | sled::Error::ReportableBug(_)
        | sled::Error::Corruption { .. }) => StoreError::corrupt(path, error),
    }
}

#[cfg(test)]
#[path = "disk/disk_tests.rs"]
mod tests;
