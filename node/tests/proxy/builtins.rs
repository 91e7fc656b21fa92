//! Perlbal's own plugins, with real clients and backends.

use std::time::{Duration, Instant};

use fleetbal_raft::model::{Change, ScriptName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fixture::{Origin, Proxy, set, soon};

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

/// Has the service use these plugins.
fn plug(proxy: &mut Proxy, plugin: &str, settings: &[(&str, &str)]) {
    let loaded = Change::SetLoaded {
        plugin: plugin.to_owned(),
        loaded: true,
    };
    let mut changes = vec![loaded, set("plugins", plugin)];
    changes.extend(settings.iter().map(|(key, value)| set(key, value)));
    proxy.change(changes);
}

const ASK: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_often_waits() {
    let origin = Origin::saying("hi").await;
    let mut proxy = Proxy::start(&[origin.address], &[]);
    plug(&mut proxy, "Throttle", &[("initial_delay", "1")]);
    let mut client = proxy.client().await;
    assert_eq!(client.ask(ASK).await.text(), "hi");
    let began = Instant::now();
    assert_eq!(client.ask(ASK).await.text(), "hi");
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(1), "{took:?}");
    proxy.change(vec![
        set("ban_threshold", "1"),
        set("throttle_threshold_seconds", "600"),
    ]);
    assert_eq!(client.ask(ASK).await.text(), "hi");
    let mut banned = TcpStream::connect(proxy.address).await.unwrap();
    banned.write_all(ASK.as_bytes()).await.unwrap();
    assert_eq!(rest(&mut banned).await, "");
    assert_eq!(client.ask(ASK).await.status(), 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_counted_while_they_are_in_progress() {
    let origin = Origin::saying("hi").await;
    let mut proxy = Proxy::start(&[origin.address], &[]);
    let settings = [("default_action", "allow"), ("max_concurrent", "1")];
    plug(&mut proxy, "Throttle", &settings);
    // Idle connections are not counted, whatever they asked before.
    let (mut first, mut second) = (proxy.client().await, proxy.client().await);
    for _ in 0..2 {
        assert_eq!(first.ask(ASK).await.text(), "hi");
        assert_eq!(second.ask(ASK).await.text(), "hi");
    }
    let head = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\na";
    // One that comes while the other connection is asked is refused itself; the next one may be in time.
    let mut slow = Vec::new();
    let refused = async {
        loop {
            let mut one = TcpStream::connect(proxy.address).await.unwrap();
            one.write_all(head).await.unwrap();
            slow.push(one);
            if first.ask(ASK).await.status() == 403 {
                break;
            }
        }
    };
    soon(refused).await;
    drop(slow);
    let passes = async {
        while second.ask(ASK).await.status() != 200 {
            tokio::task::yield_now().await;
        }
    };
    soon(passes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_has_other_colours() {
    let docroot = tempfile::tempdir().unwrap();
    let dir = docroot.path().join("palimg");
    std::fs::create_dir(&dir).unwrap();
    let gif = b"GIF89a\x02\0\x02\0\x80\0\0\0\0\0\xff\xff\xff,rest;";
    std::fs::write(dir.join("a.gif"), gif).unwrap();
    std::fs::write(dir.join("a.txt"), "text").unwrap();
    let mut proxy = Proxy::over_files(1, docroot.path(), &[]);
    plug(&mut proxy, "Palimg", &[]);
    assert_eq!(proxy.get("/palimg/a.gif").await.body, gif);
    let red = proxy.get("/palimg/a.gif/ptff0000").await;
    assert!(
        red.head.contains("\r\nContent-Type: image/gif\r\n"),
        "{}",
        red.head
    );
    assert!(red.head.contains("\r\nLast-Modified: "), "{}", red.head);
    assert_eq!(red.body, b"GIF89a\x02\0\x02\0\x80\0\0\0\0\0\xff\0\0,rest;");
    assert_eq!(proxy.get("/palimg/a.gif/pzz").await.status(), 404);
    assert_eq!(proxy.get("/palimg/no.gif/ptff0000").await.status(), 404);
    assert_eq!(proxy.get("/palimg/a.txt/ptff0000").await.text(), "text");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_in_lua_stands_for_one_of_cgilike() {
    let docroot = tempfile::tempdir().unwrap();
    std::fs::write(docroot.path().join("f.txt"), "file").unwrap();
    let mut proxy = Proxy::over_files(1, docroot.path(), &[]);
    proxy.change(vec![Change::PutScript {
        name: ScriptName::parse("Handler").unwrap(),
        source: crate::plugins::example("Handler").into(),
    }]);
    plug(&mut proxy, "Handler", &[]);
    let answer = proxy.get("/handler/?name=anna").await;
    assert!(answer.has("Content-Type: text/plain"), "{}", answer.head);
    assert_eq!(answer.text(), "GET of anna\n");
    assert_eq!(proxy.get("/handler/").await.text(), "GET of nobody\n");
    assert_eq!(proxy.get("/f.txt").await.text(), "file");
}
