//! Snapshot files: a header and the state, in a [`crate::checked_file`].
//!
//! The same bytes lie on disk and travel between members, so what was checked where it was made can be checked
//! again wherever it arrives.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use fleetbal_proto::v1;
use prost::Message;

use super::replicated::Replicated;
use crate::checked_file::{Kind, Unreadable};
use crate::model::{FIRST_LEVEL, RENEWAL};
use crate::store::{StoreError, files};
use crate::types::{LogId, SnapshotMeta};
use crate::wire::raft::{SNAPSHOT_FORMAT, decode_snapshot_header, encode_snapshot_header};
use crate::wire::{WireError, decode_state, encode_state};

const KIND: Kind = Kind {
    mark: b"fbalsnap",
    format: SNAPSHOT_FORMAT,
};
const FILE_NAME: &str = "snapshot";

/// Why bytes are not a snapshot that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// They begin like something else.
    #[error("not a snapshot")]
    NotOne,
    /// A later release wrote them.
    #[error("the snapshot has format {found}, of a later release; this release reads up to format {known}")]
    Newer {
        /// Their format.
        found: u32,
        /// The newest that this release reads.
        known: u32,
    },
    /// They are not those that were written.
    #[error("the snapshot's checksum does not match its content")]
    Checksum,
    /// They were written by something that is not fleetbal.
    #[error("the snapshot's content cannot be read: {0}")]
    Content(#[from] WireError),
    /// They are another snapshot than the one that was announced.
    #[error("the snapshot is not the one that was announced")]
    Other,
}

/// Where snapshots are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotPlace {
    /// In this directory, which is made where it is not there.
    Dir(PathBuf),
    /// In memory: gone with the process.
    Memory,
}

/// Checks a snapshot that came from elsewhere, and tells what it holds. To be asked before it is installed, because
/// a failing installation stops this node's Raft.
///
/// # Errors
/// When it must not be installed.
pub fn check_snapshot(bytes: &[u8]) -> Result<SnapshotMeta, SnapshotError> {
    parse(bytes).map(|(meta, _)| meta)
}

pub(super) fn encode(replicated: &Replicated) -> (SnapshotMeta, Bytes) {
    let meta = SnapshotMeta {
        last_log_id: replicated.last_applied,
        last_membership: replicated.membership.clone(),
    };
    let level = level_of(replicated);
    let header = encode_snapshot_header(None, &meta, level).encode_length_delimited_to_vec();
    let state = encode_state(&replicated.state, &replicated.answers);
    let file = KIND.wrap(&[&header, &state]);
    (meta, file)
}

/// The lowest feature level that can apply it. Who knows one key of a member alone would not hear the other.
fn level_of(replicated: &Replicated) -> u32 {
    let mut members = replicated.membership.nodes();
    let renews = members.any(|(_, member)| member.next_key_hash.is_some());
    let level = replicated.state.feature_level();
    if renews { level.max(RENEWAL) } else { level }
}

/// The lowest feature level that can apply a snapshot, as it says itself; none where it is no snapshot.
pub(crate) fn snapshot_level(bytes: &[u8]) -> Option<u32> {
    let mut content = KIND.begin_of_content(bytes)?;
    let header = v1::SnapshotHeader::decode_length_delimited(&mut content).ok()?;
    Some(header.feature_level.max(FIRST_LEVEL))
}

pub(super) fn decode(bytes: &[u8]) -> Result<Replicated, SnapshotError> {
    let (meta, state) = parse(bytes)?;
    let (state, answers) = decode_state(state)?;
    Ok(Replicated::new(
        state,
        answers,
        meta.last_log_id,
        meta.last_membership,
    ))
}

/// The header and the bytes of the state.
fn parse(bytes: &[u8]) -> Result<(SnapshotMeta, &[u8]), SnapshotError> {
    let mut rest = KIND.unwrap_content(bytes)?;
    let header = v1::SnapshotHeader::decode_length_delimited(&mut rest).map_err(WireError::from)?;
    Ok((decode_snapshot_header(header)?, rest))
}

impl From<Unreadable> for SnapshotError {
    fn from(why: Unreadable) -> Self {
        match why {
            Unreadable::NotOne => Self::NotOne,
            Unreadable::Newer(found) => Self::Newer {
                found,
                known: SNAPSHOT_FORMAT,
            },
            Unreadable::Checksum => Self::Checksum,
        }
    }
}

/// The latest snapshot.
#[derive(Debug)]
pub(super) struct Shelf {
    place: Place,
    /// The last entry in the snapshot that is kept. Held while one is written, so that they cannot overtake each
    /// other.
    kept: Mutex<Option<LogId>>,
}

#[derive(Debug)]
enum Place {
    File(PathBuf),
    Memory(Mutex<Option<Bytes>>),
}

impl Shelf {
    /// The place, and what the snapshot there holds.
    pub(super) fn open(place: SnapshotPlace) -> Result<(Self, Option<Replicated>), StoreError> {
        let place = match place {
            SnapshotPlace::Memory => Place::Memory(Mutex::new(None)),
            SnapshotPlace::Dir(dir) => {
                std::fs::create_dir_all(&dir).map_err(StoreError::file(&dir))?;
                Place::File(dir.join(FILE_NAME))
            }
        };
        let replicated = match &place {
            Place::Memory(_) => None,
            Place::File(path) => files::read(path)?
                .map(|bytes| decode(&bytes).map_err(|error| file_error(path, error)))
                .transpose()?,
        };
        let kept = replicated.as_ref().and_then(|it| it.last_applied);
        let shelf = Self {
            place,
            kept: Mutex::new(kept),
        };
        Ok((shelf, replicated))
    }

    /// Keeps a snapshot instead of the one before, unless that one is newer. Blocks until it is on disk.
    pub(super) fn keep(&self, last: Option<LogId>, bytes: &Bytes) -> Result<(), StoreError> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if *kept > last {
            return Ok(());
        }
        match &self.place {
            Place::File(path) => files::replace(path, bytes)?,
            Place::Memory(memory) => {
                *memory.lock().unwrap_or_else(PoisonError::into_inner) = Some(bytes.clone());
            }
        }
        *kept = last;
        Ok(())
    }

    /// The last entry in the snapshot that is kept.
    pub(super) fn kept(&self) -> Option<LogId> {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The snapshot that is kept, checked. Blocks.
    pub(super) fn latest(&self) -> Result<Option<(SnapshotMeta, Bytes)>, StoreError> {
        match &self.place {
            Place::Memory(memory) => {
                let bytes = memory.lock().unwrap_or_else(PoisonError::into_inner).clone();
                bytes
                    .map(|bytes| with_meta(Path::new("(memory)"), bytes))
                    .transpose()
            }
            Place::File(path) => files::read(path)?
                .map(|bytes| with_meta(path, bytes.into()))
                .transpose(),
        }
    }
}

fn with_meta(path: &Path, bytes: Bytes) -> Result<(SnapshotMeta, Bytes), StoreError> {
    let meta = check_snapshot(&bytes).map_err(|error| file_error(path, error))?;
    Ok((meta, bytes))
}

fn file_error(path: &Path, error: SnapshotError) -> StoreError {
    match error {
        SnapshotError::Newer { found, known } => StoreError::Newer {
            path: path.to_owned(),
            found,
            known,
        },
        SnapshotError::Content(WireError::Later { needed, here }) => StoreError::Later {
            path: path.to_owned(),
            needed,
            here,
        },
        SnapshotError::NotOne
        | SnapshotError::Checksum
        | SnapshotError::Content(_)
        | SnapshotError::Other => StoreError::corrupt(path, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FEATURE_LEVEL;

    /// A snapshot of the next release, whose state this one would read without what it does not know.
    #[test]
    fn what_needs_a_later_release_is_named_and_not_read_in_part() {
        let (meta, file) = encode(&Replicated::default());
        assert_eq!(snapshot_level(&file), Some(FIRST_LEVEL));
        let needed = FEATURE_LEVEL + 1;
        let header = encode_snapshot_header(None, &meta, needed).encode_length_delimited_to_vec();
        let state = encode_state(&Replicated::default().state, &Replicated::default().answers);
        let later = KIND.wrap(&[&header, &state]);
        assert_eq!(snapshot_level(&later), Some(needed));
        let here = FEATURE_LEVEL;
        let expected = SnapshotError::Content(WireError::Later { needed, here });
        assert_eq!(check_snapshot(&later), Err(expected));
        let dir = tempfile::TempDir::new().unwrap();
        std::fs::write(dir.path().join(FILE_NAME), &later).unwrap();
        let told = Shelf::open(SnapshotPlace::Dir(dir.path().to_owned()))
            .unwrap_err()
            .to_string();
        assert!(
            told.contains(&format!("feature level {needed}")) && !told.contains("corrupt"),
            "{told}"
        );
        assert_eq!(snapshot_level(b"fbalsnap"), None);
    }
}
