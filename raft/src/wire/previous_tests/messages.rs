//! Messages that are read where they arrive: between members, from joiners, from one process to the next.

use std::collections::BTreeMap;
use std::fmt::Debug;

use fleetbal_proto::v1;

use super::{Sample, message};

/// A message that is its own value.
fn plain<M: prost::Message + Default + Debug + PartialEq + 'static>(name: &str, value: M) -> Sample {
    message(name, value, Ok)
}

pub(super) fn samples() -> Vec<Sample> {
    let mut samples = proposals();
    samples.extend(members());
    samples.extend(joins());
    samples.extend(elsewhere());
    samples.extend(handover());
    samples
}

fn not_leader() -> v1::NotLeader {
    v1::NotLeader { leader: 7 }
}

fn no_quorum() -> v1::NoQuorum {
    v1::NoQuorum {
        reachable: 1,
        voters: 3,
    }
}

fn proposals() -> Vec<Sample> {
    use v1::propose_response::Result as Proposed;
    use v1::read_index_response::Result as Read;
    let applied = v1::Applied {
        answer: Some(v1::Answer {
            answer: Some(v1::answer::Answer::AppliedVersion(7)),
        }),
        log_index: 12,
    };
    let answered = |name: &str, result| {
        let result = Some(result);
        plain(&format!("ProposeResponse/{name}"), v1::ProposeResponse { result })
    };
    let read = |name: &str, result| {
        let result = Some(result);
        plain(
            &format!("ReadIndexResponse/{name}"),
            v1::ReadIndexResponse { result },
        )
    };
    vec![
        plain(
            "ProposeRequest/all",
            v1::ProposeRequest {
                entry: vec![1, 2],
                ttl_ms: 5_000,
            },
        ),
        answered("applied", Proposed::Applied(applied)),
        answered("not-leader", Proposed::NotLeader(not_leader())),
        answered("no-quorum", Proposed::NoQuorum(no_quorum())),
        answered("unknown", Proposed::Unknown(v1::Blank {})),
        answered("too-large", Proposed::TooLarge("too large".to_owned())),
        answered("refused", Proposed::Refused("no".to_owned())),
        plain("ReadIndexRequest/all", v1::ReadIndexRequest { ttl_ms: 5_000 }),
        read("index", Read::LogIndex(12)),
        read("not-leader", Read::NotLeader(not_leader())),
        read("no-quorum", Read::NoQuorum(no_quorum())),
    ]
}

fn members() -> Vec<Sample> {
    use v1::hand_over_response::Result as Handed;
    use v1::tell_keys_response::Result as Told;
    let announce = |feature_level| v1::AnnounceRequest {
        node_id: 2,
        address: "10.0.0.2:7400".to_owned(),
        feature_level,
    };
    let handed = |name: &str, result| {
        let result = Some(result);
        plain(
            &format!("HandOverResponse/{name}"),
            v1::HandOverResponse { result },
        )
    };
    let told = |name: &str, result| {
        let result = Some(result);
        plain(
            &format!("TellKeysResponse/{name}"),
            v1::TellKeysResponse { result },
        )
    };
    vec![
        plain("AnnounceRequest/first-release", announce(None)),
        plain("AnnounceRequest/level", announce(Some(2))),
        plain(
            "AnnounceResponse/all",
            v1::AnnounceResponse {
                accepted: true,
                leader: 1,
            },
        ),
        plain("HandOverRequest/all", v1::HandOverRequest { to: 2 }),
        handed("done", Handed::Done(v1::Blank {})),
        handed("not-leader", Handed::NotLeader(not_leader())),
        handed("refused", Handed::Refused("later".to_owned())),
        handed("no-vote", Handed::NoVote(v1::Blank {})),
        plain(
            "TellKeysRequest/all",
            v1::TellKeysRequest {
                key_hash: vec![2; 32],
                next_key_hash: vec![9; 32],
            },
        ),
        told("done", Told::Done(v1::Blank {})),
        told("not-leader", Told::NotLeader(not_leader())),
        told("not-yet", Told::NotYet("later".to_owned())),
    ]
}

/// As the first release has it.
fn member(n: u8) -> v1::Member {
    v1::Member {
        name: format!("n{n}"),
        address: format!("10.0.0.{n}:7400"),
        key_hash: vec![n; 32],
        ..v1::Member::default()
    }
}

fn joins() -> Vec<Sample> {
    use v1::join_response::Result as Answer;
    let joined = v1::Joined {
        node_id: 2,
        fleet_name: "acme".to_owned(),
        fleet_id: vec![3; 16],
        certificate: vec![0x30, 2],
        ca_certificate: vec![0x30, 1],
        ca_key: vec![0x30, 3],
        members: BTreeMap::from([(1, member(1)), (2, member(2))]),
        log_index: 12,
    };
    let request = v1::JoinRequest {
        token_id: "05146e824bf1".to_owned(),
        secret: vec![5; 32],
        name: "n2".to_owned(),
        address: "10.0.0.2:7400".to_owned(),
        signing_request: vec![0x30, 4],
        request_id: vec![9; 16],
        forwarded: true,
        ..v1::JoinRequest::default()
    };
    let today = v1::JoinRequest {
        feature_level: Some(2),
        time_unix_ms: Some(1_700_000_000_000),
        ..request.clone()
    };
    let answered = |name: &str, result| {
        let result = Some(result);
        plain(&format!("JoinResponse/{name}"), v1::JoinResponse { result })
    };
    let standing = v1::StandingResponse {
        removed: true,
        ..v1::StandingResponse::default()
    };
    let told = v1::StandingResponse {
        acknowledged: 12,
        membership: Some(v1::StoredMembership {
            log_id: None,
            membership: Some(v1::Membership {
                voters: vec![v1::NodeIds { ids: vec![1, 2] }],
                members: BTreeMap::from([(1, member(1)), (2, member(2))]),
            }),
        }),
        ..v1::StandingResponse::default()
    };
    vec![
        plain("JoinRequest/first-release", request),
        plain("JoinRequest/level-and-time", today),
        answered("joined", Answer::Joined(joined)),
        answered("refused", Answer::Refused("no".to_owned())),
        answered("unavailable", Answer::Unavailable("later".to_owned())),
        plain("StandingRequest/all", v1::StandingRequest { node_id: 2 }),
        plain("StandingResponse/removed", standing),
        plain("StandingResponse/told", told),
    ]
}

fn elsewhere() -> Vec<Sample> {
    use v1::run_response::Reply;
    let lines = || v1::OutputLines {
        lines: vec!["a".to_owned(), "b".to_owned()],
    };
    let replied = |name: &str, reply| {
        let reply = Some(reply);
        plain(&format!("RunResponse/{name}"), v1::RunResponse { reply })
    };
    vec![
        plain(
            "GossipMessage/all",
            v1::GossipMessage {
                from: "10.0.0.1:7400".to_owned(),
                data: vec![1, 2],
            },
        ),
        plain("GossipAck/all", v1::GossipAck {}),
        plain(
            "RunRequest/all",
            v1::RunRequest {
                line: "state".to_owned(),
                admin: true,
                typist: "127.0.0.1:4000".to_owned(),
                typist_token: "ops".to_owned(),
            },
        ),
        replied("silent", Reply::Silent(v1::Silent {})),
        replied("ok", Reply::Ok(v1::Ok {})),
        replied("lines", Reply::Lines(lines())),
        replied("dump", Reply::Dump(lines())),
        replied("refused", Reply::Refused("no".to_owned())),
    ]
}

fn handover() -> Vec<Sample> {
    use v1::handover::Message;
    let said = |name: &str, message| {
        let message = Some(message);
        plain(&format!("Handover/{name}"), v1::Handover { message })
    };
    let socket = v1::PassedSocket {
        address: "127.0.0.1:80".to_owned(),
        datagrams: true,
        service_manager: true,
    };
    vec![
        said(
            "prepared",
            Message::Prepared(v1::Prepared {
                release: "0.1.0".to_owned(),
            }),
        ),
        said(
            "sockets",
            Message::Sockets(v1::Sockets {
                sockets: vec![socket],
            }),
        ),
        said("state", Message::State(vec![1, 2])),
        said(
            "open",
            Message::Open(v1::Open {
                alone: true,
                ready: true,
                draining: true,
            }),
        ),
        said("opened", Message::Opened(v1::Opened {})),
        said("go", Message::Go(v1::Go {})),
    ]
}
