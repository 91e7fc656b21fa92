//! Small files that are there as a whole or not at all, whatever happens in between.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use data_encoding::HEXLOWER;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::error::OpenError;

/// What a file is called until it is complete.
pub(super) const UNFINISHED: &str = ".new";

/// The field of an object that tells whether the others are as they were written.
const CHECKSUM: &str = "sha256";

/// Writes a file for this user alone, so that after a crash there is the old or the new one.
///
/// # Errors
/// Whatever the system says.
pub(super) fn write(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), OpenError> {
    let path = dir.join(name);
    write_whole(dir, &path, name, bytes).map_err(|source| OpenError::File { path, source })
}

fn write_whole(dir: &Path, path: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let unfinished = dir.join(format!("{name}{UNFINISHED}"));
    match std::fs::remove_file(&unfinished) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // A fresh file, so that its mode is ours from the first byte.
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    File::open(dir)?.sync_all()
}

/// Removes a file, so that it is gone after a crash too.
pub(super) fn remove(dir: &Path, name: &str) -> Result<(), OpenError> {
    let path = dir.join(name);
    std::fs::remove_file(&path)
        .and_then(|()| File::open(dir)?.sync_all())
        .map_err(|source| OpenError::File { path, source })
}

/// Reads a file that may not be there.
pub(super) fn read(dir: &Path, name: &str) -> Result<Option<Vec<u8>>, OpenError> {
    let path = dir.join(name);
    match std::fs::read(&path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(OpenError::File { path, source }),
    }
}

/// Reads a file that must be there.
pub(super) fn read_needed(dir: &Path, name: &str) -> Result<Vec<u8>, OpenError> {
    read(dir, name)?.ok_or_else(|| damaged(dir, name, "missing"))
}

/// Writes an object with a checksum in it.
pub(super) fn write_json<T: Serialize>(dir: &Path, name: &str, value: &T) -> Result<(), OpenError> {
    let failed = |error| damaged(dir, name, error);
    let mut value = serde_json::to_value(value).map_err(failed)?;
    let checksum = checksum(&value);
    if let Value::Object(fields) = &mut value {
        fields.insert(CHECKSUM.to_owned(), Value::String(checksum));
    }
    let mut bytes = serde_json::to_vec_pretty(&value).map_err(failed)?;
    bytes.push(b'\n');
    write(dir, name, &bytes)
}

/// Reads an object, and sees that it is the one that was written. The first releases wrote no checksum.
pub(super) fn read_json<T: DeserializeOwned>(dir: &Path, name: &str) -> Result<Option<T>, OpenError> {
    let Some(bytes) = read(dir, name)? else {
        return Ok(None);
    };
    let failed = |error| damaged(dir, name, error);
    let mut value: Value = serde_json::from_slice(&bytes).map_err(failed)?;
    let kept = value.as_object_mut().and_then(|fields| fields.remove(CHECKSUM));
    if kept.is_some_and(|kept| kept != Value::String(checksum(&value))) {
        return Err(damaged(dir, name, "it is not as it was written"));
    }
    serde_json::from_value(value).map(Some).map_err(failed)
}

/// Of the fields in their order by name, whatever the file's layout.
fn checksum(value: &Value) -> String {
    HEXLOWER.encode(&Sha256::digest(value.to_string()))
}

pub(super) fn damaged(dir: &Path, name: &str, reason: impl std::fmt::Display) -> OpenError {
    OpenError::Damaged {
        path: dir.join(name),
        reason: reason.to_string(),
    }
}
