use super::*;
use crate::types::{LogEntry, LogId};

fn request(sizes: &[usize]) -> AppendEntriesRequest<TypeConfig> {
    let id = |index| LogId {
        leader_id: openraft::impls::leader_id_adv::LeaderId { term: 1, node_id: 1 },
        index,
    };
    AppendEntriesRequest {
        vote: Vote::new(1, 1),
        prev_log_id: None,
        leader_commit: None,
        entries: (0..)
            .zip(sizes)
            .map(|(index, size)| LogEntry {
                log_id: id(index),
                payload: openraft::EntryPayload::Normal(LogCommand(vec![0; *size])),
            })
            .collect(),
    }
}

#[tokio::test]
async fn a_call_that_found_nobody_was_never_sent() {
    let node = crate::model::NodeName::parse("n1").unwrap();
    let tls = FleetTls::new(&crate::identity::NodeKeys::found("acme", &node).unwrap()).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let channels = PeerChannels::new(Some(tls));
    let member = ClusterMember {
        address: address.clone(),
        ..ClusterMember::default()
    };
    channels.learn(1, &member);
    let ask = async || {
        let mut client = RaftClient::new(channels.get(1).unwrap());
        client.vote(v1::VoteRequest::default()).await.unwrap_err()
    };
    let mute = std::thread::spawn(move || drop(listener.accept().unwrap()));
    assert!(never_sent(&ask().await), "the handshake failed");
    mute.join().unwrap();
    assert!(never_sent(&ask().await), "nobody listens any more");
    assert!(!never_sent(&Status::unavailable("for another reason")));
    assert!(channels.by_address(&address).is_some() && channels.by_address("127.0.0.1:1").is_none());
    channels.follow(&BTreeMap::new());
    assert!(channels.get(1).is_none());
}

#[test]
fn a_call_carries_one_large_entry_or_several_small_ones() {
    let mut small = request(&[10, 10, 10]);
    assert!(!cut(&mut small));
    assert_eq!(small.entries.len(), 3);
    let mut large = request(&[16 << 20, 10]);
    assert!(cut(&mut large));
    assert_eq!(large.entries.len(), 1);
    let mut mixed = request(&[10, 3 << 20, 3 << 20]);
    assert!(cut(&mut mixed));
    assert_eq!(mixed.entries.len(), 2);
    let mut heartbeat = request(&[]);
    assert!(!cut(&mut heartbeat));
}

#[tokio::test]
async fn a_member_of_an_older_release_is_sent_no_snapshot_that_it_cannot_apply() {
    let node = crate::model::NodeName::parse("n1").unwrap();
    let tls = FleetTls::new(&crate::identity::NodeKeys::found("acme", &node).unwrap()).unwrap();
    let channels = PeerChannels::new(Some(tls));
    let member = |feature_level| ClusterMember {
        name: "n7".to_owned(),
        address: "127.0.0.1:9".to_owned(),
        feature_level,
        ..ClusterMember::default()
    };
    let follow = |level| channels.follow(&BTreeMap::from([(7, member(level))]));
    // What tells nothing is of the first release.
    for (level, here) in [(None, 1), (Some(1), 1), (Some(2), 2)] {
        follow(level);
        let refused = channels.too_old(7, here + 1).unwrap();
        let told = refused.to_string();
        assert!(
            told.contains(&format!("n7 has {here}")) && told.contains(&format!("level {}", here + 1)),
            "{told}"
        );
        assert!(channels.too_old(7, here).is_none());
    }
}

#[tokio::test]
async fn a_learner_gets_few_heartbeats_and_every_entry() {
    let channels = PeerChannels::new(None);
    let mut network = Network(channels.clone());
    let member = ClusterMember::default();
    let mut connection = network.new_heartbeat_client(2, &member).await;
    let sent = |connection: &mut PeerConnection| (0..8).filter(|_| !connection.is_spared()).count();
    assert_eq!(sent(&mut connection), 8, "nothing is known of it");
    channels.know_voters([1, 3].into());
    assert_eq!(sent(&mut connection), 4);
    let mut entries = network.new_client(2, &member).await;
    assert_eq!(sent(&mut entries), 8);
    channels.know_voters([1, 2].into());
    assert_eq!(sent(&mut connection), 8, "it votes");
}
