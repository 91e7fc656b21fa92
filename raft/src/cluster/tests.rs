//! Fleets over real sockets, real TLS and real disks.

mod harness;
mod hundreds;
mod levels;
mod lost_answer;
mod many;
mod renewal;

use std::time::{Duration, Instant};

use fleetbal_proto::v1;
use openraft::ChangeMembers;
use openraft::async_runtime::WatchReceiver as _;
use tonic::Code;
use tonic::transport::Channel;

use self::harness::{Fleet, WITHIN, batch, create, joiner, name, run, until};
use super::join::Request;
use super::{JoinToken, join};
use crate::error::{JoinError, ProposeError};
use crate::identity::DataDir;
use crate::identity::keys::{CaHash, NodeKeys};
use crate::model::{Answer, BackendAddress, Change, Command, PoolName, RequestId, Version, VoteWish};
use crate::transport::client::PeerChannels;
use crate::transport::tls::FleetTls;

#[test]
fn three_nodes_take_changes_anywhere_and_survive_the_leader() {
    let mut fleet = Fleet::of_three();
    for (version, place) in (1..).zip(0..3) {
        let proposed = fleet.nodes[place].create(&format!("p{place}")).unwrap();
        assert_eq!(proposed.answer, Answer::Applied(Version(version)));
    }
    for node in &fleet.nodes {
        until("all changes at all nodes", WITHIN, || {
            (0..3).all(|pool| node.has_pool(&format!("p{pool}")))
        });
        assert!(node.cluster.status().has_quorum);
        assert_eq!(node.cluster.status().members.len(), 3);
    }

    let leader = fleet.leader();
    fleet.kill(leader);
    let begin = Instant::now();
    fleet.nodes[0].create("after").unwrap();
    assert!(
        begin.elapsed() < Duration::from_secs(2),
        "took {:?}",
        begin.elapsed()
    );
    until("the change at the other", WITHIN, || {
        fleet.nodes[1].has_pool("after")
    });
    until("the dead one is missed", WITHIN, || {
        fleet
            .nodes
            .iter()
            .all(|node| node.cluster.status().voters_reachable == 2)
    });
}

/// What it sent and had not kept itself must not get a second meaning under the same numbers.
#[test]
fn a_leader_that_comes_back_does_not_go_on_in_its_term() {
    let mut fleet = Fleet::of_three();
    for round in 0..3 {
        let leader = fleet.leader();
        let term = fleet.nodes[leader].cluster.status().term;
        let killed: Vec<_> = (0..3).rev().map(|place| fleet.kill(place)).collect();
        for (name, address) in &killed {
            fleet.restart(name, *address);
        }
        fleet.nodes[0].create(&format!("p{round}")).unwrap();
        let now = fleet.nodes[fleet.leader()].cluster.status().term;
        assert!(now > term, "it leads in term {now} as before in {term}");
    }
}

#[test]
fn a_minority_refuses_truthfully_and_the_fleet_comes_back_from_disk() {
    let mut fleet = Fleet::of_three();
    fleet.nodes[1].create("before").unwrap();
    let killed = [fleet.kill(2), fleet.kill(1)];
    for round in 0..2 {
        let begin = Instant::now();
        let error = fleet.nodes[0].create("lost").unwrap_err();
        assert!(begin.elapsed() <= WITHIN, "round {round}: {:?}", begin.elapsed());
        // A proposal may have been out when the others were killed, but not the second.
        let unknown = round == 0 && matches!(error, ProposeError::Unknown { .. });
        let text = "no quorum (1 of 3 voters reachable); nothing was changed";
        assert!(unknown || error.to_string() == text, "round {round}: {error}");
    }
    let error = run(fleet.nodes[0].cluster.read_index(WITHIN)).unwrap_err();
    assert_eq!(
        error,
        ProposeError::NoQuorum {
            reachable: 1,
            voters: 3
        }
    );
    let status = fleet.nodes[0].cluster.status();
    assert!(!status.has_quorum, "{status:?}");

    let (node, address) = fleet.kill(0);
    fleet.restart(&node, address);
    for (node, address) in killed {
        fleet.restart(&node, address);
    }
    fleet.nodes[2].create("again").unwrap();
    for node in &fleet.nodes {
        until("everything at all nodes", WITHIN, || {
            node.has_pool("before") && node.has_pool("again")
        });
        assert_eq!(node.cluster.identity().unwrap().generation, 2);
    }
}

#[test]
fn a_change_of_voters_that_stopped_half_way_is_finished() {
    let fleet = Fleet::of_three();
    let leader = &fleet.nodes[fleet.leader()].cluster.0;
    let steps = || {
        let metrics = leader.raft.metrics().borrow_watched().clone();
        metrics.membership_config.membership().get_joint_config().len()
    };
    let alone = ChangeMembers::ReplaceAllVoters([leader.node_id].into());
    // Both steps may be over before anybody looks.
    let is_cut_short = || {
        fleet.wait_for_voters(3);
        run(async {
            tokio::select! {
                biased;
                () = async { while steps() < 2 { tokio::task::yield_now().await } } => true,
                _ = leader.raft.change_membership(alone.clone(), true) => false,
            }
        })
    };
    assert!((0..20).any(|_| is_cut_short()), "nothing stops it");
    fleet.wait_for_voters(3);
    until("the second step", WITHIN, || steps() == 1);
}

#[test]
fn a_request_counts_once_wherever_it_is_retried() {
    let mut fleet = Fleet::of_three();
    let id = RequestId([3; 16]);
    let first = run(fleet.nodes[1].cluster.propose_as(id, create("once"), "", WITHIN)).unwrap();
    let leader = fleet.leader();
    fleet.kill(leader);
    for node in &fleet.nodes {
        let again = run(node.cluster.propose_as(id, create("once"), "", WITHIN)).unwrap();
        assert_eq!(again.answer, first.answer);
        until("it is shown", WITHIN, || node.has_pool("once"));
        assert_eq!(node.cluster.feed().latest().state.config.version, Version(1));
    }
}

#[test]
fn a_leader_that_goes_down_hands_over() {
    let mut fleet = Fleet::of_three();
    let leader = fleet.leader();
    let old = fleet.nodes[leader].cluster.clone();
    run(old.shutdown());
    fleet.kill(leader);
    let led = fleet.nodes.iter().filter(|node| {
        let leader = node.cluster.status().leader;
        leader == Some(node.cluster.node_id())
    });
    assert_eq!(led.count(), 1, "there is a new leader already");
    fleet.nodes[0].create("after").unwrap();
}

#[test]
fn a_member_that_moved_is_found_again() {
    let mut fleet = Fleet::of_three();
    let leader = fleet.leader();
    let (node, _) = fleet.kill((leader + 1) % 3);
    let (listener, address) = fleet.listen();
    drop(listener);
    fleet.restart(&node, address);
    until("the new address everywhere", Duration::from_secs(10), || {
        fleet.nodes.iter().all(|other| {
            let members = other.cluster.status().members;
            members
                .values()
                .any(|member| member.name == node && member.address == address.to_string())
        })
    });
    fleet.nodes[2].create("moved").unwrap();
    let known = DataDir::open(fleet.path(&node));
    assert!(known.is_err(), "its directory is locked");
}

#[test]
fn joins_are_refused_with_one_clear_sentence() {
    let mut fleet = Fleet::found();
    let refused = |result: Result<u64, JoinError>, text: &str| {
        let error = result.unwrap_err();
        assert!(matches!(error, JoinError::Refused(_)), "{error}");
        assert!(error.to_string().contains(text), "{error}");
    };
    let good = fleet.token(Some(1));
    let text = good.to_string();
    let (head, secret) = text.rsplit_once('.').unwrap();
    let wrong: String = secret.chars().map(|c| if c == 'a' { 'b' } else { 'a' }).collect();
    let wrong = JoinToken::parse(&format!("{head}.{wrong}")).unwrap();
    refused(
        fleet.join("n2", &wrong),
        "not one of this fleet's, or its secret is wrong",
    );
    refused(
        fleet.join_from("n2", "n1", &good),
        "the node name 'n1' is taken by another member",
    );
    let expired = run(fleet.nodes[0].cluster.issue_token(Duration::ZERO, None, "")).unwrap();
    refused(fleet.join("n2", &expired), "the join token has expired");
    fleet.join("n2", &good).unwrap();
    refused(fleet.join("n3", &good), "the join token has been used up");

    let begin = Instant::now();
    let other = JoinToken::draw(CaHash::of(b"another fleet's")).unwrap();
    let error = fleet.join("n3", &other).unwrap_err();
    assert!(matches!(error, JoinError::WrongFleet { .. }), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(2));

    let dir = DataDir::open(fleet.path("n3")).unwrap();
    let nobody = joiner(&[], &good, "n3", fleet.nodes[0].address);
    let nobody = run(join(&dir, &nobody)).unwrap_err();
    assert!(matches!(nobody, JoinError::NoPeers));
    assert!(dir.identity().unwrap().is_none(), "nothing came of any of it");
}

#[test]
fn a_join_that_lost_its_answer_is_the_same_join() {
    let fleet = Fleet::found();
    let token = fleet.token(Some(1));
    let dir = DataDir::open(fleet.path("n2")).unwrap();
    let (_listener, address) = fleet.listen();
    let peers = [fleet.nodes[0].address.to_string().parse().unwrap()];
    let joiner = joiner(&peers, &token, "n2", address);
    let lost = run(Request::prepare(&dir, &joiner).unwrap().ask_all(&peers)).unwrap();
    // The process died here; it starts again with nothing but its directory.
    let identity = run(join(&dir, &joiner)).unwrap();
    assert_eq!(identity.node_id, lost.0.node_id);
    assert_eq!(identity.keys.key_hash().unwrap(), lost.0.keys.key_hash().unwrap());
    assert_eq!(fleet.nodes[0].cluster.feed().latest().state.members().len(), 2);
    let known = dir.known_members().unwrap();
    assert_eq!(
        known
            .members
            .values()
            .map(|member| member.name.as_str())
            .collect::<Vec<_>>(),
        ["n1", "n2"]
    );
}

#[test]
fn strangers_get_nothing_but_the_join() {
    let fleet = Fleet::found();
    let node = &fleet.nodes[0];
    let stranger = FleetTls::new(&NodeKeys::found("acme", &name("n1")).unwrap()).unwrap();
    stranger.trust([(1, node.cluster.identity().unwrap().keys.key_hash().unwrap())]);
    let members = node.cluster.status().members;
    run(async {
        let channels = PeerChannels::new(Some(stranger));
        channels.follow(&members);
        let mut client = v1::joining_client::JoiningClient::new(channels.get(1).unwrap());
        let refused = client.join(v1::JoinRequest::default()).await;
        assert!(refused.is_err(), "a key that is no member's");
        ask_as_nobody(channels.nameless(1).unwrap()).await;
    });
    let token = fleet.token(None);
    run(async {
        let channel = super::join::connect_pinned(token.ca(), node.address)
            .await
            .unwrap();
        ask_as_nobody(channel).await;
    });
    assert!(!node.has_pool("stolen"));
}

#[test]
fn a_node_that_was_away_for_long_catches_up_from_a_snapshot() {
    let mut fleet = Fleet::of_three();
    let id = RequestId([9; 16]);
    let first = run(fleet.nodes[0].cluster.propose_as(id, create("first"), "", WITHIN)).unwrap();
    let leader = fleet.leader();
    let (node, address) = fleet.kill((leader + 1) % 3);
    let cluster = &fleet.nodes[fleet.leader()].cluster.clone();
    run(async {
        let lanes = (0..64).map(|lane| churn(cluster, format!("10.0.0.{lane}:80")));
        futures::future::join_all(lanes).await;
    });
    run(cluster.propose(create("last"), "", WITHIN)).unwrap();
    until("entries that the late one needs are gone", WITHIN, || {
        let purged = cluster.0.raft.metrics().borrow_watched().purged;
        purged.is_some_and(|purged| purged.index > first.log_index)
    });
    fleet.restart(&node, address);
    let late = &fleet.nodes[2];
    until("the late one has all", Duration::from_secs(20), || {
        late.has_pool("last")
    });
    assert_eq!(late.cluster.answer(id), Some(first.answer.clone()));
    let again = run(late.cluster.propose_as(id, create("first"), "", WITHIN)).unwrap();
    assert_eq!(again.answer, first.answer);
    for node in &fleet.nodes {
        until("all have the retry too", WITHIN, || {
            node.cluster.feed().latest().log_index >= again.log_index
        });
    }
    let states = fleet
        .nodes
        .iter()
        .map(|node| node.cluster.feed().latest().state.clone());
    let states: Vec<_> = states.collect();
    assert!(states.iter().all(|state| *state == states[0]));
}

#[test]
fn a_node_that_was_away_hears_a_leader_that_it_never_met() {
    let mut fleet = Fleet::of_three();
    let leader = fleet.leader();
    let (node, address) = fleet.kill((leader + 1) % 3);
    let token = fleet.token(None);
    let newcomer = fleet.join("n4", &token).unwrap();
    let first = fleet.nodes[0].cluster.clone();
    let votes = Command::SetWish {
        node: name("n4"),
        wish: VoteWish::Voter,
    };
    run(first.propose(votes, "", WITHIN)).unwrap();
    until("the new one to vote", Duration::from_secs(15), || {
        first.status().voters.contains(&newcomer)
    });
    run(first.transfer(newcomer, WITHIN)).unwrap();
    until("the new one to lead", WITHIN, || {
        first.status().leader == Some(newcomer)
    });
    fleet.nodes[0].create("last").unwrap();
    fleet.restart(&node, address);
    let late = fleet.nodes.last().unwrap();
    until("the late one has all", Duration::from_secs(20), || {
        late.has_pool("last")
    });
    assert_eq!(first.status().leader, Some(newcomer), "another one led meanwhile");
}

/// Adds a backend to the first pool and takes it out again, twenty times.
async fn churn(cluster: &super::Cluster, backend: String) {
    let pool = PoolName::parse("first").unwrap();
    let backend = BackendAddress::parse(&backend).unwrap();
    for turn in 0..40 {
        let pool = pool.clone();
        let change = if turn % 2 == 0 {
            Change::PoolAdd {
                pool,
                backend,
                weight: 1,
            }
        } else {
            Change::PoolRemove { pool, backend }
        };
        let proposed = cluster.propose(batch(change), "", Duration::from_secs(30)).await;
        proposed.unwrap();
    }
}

#[test]
fn the_largest_change_travels() {
    let fleet = Fleet::of_three();
    let follower = (fleet.leader() + 1) % 3;
    let command = batch(Change::SetDefault {
        key: "pool".into(),
        value: "x".repeat(15 << 20),
    });
    let within = Duration::from_secs(20);
    let large = run(fleet.nodes[follower].cluster.propose(command, "", within)).unwrap();
    assert!(
        matches!(large.answer, Answer::Refused(_)),
        "there is no such pool"
    );
    for node in &fleet.nodes {
        let applied = || node.cluster.feed().latest().log_index >= large.log_index;
        until("it is everywhere", within, applied);
    }
}

#[test]
fn a_node_that_ended_lets_go_of_its_store() {
    let fleet = Fleet::found();
    run(fleet.nodes[0].cluster.shutdown());
    let path = fleet.path("n1").join("raft/log");
    until("the store can be opened", Duration::from_secs(2), || {
        crate::store::LogStore::open(&path).is_ok()
    });
}

/// Calls every kind of service.
async fn ask_as_nobody(channel: Channel) {
    let mut forward = v1::forward_client::ForwardClient::new(channel.clone());
    let read = v1::ReadIndexRequest { ttl_ms: 0 };
    assert_eq!(
        forward.read_index(read).await.unwrap_err().code(),
        Code::PermissionDenied
    );
    let propose = v1::ProposeRequest::default();
    assert_eq!(
        forward.propose(propose).await.unwrap_err().code(),
        Code::PermissionDenied
    );
    let mut raft = v1::raft_client::RaftClient::new(channel.clone());
    let vote = v1::VoteRequest::default();
    assert_eq!(raft.vote(vote).await.unwrap_err().code(), Code::PermissionDenied);
    let append = v1::AppendRequest::default();
    assert_eq!(
        raft.append_entries(append).await.unwrap_err().code(),
        Code::PermissionDenied
    );
    let mut joining = v1::joining_client::JoiningClient::new(channel);
    let answer = joining
        .join(v1::JoinRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert!(matches!(
        answer.result,
        Some(v1::join_response::Result::Refused(_))
    ));
    let large = v1::JoinRequest {
        signing_request: vec![0; 1 << 20],
        ..v1::JoinRequest::default()
    };
    assert_eq!(joining.join(large).await.unwrap_err().code(), Code::OutOfRange);
}
