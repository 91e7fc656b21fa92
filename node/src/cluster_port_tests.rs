use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use super::*;
use crate::gossip::NodeState;
use crate::gossip::fixture::{own, places, push, until};

#[tokio::test]
async fn garbage_costs_its_sender_alone() {
    let places = places(2).await;
    let nodes = [places[0].start(1, own(1)).await, places[1].start(1, own(1)).await];
    let mut hostile = Vec::new();
    for data in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        &[0; 1024],
        &[0x16, 3, 1, 0xff, 0xff, 1],
        b"",
    ] {
        let mut stream = TcpStream::connect(places[0].address).await.unwrap();
        stream.write_all(data).await.unwrap();
        hostile.push(stream);
    }
    until("the members see each other all the same", || {
        nodes[0].state("n2") == Some(NodeState::Alive) && nodes[1].state("n1") == Some(NodeState::Alive)
    })
    .await;
    // Plain HTTP is cut off with at most a TLS alert; it never gets an HTTP answer.
    let mut answer = Vec::new();
    drop(hostile[0].read_to_end(&mut answer).await);
    assert!(answer.len() < 16 && !answer.starts_with(b"HTTP"), "{answer:?}");
}

#[tokio::test]
async fn silent_handshakes_do_not_keep_members_out() {
    let places = places(2).await;
    let node = places[0].start(1, own(1)).await;
    let mut silent = Vec::new();
    for _ in 0..HANDSHAKES * 2 {
        silent.push(TcpStream::connect(places[0].address).await.unwrap());
    }
    let channel = crate::gossip::fixture::connect(&places[1].tls, 1, places[0].address);
    let before = Instant::now();
    assert_eq!(push(channel, b"x").await, Err(tonic::Code::InvalidArgument));
    assert!(
        before.elapsed() < HANDSHAKE_TIMEOUT,
        "the member waited for the silent ones"
    );
    // The oldest made room for the newest.
    assert_eq!(silent[0].read(&mut [0]).await.unwrap_or(0), 0);
    drop(node);
}

#[tokio::test]
async fn a_silent_handshake_ends() {
    let places = places(1).await;
    let node = places[0].start(1, own(1)).await;
    let mut silent = TcpStream::connect(places[0].address).await.unwrap();
    let before = Instant::now();
    assert_eq!(silent.read(&mut [0]).await.unwrap_or(0), 0);
    let took = before.elapsed();
    assert!(
        took >= HANDSHAKE_TIMEOUT && took < HANDSHAKE_TIMEOUT * 2,
        "{took:?}"
    );
    drop(node);
}

#[tokio::test]
async fn the_port_closes_when_asked() {
    let places = places(2).await;
    let node = places[0].start(1, own(1)).await;
    let channel = crate::gossip::fixture::connect(&places[1].tls, 1, places[0].address);
    assert_eq!(
        push(channel.clone(), b"x").await,
        Err(tonic::Code::InvalidArgument)
    );
    node.stop.send(()).unwrap();
    let before = Instant::now();
    node.port.await.unwrap().unwrap();
    assert!(before.elapsed() < CLOSING * 3);
    assert!(TcpStream::connect(places[0].address).await.is_err());
    assert_eq!(push(channel, b"x").await, Err(tonic::Code::Unavailable));
}
