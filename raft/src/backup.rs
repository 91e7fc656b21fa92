//! Backups: the configuration of one version in a file that tells what it is and whether it is whole.
//!
//! What is a fleet's alone is not in it: its members, its keys, its tokens. A restored fleet has those of its own.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use crate::checked_file::{Kind, Unreadable};
use crate::model::{FIRST_LEVEL, FleetConfig, FleetId, UnixMillis};
use crate::wire::{WireError, decode_backup, encode_backup};

const KIND: Kind = Kind {
    mark: b"fbalback",
    format: 2,
};

/// What the first release reads. It would pass over what it does not know, and restore the rest.
const FIRST: Kind = Kind { format: 1, ..KIND };

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
    #[error("the backup cannot be read: {0}")]
    Content(#[from] WireError),
}

impl Backup {
    /// The bytes of the file.
    pub fn to_bytes(&self) -> Bytes {
        let kind = if self.config.feature_level() > FIRST_LEVEL {
            KIND
        } else {
            FIRST
        };
        kind.wrap(&[&encode_backup(self).encode_to_vec()])
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
    use crate::model::{
        Batch, Certificate, CertificateName, Change, FEATURE_LEVEL, PoolName, SealId, SealedKey,
    };

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

    /// A backup with something that the first release does not know, and what its content says.
    fn with_a_certificate() -> (Backup, fleetbal_proto::v1::Backup) {
        let put = Change::PutCertificate {
            name: CertificateName::parse("www").unwrap(),
            certificate: Arc::new(Certificate {
                chain: vec![b"chain"[..].into()],
                key: SealedKey {
                    seal: SealId([1; 16]),
                    sealed: b"sealed"[..].into(),
                },
            }),
        };
        let mut backup = backup();
        backup.config = Arc::new(backup.config.with_batch(&Batch::of(vec![put])).unwrap());
        let content = encode_backup(&backup);
        (backup, content)
    }

    #[test]
    fn an_older_release_refuses_what_it_would_leave_out() {
        let format = |backup: &Backup| u32::from_be_bytes(backup.to_bytes()[8..12].try_into().unwrap());
        assert_eq!(format(&backup()), 1);
        let (later, content) = with_a_certificate();
        assert_eq!((format(&later), content.feature_level), (2, 2));
        assert_eq!(Backup::from_bytes(&later.to_bytes()), Ok(later));
        // The same by this release, of the next one's.
        let next = fleetbal_proto::v1::Backup {
            feature_level: FEATURE_LEVEL + 1,
            ..content
        };
        let told = Backup::from_bytes(&KIND.wrap(&[&next.encode_to_vec()]))
            .unwrap_err()
            .to_string();
        assert!(
            told.contains(&format!("needs feature level {}", FEATURE_LEVEL + 1)),
            "{told}"
        );
    }

    #[test]
    fn a_later_format_is_named() {
        let mut later = backup().to_bytes().to_vec();
        later[11] = 9;
        let newer = BackupError::Newer { found: 9, known: 2 };
        assert_eq!(Backup::from_bytes(&later), Err(newer));
    }
}
