use super::fixture::{Place, Running, own, places, push, until};
use super::*;

use tonic::Code;

async fn start_all(places: &[Place]) -> Vec<Running> {
    let mut nodes = Vec::new();
    for place in places {
        nodes.push(place.start(1, own(1)).await);
    }
    nodes
}

fn all_alive(nodes: &[Running]) -> bool {
    nodes.iter().all(|node| {
        let seen = node.view.nodes();
        seen.len() == nodes.len() && seen.iter().all(|peer| peer.state == NodeState::Alive)
    })
}

#[tokio::test]
async fn three_nodes_see_each_other_and_what_they_say() {
    let places = places(3).await;
    let nodes = start_all(&places).await;
    until("all are alive", || all_alive(&nodes)).await;
    nodes[0].gossip.set_own(OwnState {
        ready: false,
        not_ready_because: Some("draining".to_owned()),
        requests_total: 9,
        troubles: Vec::new(),
        ..own(42)
    });
    let took = until("all know version 42", || {
        nodes
            .iter()
            .all(|node| node.node("n1").unwrap().applied_version == Some(42))
    })
    .await;
    assert!(took < Duration::from_secs(1), "{took:?}");
    let said = nodes[2].node("n1").unwrap();
    assert_eq!(
        (said.ready, said.not_ready_because.as_deref()),
        (Some(false), Some("draining"))
    );
    assert_eq!(
        (said.applied_index, said.term, said.requests_total),
        (Some(52), Some(3), Some(9))
    );
    assert_eq!(said.software.as_deref(), Some(SOFTWARE_VERSION));
    assert_eq!(
        (said.node_id, said.is_self, nodes[0].node("n1").unwrap().is_self),
        (1, false, true)
    );
}

#[tokio::test]
async fn a_version_is_waited_for_at_live_nodes_alone() {
    let places = places(3).await;
    let mut nodes = start_all(&places).await;
    until("all are alive", || all_alive(&nodes)).await;
    nodes[0].gossip.set_own(own(7));
    let soon = || Instant::now() + Duration::from_millis(300);
    let behind = nodes[0].view.wait_version(7, soon()).await;
    assert_eq!(behind, Err(vec!["n2".to_owned(), "n3".to_owned()]));
    nodes[1].gossip.set_own(own(7));
    nodes.pop().unwrap().kill().await;
    until("n3 is not alive", || {
        nodes[0].state("n3") != Some(NodeState::Alive)
    })
    .await;
    let deadline = Instant::now() + fixture::PATIENCE;
    assert_eq!(nodes[0].view.wait_version(7, deadline).await, Ok(()));
}

#[tokio::test]
async fn a_kill_is_seen_and_so_is_the_return() {
    let places = places(3).await;
    let mut nodes = start_all(&places).await;
    until("all are alive", || all_alive(&nodes)).await;
    nodes.pop().unwrap().kill().await;
    let took = until("both miss n3", || {
        nodes
            .iter()
            .all(|node| node.state("n3") != Some(NodeState::Alive))
    })
    .await;
    println!("kill seen after {took:?}");
    until("both take n3 for dead", || {
        nodes.iter().all(|node| node.state("n3") == Some(NodeState::Dead))
    })
    .await;
    assert_eq!(nodes[0].node("n3").unwrap().applied_version, Some(1));
    nodes.push(places[2].start(2, own(5)).await);
    let took = until("all are alive again", || all_alive(&nodes)).await;
    println!("return seen after {took:?}");
    until("n3's new life is heard, not the old one", || {
        nodes
            .iter()
            .all(|node| node.node("n3").unwrap().applied_version == Some(5))
    })
    .await;
    assert!(nodes[0].node("n3").unwrap().seen.unwrap() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_new_member_is_called_and_a_removed_one_has_left() {
    let places = places(3).await;
    let (one, two, three) = (&places[0], &places[1], &places[2]);
    one.trust(&[one, two]);
    two.trust(&[one, two]);
    let nodes = start_all(&places).await;
    until("two are alive", || nodes[0].state("n2") == Some(NodeState::Alive)).await;
    assert_eq!(nodes[0].state("n3"), None);
    one.trust(&[one, two, three]);
    two.trust(&[one, two, three]);
    until("all are alive", || all_alive(&nodes)).await;
    one.trust(&[one, two]);
    until("n3 has left", || nodes[0].state("n3") == Some(NodeState::Left)).await;
}

#[tokio::test]
async fn a_fleet_that_grows_slows_down_and_nobody_dies() {
    let places = places(9).await;
    let few: Vec<&Place> = places.iter().take(2).collect();
    for place in &few {
        place.trust(&few);
    }
    let nodes = start_all(&places[..2]).await;
    until("two are alive", || all_alive(&nodes)).await;
    let all: Vec<&Place> = places.iter().collect();
    for place in &few {
        place.trust(&all);
    }
    until("the larger fleet is known", || {
        nodes.iter().all(|node| node.view.nodes().len() == 9)
    })
    .await;
    for version in 2..12 {
        nodes[0].gossip.set_own(own(version));
        until("n2 knows", || {
            assert_ne!(nodes[0].state("n2"), Some(NodeState::Dead));
            assert_ne!(nodes[1].state("n1"), Some(NodeState::Dead));
            nodes[1].node("n1").unwrap().applied_version == Some(version)
        })
        .await;
    }
}

#[tokio::test]
async fn who_is_no_member_cannot_push() {
    let places = places(2).await;
    let (inside, outside) = (&places[0], &places[1]);
    inside.trust(&[inside]);
    let node = inside.start(1, own(1)).await;
    let channel = fixture::connect(&outside.tls, 1, inside.address);
    // The handshake fails, of which this side learns with its first call.
    let refused = push(channel.clone(), b"").await;
    assert!(
        !matches!(refused, Ok(()) | Err(Code::InvalidArgument)),
        "{refused:?}"
    );
    inside.trust(&[inside, outside]);
    assert_eq!(push(channel, b"").await, Err(Code::InvalidArgument));
    drop(node);
}

#[tokio::test]
async fn hostile_messages_are_refused_and_change_nothing() {
    let places = places(3).await;
    let mut nodes = Vec::new();
    nodes.push(places[0].start(1, own(1)).await);
    nodes.push(places[1].start(1, own(1)).await);
    let channel = fixture::connect(&places[2].tls, 1, places[0].address);
    for data in [&b"\x53\xb0\0\x02"[..], b"GET / HTTP/1.1\r\n\r\n", &[0xff; 4096]] {
        assert_eq!(push(channel.clone(), data).await, Err(Code::InvalidArgument));
    }
    let huge = vec![0; 8 << 20];
    assert_eq!(push(channel.clone(), &huge).await, Err(Code::OutOfRange));
    until("the two still see each other", || {
        nodes[0].state("n2") == Some(NodeState::Alive) && nodes[1].state("n1") == Some(NodeState::Alive)
    })
    .await;
}

#[tokio::test]
async fn without_a_fleet_there_is_oneself() {
    let place = Place::new(1).await;
    place.trust(&[&place]);
    let (gossip, view) = Gossip::standalone(place.surroundings(), 1, "n1", own(1));
    gossip.set_own(own(2));
    let nodes = view.nodes();
    assert_eq!(nodes.len(), 1);
    assert_eq!(
        (nodes[0].applied_version, nodes[0].state),
        (Some(2), NodeState::Alive)
    );
    assert_eq!(view.wait_version(2, Instant::now()).await, Ok(()));
    assert_eq!(
        view.wait_version(3, Instant::now()).await,
        Err(vec!["n1".to_owned()])
    );
}

#[test]
fn larger_fleets_gossip_less_often() {
    let intervals = [1, 3, 8, 9, 50, 66, 67, 256, 1000].map(|members| interval_for(members).as_millis());
    assert_eq!(intervals, [400, 400, 400, 300, 300, 300, 500, 1100, 4000]);
}
