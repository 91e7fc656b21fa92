//! When a majority of the voters is lost for good: one node goes on alone with all that it has. Offline, on the data
//! directory of a node that does not run.
//!
//! Every entry of the node's log counts, whether or not it is known to be committed, so that of the changes that were
//! acknowledged only those are lost that this node never got. The other members are removed: one that comes back and
//! asks is told so, and can never bring its own history in.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::OpenError;
use crate::identity::{DataDir, Identity, KnownMembers};
use crate::machine::Salvage;
use crate::model::{NodeName, Version};
use crate::store::{LogStore, StoreError};
use crate::types::{ClusterMember, LogId};

/// Where the log and the snapshots of before are kept, beside the new ones.
const BEFORE: &str = "raft.before-recovery";

/// Why a node cannot go on alone.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecoverError {
    /// The directory, or what lies in it, cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// No node lives there.
    #[error("data directory {0}: no node of a fleet lives there; there is nothing to recover")]
    NoNode(PathBuf),
    /// It has nothing of the fleet's state yet.
    #[error("node '{0}' never got the fleet's state; recover another one")]
    Empty(NodeName),
    /// The last that it read of the fleet is that it is no member.
    #[error("node '{0}' was removed from its fleet; recover another one")]
    NoMember(NodeName),
}

/// What a recovery would do. Nothing is changed before [`Recovery::carry_out`].
#[derive(Debug)]
pub struct Recovery {
    /// Who goes on.
    pub identity: Identity,
    /// The version that the fleet goes on with.
    pub version: Version,
    /// The last entry of its log.
    pub last: LogId,
    /// Who will be no member any more.
    pub others: Vec<NodeName>,
    dir: DataDir,
    salvage: Salvage,
    member: ClusterMember,
    log: LogStore,
}

impl Recovery {
    /// Reads a data directory. Blocks.
    ///
    /// # Errors
    /// When it is none, or damaged, or in use, or its node cannot go on.
    pub fn plan(dir: DataDir) -> Result<Self, RecoverError> {
        let identity = dir
            .identity()?
            .ok_or_else(|| RecoverError::NoNode(dir.path().to_path_buf()))?;
        let raft = dir.raft_path();
        let log = LogStore::open(&raft.join("log")).map_err(OpenError::from)?;
        let mut salvage = Salvage::open(raft.join("snapshots")).map_err(OpenError::from)?;
        let next = salvage.last().map_or(0, |last| last.index + 1);
        let entries = log.entries_from(next).map_err(unreadable(&raft))?;
        for entry in entries {
            salvage
                .apply(entry)
                .map_err(|error| unreadable(&raft)(io::Error::other(error)))?;
        }
        let state = salvage.state();
        let (Some(last), true) = (salvage.last(), state.members().len() > 0) else {
            return Err(RecoverError::Empty(identity.name));
        };
        let Some((_, own)) = state.members().find(|(name, _)| **name == identity.name) else {
            return Err(RecoverError::NoMember(identity.name));
        };
        let member = ClusterMember {
            name: identity.name.to_string(),
            address: own.address.clone(),
            key_hash: own.key_hash,
            next_key_hash: None,
            feature_level: None,
        };
        let others = state.members().map(|(name, _)| name.clone());
        Ok(Self {
            version: state.config.version,
            last,
            others: others.filter(|name| *name != identity.name).collect(),
            identity,
            dir,
            salvage,
            member,
            log,
        })
    }

    /// Makes the node the only member of its fleet. What was there before is copied to the directory that this
    /// returns. Blocks.
    ///
    /// # Errors
    /// When something cannot be written; then the node is what it was.
    pub fn carry_out(self) -> Result<PathBuf, OpenError> {
        let Self {
            identity,
            last,
            dir,
            salvage,
            member,
            log,
            ..
        } = self;
        // Closed, so that what is copied is whole.
        drop(log);
        let raft = dir.raft_path();
        let before = free_name(dir.path());
        copy(&raft, &before).map_err(|source| OpenError::File {
            path: before.clone(),
            source,
        })?;
        let known = KnownMembers {
            log_index: last.index,
            members: BTreeMap::from([(identity.node_id, member.clone())]),
        };
        salvage.keep_alone(identity.node_id, member)?;
        dir.save_known_members(&known)?;
        Ok(before)
    }
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    move |error| StoreError::corrupt(path, error).into()
}

/// The first name that is not taken: an earlier recovery may have left its own.
fn free_name(dir: &Path) -> PathBuf {
    let numbered = (2..).map(|number| dir.join(format!("{BEFORE}.{number}")));
    std::iter::once(dir.join(BEFORE))
        .chain(numbered)
        .find(|path| !path.exists())
        .unwrap_or_else(|| dir.join(BEFORE))
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
