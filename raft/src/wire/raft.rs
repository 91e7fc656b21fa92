//! The consensus library's types as messages and back: logs, votes, memberships, calls and their answers.
//!
//! Functions rather than `From`, because neither side of any of them is this crate's. A field that must be there
//! and is not is an error, never a default.

use std::collections::{BTreeMap, BTreeSet};

use fleetbal_proto::v1;
use openraft::EntryPayload;
use openraft::impls::leader_id_adv;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderError,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use prost::Message;

use super::change::fixed;
use super::{WireError, beyond_first, check_level};
use crate::model::KeyHash;
use crate::types::{
    ClusterMember, LogCommand, LogEntry, LogId, Membership, NodeId, SnapshotMeta, StoredMembership,
    TypeConfig, Vote,
};

/// The snapshot format that this release writes, and the newest it reads. Format 1 had no history.
pub const SNAPSHOT_FORMAT: u32 = 2;

/// The oldest that it reads.
const OLDEST_SNAPSHOT_FORMAT: u32 = 1;

/// The identity of an entry.
pub fn encode_log_id(log_id: &LogId) -> v1::LogId {
    v1::LogId {
        leader: Some(leader(&log_id.leader_id)),
        index: log_id.index,
    }
}

/// The identity of an entry, where there may be none.
pub fn encode_log_id_opt(log_id: Option<&LogId>) -> Option<v1::LogId> {
    log_id.map(encode_log_id)
}

/// The identity of an entry.
///
/// # Errors
/// Without a leader.
pub fn decode_log_id(wire: &v1::LogId) -> Result<LogId, WireError> {
    let leader = wire.leader.ok_or(WireError::Invalid("log id"))?;
    Ok(LogId {
        leader_id: leader_id(leader),
        index: wire.index,
    })
}

/// The identity of an entry, where there may be none.
///
/// # Errors
/// With one that has no leader.
pub fn decode_log_id_opt(wire: Option<&v1::LogId>) -> Result<Option<LogId>, WireError> {
    wire.map(decode_log_id).transpose()
}

/// A vote.
pub fn encode_vote(vote: &Vote) -> v1::Vote {
    v1::Vote {
        leader: Some(leader(&vote.leader_id)),
        committed: vote.committed,
    }
}

/// A vote, which must be there.
///
/// # Errors
/// Without a vote, or without a leader in it.
pub fn decode_vote(wire: Option<&v1::Vote>) -> Result<Vote, WireError> {
    let wire = wire.ok_or(WireError::Invalid("vote"))?;
    Ok(Vote {
        leader_id: leader_id(wire.leader.ok_or(WireError::Invalid("vote"))?),
        committed: wire.committed,
    })
}

/// A member.
pub fn encode_member(member: &ClusterMember) -> v1::Member {
    v1::Member {
        name: member.name.clone(),
        address: member.address.clone(),
        key_hash: member.key_hash.0.to_vec(),
        feature_level: member.feature_level,
        next_key_hash: member
            .next_key_hash
            .map(|hash| hash.0.to_vec())
            .unwrap_or_default(),
    }
}

/// A member.
///
/// # Errors
/// When its key's hash is not one.
pub fn decode_member(wire: v1::Member) -> Result<ClusterMember, WireError> {
    Ok(ClusterMember {
        key_hash: KeyHash(fixed(&wire.key_hash, "key hash")?),
        next_key_hash: decode_key_hash_opt(&wire.next_key_hash)?,
        name: wire.name,
        address: wire.address,
        feature_level: wire.feature_level,
    })
}

/// A key's hash, where there may be none.
///
/// # Errors
/// When it is not one.
pub fn decode_key_hash_opt(wire: &[u8]) -> Result<Option<KeyHash>, WireError> {
    if wire.is_empty() {
        return Ok(None);
    }
    Ok(Some(KeyHash(fixed(wire, "next key hash")?)))
}

/// Members by id.
pub fn encode_members<'a>(
    members: impl IntoIterator<Item = (&'a NodeId, &'a ClusterMember)>,
) -> BTreeMap<u64, v1::Member> {
    members
        .into_iter()
        .map(|(id, member)| (*id, encode_member(member)))
        .collect()
}

/// Members by id.
///
/// # Errors
/// When one of them is none.
pub fn decode_members(wire: BTreeMap<u64, v1::Member>) -> Result<BTreeMap<NodeId, ClusterMember>, WireError> {
    wire.into_iter()
        .map(|(id, member)| Ok((id, decode_member(member)?)))
        .collect()
}

/// Voters and learners.
pub fn encode_membership(membership: &Membership) -> v1::Membership {
    v1::Membership {
        voters: membership
            .get_joint_config()
            .iter()
            .map(|set| v1::NodeIds {
                ids: set.iter().copied().collect(),
            })
            .collect(),
        members: encode_members(membership.nodes()),
    }
}

/// Voters and learners.
///
/// # Errors
/// When a set of voters is empty, or a voter is not among the members.
pub fn decode_membership(wire: v1::Membership) -> Result<Membership, WireError> {
    let voters: Vec<BTreeSet<NodeId>> = wire
        .voters
        .into_iter()
        .map(|set| set.ids.into_iter().collect())
        .collect();
    Membership::new(voters, decode_members(wire.members)?).map_err(|_| WireError::Invalid("membership"))
}

/// A membership and the entry that made it.
pub fn encode_stored_membership(stored: &StoredMembership) -> v1::StoredMembership {
    v1::StoredMembership {
        log_id: encode_log_id_opt(stored.log_id().as_ref()),
        membership: Some(encode_membership(stored.membership())),
    }
}

/// A membership and the entry that made it.
///
/// # Errors
/// Without a membership, or with one that is not valid.
pub fn decode_stored_membership(wire: Option<v1::StoredMembership>) -> Result<StoredMembership, WireError> {
    let wire = wire.ok_or(WireError::Invalid("stored membership"))?;
    let membership = wire.membership.ok_or(WireError::Invalid("stored membership"))?;
    Ok(StoredMembership::new(
        decode_log_id_opt(wire.log_id.as_ref())?,
        decode_membership(membership)?,
    ))
}

/// An entry of the log.
pub fn encode_log_entry(entry: LogEntry) -> v1::LogEntry {
    use v1::log_entry::Payload;
    v1::LogEntry {
        log_id: Some(encode_log_id(&entry.log_id)),
        payload: Some(match entry.payload {
            EntryPayload::Blank => Payload::Blank(v1::Blank {}),
            EntryPayload::Normal(command) => Payload::Command(command.0),
            EntryPayload::Membership(membership) => Payload::Membership(encode_membership(&membership)),
        }),
    }
}

/// An entry of the log.
///
/// # Errors
/// Without an identity, or without a payload that this release knows.
pub fn decode_log_entry(wire: v1::LogEntry) -> Result<LogEntry, WireError> {
    use v1::log_entry::Payload;
    let log_id = wire.log_id.ok_or(WireError::Invalid("log id"))?;
    let payload = match wire.payload.ok_or(WireError::Invalid("log entry"))? {
        Payload::Blank(v1::Blank {}) => EntryPayload::Blank,
        Payload::Command(bytes) => EntryPayload::Normal(LogCommand(bytes)),
        Payload::Membership(membership) => EntryPayload::Membership(decode_membership(membership)?),
    };
    Ok(LogEntry {
        log_id: decode_log_id(&log_id)?,
        payload,
    })
}

/// An entry of the log out of stored bytes.
///
/// # Errors
/// As [`decode_log_entry`], and when the bytes are no message.
pub fn log_entry_from_bytes(bytes: &[u8]) -> Result<LogEntry, WireError> {
    decode_log_entry(v1::LogEntry::decode(bytes)?)
}

/// A call to append entries.
pub fn encode_append(request: AppendEntriesRequest<TypeConfig>) -> v1::AppendRequest {
    v1::AppendRequest {
        vote: Some(encode_vote(&request.vote)),
        prev: encode_log_id_opt(request.prev_log_id.as_ref()),
        entries: request.entries.into_iter().map(encode_log_entry).collect(),
        committed: encode_log_id_opt(request.leader_commit.as_ref()),
    }
}

/// A call to append entries.
///
/// # Errors
/// Without a vote, or with an entry that is none.
pub fn decode_append(wire: v1::AppendRequest) -> Result<AppendEntriesRequest<TypeConfig>, WireError> {
    Ok(AppendEntriesRequest {
        vote: decode_vote(wire.vote.as_ref())?,
        prev_log_id: decode_log_id_opt(wire.prev.as_ref())?,
        entries: wire
            .entries
            .into_iter()
            .map(decode_log_entry)
            .collect::<Result<_, _>>()?,
        leader_commit: decode_log_id_opt(wire.committed.as_ref())?,
    })
}

/// What a call to append was answered.
pub fn encode_append_answer(answer: &AppendEntriesResponse<TypeConfig>) -> v1::AppendResponse {
    use v1::append_response::Result as Wire;
    v1::AppendResponse {
        result: Some(match answer {
            AppendEntriesResponse::Success => Wire::Success(v1::Blank {}),
            AppendEntriesResponse::PartialSuccess(Some(log_id)) => {
                Wire::PartialSuccess(encode_log_id(log_id))
            }
            AppendEntriesResponse::PartialSuccess(None) => Wire::PartialNone(v1::Blank {}),
            AppendEntriesResponse::Conflict => Wire::Conflict(v1::Blank {}),
            AppendEntriesResponse::HigherVote(vote) => Wire::HigherVote(encode_vote(vote)),
        }),
    }
}

/// What a call to append was answered.
///
/// # Errors
/// Without an answer that this release knows.
pub fn decode_append_answer(
    wire: &v1::AppendResponse,
) -> Result<AppendEntriesResponse<TypeConfig>, WireError> {
    use v1::append_response::Result as Wire;
    let result = wire
        .result
        .as_ref()
        .ok_or(WireError::Invalid("answer to append"))?;
    Ok(match result {
        Wire::Success(v1::Blank {}) => AppendEntriesResponse::Success,
        Wire::PartialSuccess(log_id) => AppendEntriesResponse::PartialSuccess(Some(decode_log_id(log_id)?)),
        Wire::PartialNone(v1::Blank {}) => AppendEntriesResponse::PartialSuccess(None),
        Wire::Conflict(v1::Blank {}) => AppendEntriesResponse::Conflict,
        Wire::HigherVote(vote) => AppendEntriesResponse::HigherVote(decode_vote(Some(vote))?),
    })
}

/// A call for votes, and one that only asks how it would end.
pub fn encode_vote_request(request: &VoteRequest<TypeConfig>) -> v1::VoteRequest {
    v1::VoteRequest {
        vote: Some(encode_vote(&request.vote)),
        last_log: encode_log_id_opt(request.last_log_id.as_ref()),
        leadership_transfer: request.leadership_transfer,
    }
}

/// A call for votes, and one that only asks how it would end.
///
/// # Errors
/// Without a vote.
pub fn decode_vote_request(wire: &v1::VoteRequest) -> Result<VoteRequest<TypeConfig>, WireError> {
    Ok(VoteRequest {
        vote: decode_vote(wire.vote.as_ref())?,
        last_log_id: decode_log_id_opt(wire.last_log.as_ref())?,
        leadership_transfer: wire.leadership_transfer,
    })
}

/// What a call for votes was answered.
pub fn encode_vote_answer(answer: &VoteResponse<TypeConfig>) -> v1::VoteResponse {
    v1::VoteResponse {
        vote: Some(encode_vote(&answer.vote)),
        granted: answer.vote_granted,
        last_log: encode_log_id_opt(answer.last_log_id.as_ref()),
    }
}

/// What a call for votes was answered.
///
/// # Errors
/// Without a vote.
pub fn decode_vote_answer(wire: &v1::VoteResponse) -> Result<VoteResponse<TypeConfig>, WireError> {
    Ok(VoteResponse {
        vote: decode_vote(wire.vote.as_ref())?,
        vote_granted: wire.granted,
        last_log_id: decode_log_id_opt(wire.last_log.as_ref())?,
    })
}

/// A call to take the leadership over.
pub fn encode_transfer(request: &TransferLeaderRequest<TypeConfig>) -> v1::TransferRequest {
    v1::TransferRequest {
        from: Some(encode_vote(request.from_leader())),
        to: *request.to_node_id(),
        last_log: encode_log_id_opt(request.last_log_id()),
    }
}

/// A call to take the leadership over.
///
/// # Errors
/// Without the leader's vote.
pub fn decode_transfer(wire: &v1::TransferRequest) -> Result<TransferLeaderRequest<TypeConfig>, WireError> {
    let from = decode_vote(wire.from.as_ref())?;
    let last_log = decode_log_id_opt(wire.last_log.as_ref())?;
    Ok(TransferLeaderRequest::new(from, wire.to, last_log))
}

/// What a call to take the leadership over was answered.
pub fn encode_transfer_answer(answer: &TransferLeaderResponse<TypeConfig>) -> v1::TransferResponse {
    use v1::transfer_response::Result as Wire;
    v1::TransferResponse {
        result: Some(match answer {
            Ok(()) => Wire::Accepted(v1::Blank {}),
            Err(TransferLeaderError::VoteChanged { expected, actual }) => {
                Wire::VoteChanged(v1::VoteChanged {
                    expected: Some(encode_vote(expected)),
                    actual: Some(encode_vote(actual)),
                })
            }
            Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
                Wire::LogNotFlushed(v1::LogNotFlushed {
                    expected: encode_log_id_opt(expected.as_ref()),
                    actual: encode_log_id_opt(actual.as_ref()),
                })
            }
        }),
    }
}

/// What a call to take the leadership over was answered.
///
/// # Errors
/// Without an answer that this release knows.
pub fn decode_transfer_answer(
    wire: &v1::TransferResponse,
) -> Result<TransferLeaderResponse<TypeConfig>, WireError> {
    use v1::transfer_response::Result as Wire;
    let result = wire
        .result
        .as_ref()
        .ok_or(WireError::Invalid("answer to transfer"))?;
    Ok(match result {
        Wire::Accepted(v1::Blank {}) => Ok(()),
        Wire::VoteChanged(changed) => Err(TransferLeaderError::VoteChanged {
            expected: decode_vote(changed.expected.as_ref())?,
            actual: decode_vote(changed.actual.as_ref())?,
        }),
        Wire::LogNotFlushed(not) => Err(TransferLeaderError::LogNotFlushed {
            expected: decode_log_id_opt(not.expected.as_ref())?,
            actual: decode_log_id_opt(not.actual.as_ref())?,
        }),
    })
}

/// What leads a snapshot that members of that feature level can apply: on the wire with the sender's vote, in a file
/// without.
pub fn encode_snapshot_header(vote: Option<&Vote>, meta: &SnapshotMeta, level: u32) -> v1::SnapshotHeader {
    v1::SnapshotHeader {
        format: SNAPSHOT_FORMAT,
        vote: vote.map(encode_vote),
        last_log: encode_log_id_opt(meta.last_log_id.as_ref()),
        membership: Some(encode_stored_membership(&meta.last_membership)),
        feature_level: beyond_first(level),
    }
}

/// What leads a snapshot. Whether a vote must be there is for the caller to say: see [`decode_vote`].
///
/// # Errors
/// Without a membership, and for a format or a feature level of a later release.
pub fn decode_snapshot_header(wire: v1::SnapshotHeader) -> Result<SnapshotMeta, WireError> {
    if !(OLDEST_SNAPSHOT_FORMAT..=SNAPSHOT_FORMAT).contains(&wire.format) {
        return Err(WireError::Invalid("snapshot format"));
    }
    check_level(wire.feature_level)?;
    Ok(SnapshotMeta {
        last_log_id: decode_log_id_opt(wire.last_log.as_ref())?,
        last_membership: decode_stored_membership(wire.membership)?,
    })
}

/// What a snapshot was answered.
pub fn encode_snapshot_answer(answer: &SnapshotResponse<TypeConfig>) -> v1::SnapshotResponse {
    v1::SnapshotResponse {
        vote: Some(encode_vote(&answer.vote)),
    }
}

/// What a snapshot was answered.
///
/// # Errors
/// Without a vote.
pub fn decode_snapshot_answer(
    wire: &v1::SnapshotResponse,
) -> Result<SnapshotResponse<TypeConfig>, WireError> {
    Ok(SnapshotResponse::new(decode_vote(wire.vote.as_ref())?))
}

fn leader(id: &leader_id_adv::LeaderId<u64, NodeId>) -> v1::LeaderId {
    v1::LeaderId {
        term: id.term,
        node_id: id.node_id,
    }
}

fn leader_id(wire: v1::LeaderId) -> leader_id_adv::LeaderId<u64, NodeId> {
    leader_id_adv::LeaderId {
        term: wire.term,
        node_id: wire.node_id,
    }
}

#[cfg(test)]
#[path = "raft_tests.rs"]
mod tests;
