//! Why the log or a snapshot cannot be used.

use std::io;
use std::path::{Path, PathBuf};

/// Why the log or a snapshot cannot be used. One sentence each.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has it open.
    #[error("the store {0} is held by another process; stop that one first")]
    Held(PathBuf),
    /// It does not hold what it must.
    #[error(
        "the store {path} is corrupt ({reason}); restore it from a backup, or join again with an empty data \
         directory"
    )]
    Corrupt {
        /// The store, or the file of it.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A later release wrote it.
    #[error(
        "the store {path} has format {found}, of a later release; this release reads up to format {known}"
    )]
    Newer {
        /// The store, or the file of it.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest that this release reads.
        known: u32,
    },
    /// It holds what only a later release can apply.
    #[error(
        "the store {path} needs feature level {needed}, of a later release, and this release has {here}; start a later one"
    )]
    Later {
        /// The store, or the file of it.
        path: PathBuf,
        /// What it needs.
        needed: u32,
        /// What this release can apply.
        here: u32,
    },
    /// The system refuses.
    #[error("{path}: {source}")]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl StoreError {
    pub(crate) fn corrupt(path: &Path, reason: impl std::fmt::Display) -> Self {
        Self::Corrupt {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }

    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File {
            path: path.to_owned(),
            source,
        }
    }
}

/// As the consensus library wants it: such an error stops this node's Raft, and is kept as the cause.
impl From<StoreError> for io::Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::File { source, .. } => source,
            StoreError::Held(_)
            | StoreError::Corrupt { .. }
            | StoreError::Newer { .. }
            | StoreError::Later { .. } => Self::new(io::ErrorKind::InvalidData, error),
        }
    }
}
