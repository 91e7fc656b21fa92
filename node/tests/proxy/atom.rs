//! Streams of what is put in, with real clients, over several workers.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use fleetbal_raft::model::Change;
use tokio::net::{TcpSocket, TcpStream};

use crate::fixture::{Client, Proxy, set, soon, until};

const HEAD: &str = "HTTP/1.0 200 OK\r\nContent-Type: text/xml\r\nConnection: close\r\n\r\n";

/// A file server on three workers, with both plugins.
fn proxy(docroot: &Path) -> Proxy {
    let mut proxy = Proxy::over_files(3, docroot, &[]);
    let load = |plugin: &str| Change::SetLoaded {
        plugin: plugin.to_owned(),
        loaded: true,
    };
    proxy.change(vec![
        load("AtomInject"),
        load("AtomStream"),
        set("plugins", "atominject, atomstream"),
    ]);
    proxy
}

/// Puts an item in.
async fn inject(client: &mut Client, path: &str, body: &str) {
    let length = body.len();
    let put = format!("PUT {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{body}");
    let answer = client.ask(&put).await;
    assert_eq!(answer.status(), 200, "{}", answer.head);
    assert!(answer.text().contains("200 - OK"), "{}", answer.text());
}

/// A stream that is open; what came behind its beginning is still to be read.
async fn stream(proxy: &Proxy, target: &str, since: u64) -> Client {
    let mut client = proxy.client().await;
    client
        .send(format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n"))
        .await;
    assert_eq!(client.head().await, HEAD);
    let begin = format!("<?xml version='1.0' encoding='utf-8' ?>\n<atomStream><!-- since={since} -->\n");
    assert_eq!(client.take(begin.len()).await, begin.as_bytes());
    client
}

/// What comes up to and with `end`, without times.
async fn up_to(client: &mut Client, end: &str) -> String {
    let mut looked = 0;
    loop {
        let rest = client.input.get(looked..).unwrap();
        if let Some(at) = memchr::memmem::find(rest, end.as_bytes()) {
            let seen = client.take(looked + at + end.len()).await;
            return without_times(&String::from_utf8(seen).unwrap());
        }
        looked = client.input.len().saturating_sub(end.len());
        client.input.reserve(64 * 1024);
        assert!(client.more().await, "closed behind {} bytes", client.input.len());
    }
}

fn without_times(text: &str) -> String {
    let mut pieces = text.split("<time>");
    let first = pieces.next().unwrap().to_owned();
    pieces.fold(first, |seen, piece| {
        seen + piece.split_once("</time>\n").unwrap().1
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_reaches_the_streams_of_its_path_on_all_workers() {
    let docroot = tempfile::tempdir().unwrap();
    let proxy = proxy(docroot.path());
    let (mut news, mut all) = (Vec::new(), Vec::new());
    for _ in 0..16 {
        news.push(stream(&proxy, "/news/atom-stream.xml", 0).await);
        all.push(stream(&proxy, "/atom-stream.xml", 0).await);
    }
    // On several connections, so that several workers put them in.
    for (number, path) in ["/news/1", "/other/2", "/news/deep/3?x", "/news", "/news/end"]
        .into_iter()
        .enumerate()
    {
        let mut client = proxy.client().await;
        inject(&mut client, path, &format!("<entry>{number}</entry>")).await;
    }
    for client in &mut news {
        let seen = up_to(client, "<entry>4</entry>").await;
        assert_eq!(seen, "<entry>0</entry><entry>2</entry><entry>4</entry>");
    }
    for client in &mut all {
        let seen = up_to(client, "<entry>4</entry>").await;
        let every = "<entry>0</entry><entry>1</entry><entry>2</entry><entry>3</entry><entry>4</entry>";
        assert_eq!(seen, every);
    }
    assert_eq!(
        std::fs::read_dir(docroot.path()).unwrap().count(),
        0,
        "no file is put"
    );
    // Where there is none, the rest of the service is as it was.
    assert_eq!(proxy.get("/news/1").await.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_tells_the_time_and_what_came_since() {
    let docroot = tempfile::tempdir().unwrap();
    let proxy = proxy(docroot.path());
    let mut client = proxy.client().await;
    let mut first = stream(&proxy, "/atom-stream.xml", 0).await;
    inject(&mut client, "/a", "<a/>").await;
    let mut times = Vec::new();
    let mut text = String::new();
    while times.len() < 3 {
        assert!(first.more().await, "closed behind {text}");
        text.push_str(&String::from_utf8(std::mem::take(&mut first.input)).unwrap());
        let pieces = text.split("<time>").skip(1);
        times = pieces
            .filter_map(|piece| piece.split_once("</time>\n")?.0.parse::<u64>().ok())
            .collect();
    }
    assert!(times.is_sorted() && times[2] - times[0] <= 10, "{times:?}");
    // Another time may be on its way.
    let whole = text.rfind("</time>\n").unwrap() + "</time>\n".len();
    first.input = text.split_off(whole).into_bytes();
    assert_eq!(without_times(&text), "<a/>");
    inject(&mut client, "/b", "<b/>").await;
    let since = times[0] - 2;
    let mut again = stream(&proxy, &format!("/atom-stream.xml?since={since}"), since).await;
    inject(&mut client, "/c", "<c/>").await;
    assert_eq!(up_to(&mut again, "<c/>").await, "<a/><b/><c/>");
    assert_eq!(up_to(&mut first, "<c/>").await, "<b/><c/>");
    let later = times[2] + 3600;
    let mut none = stream(&proxy, &format!("/atom-stream.xml?since={later}"), later).await;
    inject(&mut client, "/d", "<d/>").await;
    assert_eq!(up_to(&mut none, "<d/>").await, "<d/>");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_misses_items_and_holds_up_nobody() {
    const ITEMS: usize = 60;
    let docroot = tempfile::tempdir().unwrap();
    let proxy = proxy(docroot.path());
    let socket = TcpSocket::new_v4().unwrap();
    // What the kernel holds for it does not count.
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    let mut slow = Client {
        io: soon(socket.connect(proxy.address)).await.unwrap(),
        input: Vec::new(),
    };
    slow.send("GET /atom-stream.xml HTTP/1.1\r\nHost: h\r\n\r\n")
        .await;
    slow.head().await;
    let mut quick = stream(&proxy, "/atom-stream.xml", 0).await;
    let mut client = proxy.client().await;
    let item = format!("<i>{}</i>", "x".repeat(300_000));
    for _ in 0..ITEMS {
        inject(&mut client, "/i", &item).await;
        // Whoever reads has it at once.
        assert_eq!(up_to(&mut quick, "</i>").await.len(), item.len());
    }
    // It may have caught up meanwhile, and fallen behind again.
    let (mut got, mut missed, mut text) = (0, 0, String::new());
    while got + missed < ITEMS {
        assert!(slow.more().await, "closed after {got} and {missed}");
        text.push_str(&String::from_utf8(std::mem::take(&mut slow.input)).unwrap());
        while got + missed < ITEMS
            && let Some((piece, mut rest)) = text.split_once('>')
        {
            got += usize::from(item.strip_prefix("<i>").unwrap().strip_suffix('>') == Some(piece));
            if let Some((_, count)) = piece.split_once("<sorryTooSlow youMissed=\"") {
                let Some(behind) = rest.strip_prefix('\n') else {
                    break;
                };
                missed += count.strip_suffix("\" /").unwrap().parse::<usize>().unwrap();
                rest = behind;
            }
            text = rest.to_owned();
        }
    }
    assert_eq!(got + missed, ITEMS, "{got} and {missed}");
    slow.input = text.into_bytes();
    assert!(got > 0 && missed > 0, "{got} and {missed}");
    // It goes on as if nothing had been.
    inject(&mut client, "/i", "<next/>").await;
    assert_eq!(up_to(&mut slow, "<next/>").await, "<next/>");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_readers_come_and_go() {
    let docroot = tempfile::tempdir().unwrap();
    let proxy = proxy(docroot.path());
    let mut readers = Vec::new();
    for _ in 0..400 {
        readers.push(stream(&proxy, "/a/atom-stream.xml", 0).await);
    }
    let mut client = proxy.client().await;
    inject(&mut client, "/a/1", "<one/>").await;
    for reader in &mut readers {
        assert_eq!(up_to(reader, "<one/>").await, "<one/>");
    }
    // Gone in every way that there is.
    for (number, reader) in readers.drain(..300).enumerate() {
        if number % 2 == 0 {
            reader.io.set_zero_linger().unwrap();
        }
    }
    until("those are gone", || proxy.stats.open_connections() == 101).await;
    inject(&mut client, "/a/2", "<two/>").await;
    for reader in &mut readers {
        assert_eq!(up_to(reader, "<two/>").await, "<two/>");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_plugin_and_with_the_node() {
    let docroot = tempfile::tempdir().unwrap();
    let mut proxy = proxy(docroot.path());
    let mut first = stream(&proxy, "/atom-stream.xml", 0).await;
    proxy.change(vec![set("plugins", "atominject")]);
    assert_eq!(without_times(&String::from_utf8(first.rest().await).unwrap()), "");
    proxy.change(vec![set("plugins", "atomstream, atominject")]);
    let mut second = stream(&proxy, "/atom-stream.xml", 0).await;
    // The feed is the node's, and outlives changes of the service.
    inject(&mut proxy.client().await, "/a", "<a/>").await;
    assert_eq!(up_to(&mut second, "<a/>").await, "<a/>");
    assert!(proxy.workers.drain(Some(Duration::from_secs(10))).await);
    second.rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_takes_nothing_is_let_go() {
    let docroot = tempfile::tempdir().unwrap();
    let mut proxy = proxy(docroot.path());
    proxy.change(vec![set("idle_timeout", "1")]);
    let deaf = stream(&proxy, "/atom-stream.xml", 0).await;
    let mut quick = stream(&proxy, "/atom-stream.xml", 0).await;
    let item = format!("<i>{}</i>", "x".repeat(1_000_000));
    for _ in 0..40 {
        inject(&mut proxy.client().await, "/i", &item).await;
        up_to(&mut quick, "</i>").await;
    }
    until("it is let go", || proxy.stats.open_connections() == 1).await;
    // One to whom there is nothing to say but the time is not.
    up_to(&mut quick, "</time>\n").await;
    drop(deaf);
}

async fn ask(address: SocketAddr, request: &str) -> (u16, Client) {
    let mut client = Client {
        io: soon(TcpStream::connect(address)).await.unwrap(),
        input: Vec::new(),
    };
    let answer = client.ask(request).await;
    (answer.status(), client)
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_taken_in_as_they_come_and_no_longer_than_they_may_be() {
    let mut proxy = proxy(Path::new("/nonexistent"));
    let mut reader = stream(&proxy, "/atom-stream.xml", 0).await;
    let chunked =
        "PUT /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n<a>\r\n4\r\n</a>\r\n0\r\n\r\n";
    let (status, mut client) = ask(proxy.address, chunked).await;
    assert_eq!(status, 200);
    // The connection is good for more, also for one that asks whether it may.
    client
        .send("PUT /a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        .await;
    assert!(client.head().await.starts_with("HTTP/1.1 100 "));
    client.send("<b/>").await;
    assert_eq!(client.response().await.status(), 200);
    // What names no file is good enough.
    inject(&mut client, "/", "").await;
    inject(&mut client, "/a/../%20/", "<c/>").await;
    assert_eq!(up_to(&mut reader, "<c/>").await, "<a></a><b/><c/>");
    let long = "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 1048577\r\n\r\n";
    assert_eq!(ask(proxy.address, long).await.0, 413);
    proxy.change(vec![set("max_put_size", "3")]);
    let long = "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n<d/>";
    assert_eq!(ask(proxy.address, long).await.0, 413);
    let long = "PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n<d/>\r\n0\r\n\r\n";
    assert_eq!(ask(proxy.address, long).await.0, 413);
    // Other methods are not taken.
    let delete = "DELETE /a HTTP/1.1\r\nHost: h\r\n\r\n";
    assert_ne!(ask(proxy.address, delete).await.0, 200);
}
