//! Perlbal's own plugins, with real clients and backends.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fixture::{Proxy, set, soon};

/// What comes until the connection is closed.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    soon(stream.read_to_end(&mut bytes)).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

async fn comes(stream: &mut TcpStream, text: &str) {
    let mut bytes = vec![0; text.len()];
    soon(stream.read_exact(&mut bytes)).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&bytes), text);
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_come_back() {
    let proxy = Proxy::echoing(&[]);
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    stream.write_all(b"a\nb\r\n\r\n x  \npart").await.unwrap();
    comes(&mut stream, "a\r\nb\r\n\r\n x  \r\n").await;
    stream.write_all(b"ial\nnever ended").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(rest(&mut stream).await, "partial\r\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_come_back_after_their_delay() {
    let mut proxy = Proxy::echoing(&[]);
    proxy.change(vec![set("echo_delay", "1")]);
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    let began = Instant::now();
    stream.write_all(b"a\nb\n").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(rest(&mut stream).await, "a\r\nb\r\n");
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(1), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_echo_ends_with_a_line_without_end_and_with_silence() {
    let proxy = Proxy::echoing(&[("idle_timeout", "1")]);
    let mut silent = TcpStream::connect(proxy.address).await.unwrap();
    assert_eq!(rest(&mut silent).await, "");
    let mut endless = TcpStream::connect(proxy.address).await.unwrap();
    let line = vec![b'x'; 4 * 1024 * 1024];
    let (mut read, mut write) = endless.split();
    let (written, ended) = soon(async {
        let mut bytes = Vec::new();
        tokio::join!(write.write_all(&line), read.read_to_end(&mut bytes))
    })
    .await;
    // Whichever end sees it first.
    assert!(written.is_err() || ended.is_ok(), "{written:?} {ended:?}");
}
