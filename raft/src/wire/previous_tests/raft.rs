//! What the consensus says and keeps.

use std::collections::{BTreeMap, BTreeSet};

use fleetbal_proto::v1;
use openraft::EntryPayload;
use openraft::impls::leader_id_adv;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderError,
    TransferLeaderRequest, VoteRequest, VoteResponse,
};

use super::{Sample, message};
use crate::model::KeyHash;
use crate::types::{
    ClusterMember, LogCommand, LogEntry, LogId, Membership, NodeId, SnapshotMeta, StoredMembership,
    TypeConfig, Vote,
};
use crate::wire::raft as wire;

fn log_id(index: u64) -> LogId {
    LogId {
        leader_id: leader_id_adv::LeaderId { term: 3, node_id: 7 },
        index,
    }
}

fn vote() -> Vote {
    Vote::new_committed(3, 7)
}

/// One of the first release, and one that changes its key.
fn membership() -> Membership {
    let member = |n: u8| ClusterMember {
        name: format!("n{n}"),
        address: format!("10.0.0.{n}:7400"),
        key_hash: KeyHash([n; 32]),
        next_key_hash: (n == 2).then_some(KeyHash([9; 32])),
        feature_level: (n == 2).then_some(2),
    };
    let nodes: BTreeMap<NodeId, ClusterMember> = (1..=3).map(|n| (u64::from(n), member(n))).collect();
    let joint = vec![BTreeSet::from([1]), BTreeSet::from([1, 2, 3])];
    Membership::new(joint, nodes).unwrap()
}

fn entry(index: u64, payload: EntryPayload<LogCommand, NodeId, ClusterMember>) -> LogEntry {
    let log_id = log_id(index);
    LogEntry { log_id, payload }
}

fn append(entries: Vec<LogEntry>) -> AppendEntriesRequest<TypeConfig> {
    AppendEntriesRequest {
        vote: vote(),
        prev_log_id: Some(log_id(3)),
        entries,
        leader_commit: Some(log_id(2)),
    }
}

pub(super) fn samples() -> Vec<Sample> {
    let mut samples = logs();
    samples.extend(append_answers());
    samples.extend(votes());
    samples.extend(transfers());
    samples.extend(snapshots());
    samples
}

fn logs() -> Vec<Sample> {
    let kinds = [
        ("blank", EntryPayload::Blank),
        ("command", EntryPayload::Normal(LogCommand(vec![1, 2, 0]))),
        ("membership", EntryPayload::Membership(membership())),
    ];
    let through = |wire: v1::LogEntry| Ok(wire::encode_log_entry(wire::decode_log_entry(wire)?));
    let mut samples: Vec<Sample> = kinds
        .into_iter()
        .map(|(name, payload)| {
            let wire = wire::encode_log_entry(entry(4, payload));
            message(&format!("LogEntry/{name}"), wire, through)
        })
        .collect();
    let through = |wire: v1::AppendRequest| Ok(wire::encode_append(wire::decode_append(wire)?));
    let some = append(vec![entry(4, EntryPayload::Blank)]);
    samples.extend([
        message(
            "AppendRequest/heartbeat",
            wire::encode_append(append(vec![])),
            through,
        ),
        message("AppendRequest/entries", wire::encode_append(some), through),
    ]);
    samples
}

fn append_answers() -> Vec<Sample> {
    let through =
        |wire: v1::AppendResponse| Ok(wire::encode_append_answer(&wire::decode_append_answer(&wire)?));
    let answers: [(&str, AppendEntriesResponse<TypeConfig>); 5] = [
        ("success", AppendEntriesResponse::Success),
        ("partial", AppendEntriesResponse::PartialSuccess(Some(log_id(9)))),
        ("partial-none", AppendEntriesResponse::PartialSuccess(None)),
        ("conflict", AppendEntriesResponse::Conflict),
        ("higher-vote", AppendEntriesResponse::HigherVote(vote())),
    ];
    answers
        .into_iter()
        .map(|(name, answer)| {
            let wire = wire::encode_append_answer(&answer);
            message(&format!("AppendResponse/{name}"), wire, through)
        })
        .collect()
}

fn votes() -> Vec<Sample> {
    let mut request = VoteRequest::<TypeConfig>::new(Vote::new(5, 2), Some(log_id(9)));
    request.leadership_transfer = true;
    let answer = VoteResponse::<TypeConfig>::new(vote(), Some(log_id(9)), true);
    let stored = v1::StoredVote {
        vote: Some(wire::encode_vote(&vote())),
    };
    vec![
        message("VoteRequest/all", wire::encode_vote_request(&request), |wire| {
            Ok(wire::encode_vote_request(&wire::decode_vote_request(&wire)?))
        }),
        message("VoteResponse/all", wire::encode_vote_answer(&answer), |wire| {
            Ok(wire::encode_vote_answer(&wire::decode_vote_answer(&wire)?))
        }),
        message("StoredVote/all", stored, |wire| {
            let vote = wire::decode_vote(wire.vote.as_ref())?;
            Ok(v1::StoredVote {
                vote: Some(wire::encode_vote(&vote)),
            })
        }),
    ]
}

fn transfers() -> Vec<Sample> {
    let request = TransferLeaderRequest::<TypeConfig>::new(vote(), 2, Some(log_id(9)));
    let through = |wire: v1::TransferRequest| Ok(wire::encode_transfer(&wire::decode_transfer(&wire)?));
    let mut samples = vec![message(
        "TransferRequest/all",
        wire::encode_transfer(&request),
        through,
    )];
    let through = |wire: v1::TransferResponse| {
        Ok(wire::encode_transfer_answer(&wire::decode_transfer_answer(
            &wire,
        )?))
    };
    let changed = TransferLeaderError::VoteChanged {
        expected: vote(),
        actual: Vote::new(4, 1),
    };
    let behind = TransferLeaderError::LogNotFlushed {
        expected: Some(log_id(9)),
        actual: Some(log_id(8)),
    };
    let answers = [
        ("accepted", Ok(())),
        ("vote-changed", Err(changed)),
        ("not-flushed", Err(behind)),
    ];
    samples.extend(answers.into_iter().map(|(name, answer)| {
        let wire = wire::encode_transfer_answer(&answer);
        message(&format!("TransferResponse/{name}"), wire, through)
    }));
    samples
}

fn snapshots() -> Vec<Sample> {
    let meta = SnapshotMeta {
        last_log_id: Some(log_id(8)),
        last_membership: StoredMembership::new(Some(log_id(6)), membership()),
    };
    let header = wire::encode_snapshot_header(Some(&vote()), &meta, 1);
    let with_level = wire::encode_snapshot_header(None, &meta, 2);
    // Before there was a history.
    let first = v1::SnapshotHeader {
        format: 1,
        vote: None,
        ..header.clone()
    };
    let chunk = v1::SnapshotChunk {
        header: Some(header.clone()),
        data: vec![7; 3],
    };
    let answer = wire::encode_snapshot_answer(&SnapshotResponse::new(vote()));
    let through = |wire: v1::SnapshotHeader| {
        let (format, vote, level) = (wire.format, wire.vote, wire.feature_level);
        let meta = wire::decode_snapshot_header(wire)?;
        Ok(v1::SnapshotHeader {
            format,
            vote,
            ..wire::encode_snapshot_header(None, &meta, level)
        })
    };
    vec![
        message("SnapshotHeader/streamed", header, through),
        message("SnapshotHeader/format-1", first, through),
        message("SnapshotHeader/level", with_level, through),
        message("SnapshotChunk/all", chunk, Ok),
        message("SnapshotResponse/all", answer, |wire| {
            Ok(wire::encode_snapshot_answer(&wire::decode_snapshot_answer(
                &wire,
            )?))
        }),
    ]
}
