//! Backups: the configuration of one version in a file that tells what it is and whether it is whole.
//!
//! What is a fleet's alone is not in it: its members, its keys, its tokens. A restored fleet has those of its own.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use crate::checked_file::{Kind, Unreadable};
use crate::model::{FleetConfig, FleetId, UnixMillis};
use crate::wire::{WireError, decode_backup, encode_backup};

const KIND: Kind = Kind {
    mark: b"fbalback",
    format: 1,
};

/// A backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// The name of the fleet.
    pub fleet: String,
    /// Its id.
    pub fleet_id: FleetId,
    /// The name of the node where it was taken.
    pub node: String,
    /// That node's release.
    pub software: String,
    /// When, by that node's clock.
    pub time: UnixMillis,
    /// The configuration, with its version.
    pub config: Arc<FleetConfig>,
}

/// Why bytes are not a backup that can be restored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// They begin like something else.
    #[error("not a backup of fleetbal")]
    NotOne,
    /// A later release wrote them.
    #[error("the backup has format {found}, of a later release; this release reads up to format {known}")]
    Newer {
        /// Their format.
        found: u32,
        /// The newest that this release reads.
        known: u32,
    },
    /// They are not those that were written.
    #[error("the backup is damaged: its checksum does not match its content; take another copy of it")]
    Checksum,
    /// This release cannot make a configuration of them.
    #[error("the backup's content cannot be read: {0}")]
    Content(#[from] WireError),
}

impl Backup {
    /// The bytes of the file.
    pub fn to_bytes(&self) -> Bytes {
        KIND.wrap(&[&encode_backup(self).encode_to_vec()])
    }

    /// Reads a file, and checks all of it.
    ///
    /// # Errors
    /// When it is no backup, not whole, or of a later release.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BackupError> {
        let content = KIND.unwrap_content(bytes).map_err(|why| match why {
            Unreadable::NotOne => BackupError::NotOne,
            Unreadable::Newer(found) => BackupError::Newer {
                found,
                known: KIND.format,
            },
            Unreadable::Checksum => BackupError::Checksum,
        })?;
        Ok(decode_backup(content)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Batch, Change, PoolName};

    fn backup() -> Backup {
        let create = Change::CreatePool(PoolName::parse("web").unwrap());
        let batch = Batch::of(vec![create]);
        Backup {
            fleet: "acme".to_owned(),
            fleet_id: FleetId([7; 16]),
            node: "n1".to_owned(),
            software: "0.1.0".to_owned(),
            time: UnixMillis(1_700_000_000_000),
            config: Arc::new(FleetConfig::default().with_batch(&batch).unwrap()),
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let backup = backup();
        assert_eq!(Backup::from_bytes(&backup.to_bytes()), Ok(backup));
    }

    #[test]
    fn a_flipped_bit_anywhere_is_noticed_and_so_is_a_missing_end() {
        let whole = backup().to_bytes();
        for at in 0..whole.len() {
            let mut damaged = whole.to_vec();
            damaged[at] ^= 1;
            assert!(Backup::from_bytes(&damaged).is_err(), "byte {at} flipped");
            assert!(Backup::from_bytes(&whole[..at]).is_err(), "cut at byte {at}");
        }
    }

    #[test]
    fn a_later_format_is_named() {
        let mut later = backup().to_bytes().to_vec();
        later[11] = 9;
        let newer = BackupError::Newer { found: 9, known: 1 };
        assert_eq!(Backup::from_bytes(&later), Err(newer));
    }
}
