//! Opening the store: whose it is, which format it has, and whether all of it is there.
//!
//! `DIR/format` names the format in a plain file, so that a later release is told apart from damage. It is written
//! last when a store is made: where it is, a store must be.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{guarded, keys, store_error};
use crate::store::records::Key;
use crate::store::{StoreError, files};

/// The format that this release writes, and the newest it reads.
const FORMAT: u32 = 1;
const FORMAT_FILE: &str = "format";
const FORMAT_KEY: &[u8] = b"format";
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
}

pub(super) fn open(dir: &Path) -> Result<Opened, StoreError> {
    fs::create_dir_all(dir).map_err(StoreError::file(dir))?;
    let made = made_before(dir)?;
    if made && !dir.join(SLED).join(SLED_FILE).exists() {
        return Err(StoreError::corrupt(dir, "its log is missing"));
    }
    guarded(dir, || {
        let db = open_sled(dir)?;
        let opened = trees(dir, db)?;
        if made {
            check(dir, &opened)?;
        } else {
            make(dir, &opened)?;
        }
        Ok(opened)
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

fn trees(dir: &Path, db: sled::Db) -> Result<Opened, StoreError> {
    let tree = |name| db.open_tree(name).map_err(|error| store_error(dir, error));
    let (log, values) = (tree("log")?, tree("values")?);
    let path = dir.join(SLED).join(SLED_FILE);
    let file = File::open(&path).map_err(StoreError::file(&path))?;
    Ok(Opened {
        db,
        log,
        values,
        file,
    })
}

/// A new store: durable before its format is.
fn make(dir: &Path, opened: &Opened) -> Result<(), StoreError> {
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
    files::replace(&dir.join(FORMAT_FILE), format!("{FORMAT}\n").as_bytes())
}

/// An old store: it must be the one that was made, and its log without holes. What a crash left half done is
/// finished: purged entries go, and so does a last entry that is not whole, which nobody was told is durable.
fn check(dir: &Path, opened: &Opened) -> Result<(), StoreError> {
    let sled = |error| store_error(dir, error);
    let format = opened.values.get(FORMAT_KEY).map_err(sled)?;
    if format.as_deref() != Some(&FORMAT.to_be_bytes()) {
        return Err(StoreError::corrupt(
            dir,
            "the log in it is not the one that was made",
        ));
    }
    Ok(())
}
