//! The state of a node that does not run: read from its snapshot and its log, and put back as a new snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::SnapshotPlace;
use super::replicated::Replicated;
use super::snapshot::{self, Shelf};
use crate::model::{FleetState, VoteWish};
use crate::store::StoreError;
use crate::types::{ClusterMember, LogEntry, LogId, Membership, NodeId, StoredMembership};
use crate::wire::WireError;

/// What a data directory holds, with every entry of its log applied.
#[derive(Debug)]
pub(crate) struct Salvage {
    shelf: Shelf,
    replicated: Replicated,
}

impl Salvage {
    /// Reads the snapshot; nothing is written. Blocks.
    pub(crate) fn open(snapshots: PathBuf) -> Result<Self, StoreError> {
        let (shelf, replicated) = Shelf::open(SnapshotPlace::Dir(snapshots))?;
        let replicated = replicated.unwrap_or_default();
        Ok(Self { shelf, replicated })
    }

    /// The last entry that is in it.
    pub(crate) fn last(&self) -> Option<LogId> {
        self.replicated.last_applied
    }

    /// Applies the next entry, whether or not a majority has it: one that was acknowledged is never left out.
    ///
    /// # Errors
    /// When it is of a later release.
    pub(crate) fn apply(&mut self, entry: LogEntry) -> Result<(), WireError> {
        self.replicated.apply(entry).map(drop)
    }

    pub(crate) fn state(&self) -> &FleetState {
        &self.replicated.state
    }

    /// Makes this node the only member, and writes it down. A crash leaves the snapshot of before, or the new one.
    /// Blocks.
    pub(crate) fn keep_alone(mut self, node: NodeId, member: ClusterMember) -> Result<(), StoreError> {
        let members = &mut self.replicated.state.members;
        members.retain(|_, named| named.node_id == node);
        for named in members.values_mut() {
            named.wish = VoteWish::Any;
        }
        let voters = vec![BTreeSet::from([node])];
        // The set of voters is a subset of the members, so there is nothing to refuse.
        let membership = Membership::new(voters, BTreeMap::from([(node, member)])).unwrap_or_default();
        let alone = Replicated::new(
            self.replicated.state,
            self.replicated.answers,
            self.replicated.last_applied,
            StoredMembership::new(self.replicated.last_applied, membership),
        );
        let (meta, bytes) = snapshot::encode(&alone);
        self.shelf.keep(meta.last_log_id, &bytes)
    }
}
