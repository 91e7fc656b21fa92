use std::fmt::Debug;

use super::*;
use crate::model::FEATURE_LEVEL;

fn log_id(index: u64) -> LogId {
    LogId {
        leader_id: leader_id_adv::LeaderId { term: 3, node_id: 7 },
        index,
    }
}

fn vote() -> Vote {
    Vote::new_committed(3, 7)
}

fn membership() -> Membership {
    let member = |n: u8| ClusterMember {
        name: format!("n{n}"),
        address: format!("10.0.0.{n}:7400"),
        key_hash: KeyHash([n; 32]),
        next_key_hash: (n > 1).then_some(KeyHash([n + 1; 32])),
        feature_level: (n > 1).then_some(u32::from(n)),
    };
    let nodes: BTreeMap<NodeId, ClusterMember> = (1..=4).map(|n| (u64::from(n), member(n))).collect();
    let joint = vec![BTreeSet::from([1]), BTreeSet::from([1, 2, 3])];
    Membership::new(joint, nodes).unwrap()
}

fn entries() -> Vec<LogEntry> {
    let payloads = [
        EntryPayload::Blank,
        EntryPayload::Normal(LogCommand(vec![1, 2, 0])),
        EntryPayload::Membership(membership()),
    ];
    (4..)
        .zip(payloads)
        .map(|(index, payload)| LogEntry {
            log_id: log_id(index),
            payload,
        })
        .collect()
}

/// Through bytes, so that what the message format loses is lost here too.
fn through<M: Message + Default>(message: &M) -> M {
    M::decode(message.encode_to_vec().as_slice()).unwrap()
}

fn invalid<T: Debug>(result: Result<T, WireError>, what: &'static str) {
    match result {
        Err(WireError::Invalid(named)) => assert_eq!(named, what),
        other => panic!("expected an error about {what}, got {other:?}"),
    }
}

#[test]
fn entries_come_back_as_they_were() {
    for entry in entries() {
        let wire = through(&encode_log_entry(entry.clone()));
        assert_eq!(decode_log_entry(wire).unwrap(), entry);
    }
}

#[test]
fn append_comes_back_as_it_was() {
    for (prev, entries) in [(None, vec![]), (Some(log_id(3)), entries())] {
        let request = AppendEntriesRequest::<TypeConfig> {
            vote: vote(),
            prev_log_id: prev,
            entries,
            leader_commit: prev,
        };
        let back = decode_append(through(&encode_append(request.clone()))).unwrap();
        assert_eq!(back.vote, request.vote);
        assert_eq!(back.prev_log_id, request.prev_log_id);
        assert_eq!(back.entries, request.entries);
        assert_eq!(back.leader_commit, request.leader_commit);
    }
}

#[test]
fn every_answer_comes_back_as_it_was() {
    for answer in [
        AppendEntriesResponse::Success,
        AppendEntriesResponse::PartialSuccess(Some(log_id(9))),
        AppendEntriesResponse::PartialSuccess(None),
        AppendEntriesResponse::Conflict,
        AppendEntriesResponse::HigherVote(vote()),
    ] {
        assert_eq!(
            decode_append_answer(&through(&encode_append_answer(&answer))).unwrap(),
            answer
        );
    }
    for answer in [
        Ok(()),
        Err(TransferLeaderError::VoteChanged {
            expected: vote(),
            actual: Vote::new(4, 1),
        }),
        Err(TransferLeaderError::LogNotFlushed {
            expected: Some(log_id(9)),
            actual: None,
        }),
    ] {
        assert_eq!(
            decode_transfer_answer(&through(&encode_transfer_answer(&answer))).unwrap(),
            answer
        );
    }
    let snapshot = SnapshotResponse::<TypeConfig>::new(vote());
    assert_eq!(
        decode_snapshot_answer(&through(&encode_snapshot_answer(&snapshot))).unwrap(),
        snapshot
    );
}

#[test]
fn votes_and_transfers_come_back_as_they_were() {
    let mut request = VoteRequest::<TypeConfig>::new(Vote::new(5, 2), Some(log_id(9)));
    for transfer in [false, true] {
        request.leadership_transfer = transfer;
        assert_eq!(
            decode_vote_request(&through(&encode_vote_request(&request))).unwrap(),
            request
        );
    }
    for granted in [false, true] {
        let answer = VoteResponse::<TypeConfig>::new(vote(), None, granted);
        assert_eq!(
            decode_vote_answer(&through(&encode_vote_answer(&answer))).unwrap(),
            answer
        );
    }
    let transfer = TransferLeaderRequest::<TypeConfig>::new(vote(), 2, Some(log_id(9)));
    assert_eq!(
        decode_transfer(&through(&encode_transfer(&transfer))).unwrap(),
        transfer
    );
}

#[test]
fn snapshot_headers_come_back_as_they_were_and_are_the_same_bytes() {
    for meta in [
        SnapshotMeta::default(),
        SnapshotMeta {
            last_log_id: Some(log_id(8)),
            last_membership: StoredMembership::new(Some(log_id(6)), membership()),
        },
    ] {
        let wire = through(&encode_snapshot_header(Some(&vote()), &meta, 2));
        assert_eq!(decode_vote(wire.vote.as_ref()).unwrap(), vote());
        assert_eq!(
            wire.encode_to_vec(),
            encode_snapshot_header(Some(&vote()), &meta, 2).encode_to_vec()
        );
        assert_eq!(decode_snapshot_header(wire).unwrap(), meta);
    }
}

#[test]
fn what_is_missing_is_an_error() {
    invalid(decode_vote(None), "vote");
    invalid(decode_vote(Some(&v1::Vote::default())), "vote");
    invalid(decode_log_id(&v1::LogId::default()), "log id");
    invalid(decode_log_id_opt(Some(&v1::LogId::default())), "log id");
    invalid(decode_log_entry(v1::LogEntry::default()), "log id");
    invalid(decode_append(v1::AppendRequest::default()), "vote");
    invalid(
        decode_append_answer(&v1::AppendResponse::default()),
        "answer to append",
    );
    invalid(decode_vote_request(&v1::VoteRequest::default()), "vote");
    invalid(decode_vote_answer(&v1::VoteResponse::default()), "vote");
    invalid(decode_transfer(&v1::TransferRequest::default()), "vote");
    invalid(
        decode_transfer_answer(&v1::TransferResponse::default()),
        "answer to transfer",
    );
    invalid(decode_snapshot_answer(&v1::SnapshotResponse::default()), "vote");
    invalid(decode_member(v1::Member::default()), "key hash");
    invalid(decode_stored_membership(None), "stored membership");
    let header = encode_snapshot_header(None, &SnapshotMeta::default(), 1);
    let later = v1::SnapshotHeader {
        feature_level: FEATURE_LEVEL + 1,
        ..header.clone()
    };
    let (needed, here) = (FEATURE_LEVEL + 1, FEATURE_LEVEL);
    assert_eq!(
        decode_snapshot_header(later),
        Err(WireError::Later { needed, here })
    );
    let newer = v1::SnapshotHeader {
        format: SNAPSHOT_FORMAT + 1,
        ..header
    };
    invalid(decode_snapshot_header(newer), "snapshot format");
}

#[test]
fn an_unknown_payload_or_answer_is_an_error_and_not_skipped() {
    // Field 99, as a later release might write it where the payload or the result should be.
    let unknown = [0x9a, 0x06, 0x01, 0x00];
    let entry = v1::LogEntry {
        log_id: Some(encode_log_id(&log_id(1))),
        payload: None,
    };
    let mut bytes = entry.encode_to_vec();
    bytes.extend(unknown);
    invalid(log_entry_from_bytes(&bytes), "log entry");
    let answer = v1::AppendResponse::decode(unknown.as_slice()).unwrap();
    invalid(decode_append_answer(&answer), "answer to append");
}

#[test]
fn a_membership_must_hold_together() {
    let mut empty_set = encode_membership(&membership());
    empty_set.voters.push(v1::NodeIds::default());
    invalid(decode_membership(empty_set), "membership");
    let mut stranger = encode_membership(&membership());
    stranger.members.remove(&2);
    invalid(decode_membership(stranger), "membership");
}
