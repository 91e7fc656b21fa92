//! Opening the store: whose it is, which format it has, and whether all of it is there.
//!
//! `DIR/format` names the format in a plain file, so that a later release is told apart from damage. It is written
//! last when a store is made: where it is, a store must be.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::mark::{Mark, Reached};
use super::panics::guarded;
use super::{keys, store_error};
use crate::store::records::Key;
use crate::store::{StoreError, files};

/// The format that this release writes, and the newest it reads.
const FORMAT: u32 = 1;
const FORMAT_FILE: &str = "format";
const FORMAT_KEY: &[u8] = b"format";
/// The number of the last sync: see [`super::mark`].
pub(super) const NUMBER_KEY: &[u8] = b"number";
/// The first index that is not purged.
pub(super) const FIRST_KEY: &[u8] = b"first";
const SLED: &str = "sled";
/// sled's file inside its directory.
const SLED_FILE: &str = "db";
const CACHE_BYTES: u64 = 8 * 1024 * 1024;

/// A process that was just killed may hold its lock for a moment.
const HELD_FOR: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_millis(50);

pub(super) struct Opened {
    pub(super) db: sled::Db,
    pub(super) log: sled::Tree,
    pub(super) values: sled::Tree,
    /// sled's file once more, to sync it.
    pub(super) file: File,
    pub(super) mark: Mark,
}

pub(super) fn open(dir: &Path) -> Result<Opened, StoreError> {
    fs::create_dir_all(dir).map_err(StoreError::file(dir))?;
    let made = made_before(dir)?;
    if made && !dir.join(SLED).join(SLED_FILE).exists() {
        return Err(StoreError::corrupt(dir, "its log is missing"));
    }
    guarded(dir, || {
        let db = open_sled(dir)?;
        let trees = trees(dir, db)?;
        let mark = if made {
            let mark = Mark::open(dir)?;
            check(dir, &trees, mark.reached())?;
            mark
        } else {
            make(dir, &trees)?
        };
        let Trees {
            db,
            log,
            values,
            file,
        } = trees;
        Ok(Opened {
            db,
            log,
            values,
            file,
            mark,
        })
    })
}

/// Whether a store was made here, of a format that this release reads.
fn made_before(dir: &Path) -> Result<bool, StoreError> {
    let path = dir.join(FORMAT_FILE);
    let Some(bytes) = files::read(&path)? else {
        return Ok(false);
    };
    let found: Option<u32> = std::str::from_utf8(&bytes)
        .ok()
        .and_then(|text| text.trim().parse().ok());
    match found {
        Some(FORMAT) => Ok(true),
        Some(found) if found > FORMAT => Err(StoreError::Newer {
            path: dir.to_owned(),
            found,
            known: FORMAT,
        }),
        Some(_) | None => Err(StoreError::corrupt(&path, "it names no format")),
    }
}

fn open_sled(dir: &Path) -> Result<sled::Db, StoreError> {
    let config = sled::Config::new()
        .path(dir.join(SLED))
        .cache_capacity(CACHE_BYTES)
        .flush_every_ms(None)
        .mode(sled::Mode::HighThroughput);
    let begun = Instant::now();
    loop {
        match config.open() {
            Ok(db) => return Ok(db),
            Err(error) if !is_held(&error) => return Err(store_error(dir, error)),
            Err(_) if begun.elapsed() >= HELD_FOR => return Err(StoreError::Held(dir.to_owned())),
            Err(_) => sleep(RETRY),
        }
    }
}

/// sled wraps the system's answer into a text.
fn is_held(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(error)
        if error.kind() == io::ErrorKind::WouldBlock || error.to_string().contains("could not acquire lock"))
}

struct Trees {
    db: sled::Db,
    log: sled::Tree,
    values: sled::Tree,
    file: File,
}

fn trees(dir: &Path, db: sled::Db) -> Result<Trees, StoreError> {
    let tree = |name| db.open_tree(name).map_err(|error| store_error(dir, error));
    let (log, values) = (tree("log")?, tree("values")?);
    let path = dir.join(SLED).join(SLED_FILE);
    let file = File::open(&path).map_err(StoreError::file(&path))?;
    Ok(Trees {
        db,
        log,
        values,
        file,
    })
}

/// A new store: durable before its format is.
fn make(dir: &Path, opened: &Trees) -> Result<Mark, StoreError> {
    let sled = |error| store_error(dir, error);
    if !opened.log.is_empty() || opened.values.get(keys::value(Key::Vote)).map_err(sled)?.is_some() {
        return Err(StoreError::corrupt(dir, "its format file is missing"));
    }
    opened
        .values
        .insert(FORMAT_KEY, &FORMAT.to_be_bytes())
        .map_err(sled)?;
    opened.db.flush().map_err(sled)?;
    let sync = || -> io::Result<()> {
        opened.file.sync_all()?;
        files::sync_directory(&dir.join(SLED))?;
        files::sync_directory(dir)?;
        dir.parent().map_or(Ok(()), files::sync_directory)
    };
    sync().map_err(StoreError::file(dir))?;
    let mark = Mark::make(dir)?;
    files::replace(&dir.join(FORMAT_FILE), format!("{FORMAT}\n").as_bytes())?;
    Ok(mark)
}

/// An old store: it must be the one that was made, and all that was durable must be there.
fn check(dir: &Path, opened: &Trees, reached: Reached) -> Result<(), StoreError> {
    let sled = |error| store_error(dir, error);
    let format = opened.values.get(FORMAT_KEY).map_err(sled)?;
    if format.as_deref() != Some(&FORMAT.to_be_bytes()) {
        return Err(StoreError::corrupt(
            dir,
            "the log in it is not the one that was made",
        ));
    }
    let number = |key| {
        let bytes = opened.values.get(key).map_err(sled)?;
        let bytes = bytes.and_then(|bytes| bytes.as_ref().try_into().ok());
        Ok::<_, StoreError>(bytes.map_or(0, u64::from_be_bytes))
    };
    let next = check_records(dir, &opened.log, number(FIRST_KEY)?)?;
    if number(NUMBER_KEY)? < reached.number || next < reached.next {
        return Err(StoreError::corrupt(
            dir,
            "its log has lost entries that were durable",
        ));
    }
    Ok(())
}

/// The records must be whole and without holes. Purged ones that a crash left go; so does a last one in pieces,
/// where a crash came before it was durable, or while it was removed. Tells the index behind the last one.
fn check_records(dir: &Path, log: &sled::Tree, first: u64) -> Result<u64, StoreError> {
    let sled = |error| store_error(dir, error);
    let mut last = Record::default();
    for pair in log {
        let (key, bytes) = pair.map_err(sled)?;
        let place = keys::parse(&key).ok_or_else(|| StoreError::corrupt(dir, "a key of the log is none"))?;
        if place.0 < first {
            log.remove(key).map_err(sled)?;
            continue;
        }
        if !last.continues(place) {
            if !last.is_whole() {
                let reason = format!("entry {} of its log is not whole", last.index);
                return Err(StoreError::corrupt(dir, reason));
            }
            if place != (last.next(first), 0) {
                let reason = format!("entry {} of its log is missing", last.next(first));
                return Err(StoreError::corrupt(dir, reason));
            }
            last = Record::default();
        }
        last.add(place.0, &bytes);
    }
    if last.is_whole() {
        return Ok(last.next(first));
    }
    for part in (0..last.parts).rev() {
        log.remove(keys::part(last.index, part)).map_err(sled)?;
    }
    Ok(last.index)
}

/// A record of which some parts were seen.
#[derive(Default)]
struct Record {
    index: u64,
    parts: u32,
    size: u64,
    seen: u64,
}

impl Record {
    fn continues(&self, (index, part): (u64, u32)) -> bool {
        self.parts > 0 && index == self.index && part == self.parts
    }

    fn add(&mut self, index: u64, bytes: &[u8]) {
        let mut bytes = bytes;
        if self.parts == 0 {
            self.index = index;
            self.size = keys::split_size(&mut bytes);
        }
        self.parts += 1;
        self.seen = self
            .seen
            .saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    }

    /// The index behind it; the first one, where it is none.
    fn next(&self, first: u64) -> u64 {
        match self.parts {
            0 => first,
            _ => self.index.saturating_add(1),
        }
    }

    fn is_whole(&self) -> bool {
        self.seen == self.size
    }
}
