//! What the consensus library is told about fleetbal: its commands, answers and members.
//!
//! Nothing of the library is written to disk or wire as it is; `wire::raft` has the conversions.

use std::fmt;

use crate::model::{Answer, FIRST_LEVEL, KeyHash};

/// A member's id. Given once by the fleet, never given again.
pub type NodeId = u64;

/// What the consensus runs on.
#[cfg(not(test))]
type Runtime = openraft::impls::TokioRuntime;

/// The same, but its chance can be sown.
#[cfg(test)]
type Runtime = crate::sim::runtime::SownRuntime;

openraft::declare_raft_types!(
    /// fleetbal's choice of the consensus library's types.
    pub TypeConfig:
        D = LogCommand,
        R = Option<Answer>,
        NodeId = NodeId,
        Node = ClusterMember,
        AsyncRuntime = Runtime,
);

/// An encoded [`crate::model::Entry`]. Opaque in the log, so that an older node stores and passes on what it does
/// not know; it is decoded when it is applied.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct LogCommand(pub Vec<u8>);

/// A member as the replicated membership knows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClusterMember {
    /// Its name.
    pub name: String,
    /// Where its cluster port is reached: `ip:port`.
    pub address: String,
    /// Of its public key: who shows another one is not this member.
    pub key_hash: KeyHash,
    /// Of the key that is to take the place of the other; until then both count.
    pub next_key_hash: Option<KeyHash>,
    /// What its release can apply, once it said so.
    pub feature_level: Option<u32>,
}

impl ClusterMember {
    /// The keys by which it is known.
    pub fn keys(&self) -> impl Iterator<Item = KeyHash> {
        std::iter::once(self.key_hash).chain(self.next_key_hash)
    }

    /// What its release can apply. The first releases did not say so.
    pub fn level(&self) -> u32 {
        self.feature_level.unwrap_or(FIRST_LEVEL)
    }
}

/// The identity of one log entry.
pub type LogId = openraft::alias::LogIdOf<TypeConfig>;
/// A term and the candidate or leader that was voted for in it.
pub type Vote = openraft::alias::VoteOf<TypeConfig>;
/// One entry of the log.
pub type LogEntry = openraft::alias::EntryOf<TypeConfig>;
/// Voters and learners.
pub type Membership = openraft::Membership<NodeId, ClusterMember>;
/// A membership and the entry that made it.
pub type StoredMembership = openraft::alias::StoredMembershipOf<TypeConfig>;
/// What a snapshot holds besides the state: the last entry in it, and the membership.
pub type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;
/// A snapshot: its meta data, and the bytes of a whole snapshot file.
pub type Snapshot = openraft::alias::SnapshotOf<TypeConfig, SnapshotData>;
/// The bytes of a whole snapshot file, header and checksum included.
pub type SnapshotData = bytes::Bytes;

impl fmt::Debug for LogCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for LogCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "command of {} bytes", self.0.len())
    }
}
