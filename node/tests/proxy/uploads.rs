//! Request bodies before a backend sees them: in memory, on disk, tracked (Perlbal, reference sections 4.9, 4.10, 4.13).

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;

use crate::fixture::{Client, Origin, PATIENCE, Proxy, free_address, ok, soon, until};

fn files(directory: &Path) -> Vec<String> {
    std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// A service that buffers uploads in `directory`, from 1000 bytes on.
fn spooling(backend: SocketAddr, directory: &Path, more: &[(&str, &str)]) -> Proxy {
    let mut settings = vec![
        ("buffer_uploads", "on"),
        ("buffer_uploads_path", directory.to_str().unwrap()),
        ("buffer_upload_threshold_size", "1000"),
    ];
    settings.extend(more);
    Proxy::start(&[backend], &settings)
}

async fn accept(listener: &TcpListener) -> Client {
    let (io, _) = soon(listener.accept()).await.unwrap();
    Client {
        io,
        input: Vec::new(),
    }
}

fn post(length: usize) -> String {
    format!("POST /up HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n")
}

const CHUNKED: &str = "POST /up HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_is_asked_once_enough_of_the_body_is_there() {
    let listener = TcpListener::bind(free_address()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let proxy = Proxy::start(&[address], &[("buffer_backend_connect", "1000")]);
    let mut client = proxy.client().await;
    client.send(post(3000)).await;
    client.send([b'a'; 999]).await;
    // Whoever needs no body collected goes first.
    let mut other = proxy.client().await;
    other.send("GET /other HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let mut backend = accept(&listener).await;
    assert!(backend.head().await.starts_with("GET /other "));
    client.send(b"b").await;
    let mut backend = accept(&listener).await;
    assert!(backend.head().await.starts_with("POST /up "));
    assert_eq!(backend.take(1000).await[998..], *b"ab");
    client.send([b'c'; 2000]).await;
    assert_eq!(backend.take(2000).await, [b'c'; 2000]);
    backend.send(ok("done")).await;
    assert_eq!(client.response().await.text(), "done");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_is_on_disk_before_a_backend_is_asked() {
    let origin = Origin::echo().await;
    let directory = tempfile::tempdir().unwrap();
    let proxy = spooling(origin.address, directory.path(), &[]);
    let mut client = proxy.client().await;
    let body: Vec<u8> = (0..=250).cycle().take(400_001).collect();
    for _ in 0..2 {
        client.send(post(body.len())).await;
        client.send(&body[..200_000]).await;
        until("a file", || {
            let names = files(directory.path());
            names.len() == 1 && names[0].starts_with("s-not_listening-client-")
        })
        .await;
        let before = origin.seen().len();
        // What follows is the next request's.
        client.send(&body[200_000..]).await;
        client.send("GET /next HTTP/1.1\r\nHost: h\r\n\r\n").await;
        let response = client.response().await;
        assert!(response.body == [b"/up", &body[..]].concat());
        assert!(response.has("Connection: keep-alive"));
        assert_eq!(client.response().await.text(), "/next");
        assert_eq!(origin.seen().len(), before + 2);
        until("the file to go", || files(directory.path()).is_empty()).await;
    }
    let seen = origin.seen();
    assert!(seen[0].head.contains("\r\nContent-Length: 400001\r\n"));
    assert!(!seen[0].head.contains("BUFFERED-UPLOAD"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_takes_its_file_with_it() {
    let origin = Origin::echo().await;
    let directory = tempfile::tempdir().unwrap();
    let proxy = spooling(origin.address, directory.path(), &[]);
    let mut client = proxy.client().await;
    client.send(post(1_000_000)).await;
    client.send(vec![b'x'; 150_000]).await;
    until("a file", || files(directory.path()).len() == 1).await;
    drop(client);
    until("the file to go", || files(directory.path()).is_empty()).await;
    assert_eq!(origin.connections(), 0);
    until("nothing in flight", || {
        proxy.stats.services()[0].1.requests_in_flight() == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_bodies_go_to_disk_and_fast_ones_do_not() {
    let listener = TcpListener::bind(free_address()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (length, first) = (3_000_000, 1000);
    for (slow, threshold) in [
        (false, ("buffer_upload_threshold_time", "1000000")),
        (true, ("buffer_upload_threshold_time", "1")),
        (true, ("buffer_upload_threshold_rate", "1000000000")),
    ] {
        let by_size = ("buffer_upload_threshold_size", "0");
        let by_time = ("buffer_upload_threshold_time", "0");
        let more = [by_size, by_time, threshold, ("buffer_backend_connect", "1000")];
        let proxy = spooling(address, directory.path(), &more);
        let mut client = proxy.client().await;
        client.send(post(length)).await;
        client.send(vec![b'a'; first - 1]).await;
        // How slow the client is, and no waiting for anything.
        tokio::time::sleep(Duration::from_millis(20)).await;
        client.send(b"b").await;
        let rest = vec![b'c'; length - first];
        let mut backend = if slow {
            until("a file", || files(directory.path()).len() == 1).await;
            client.send(&rest).await;
            accept(&listener).await
        } else {
            // It is asked although the rest is not there.
            let backend = accept(&listener).await;
            assert!(files(directory.path()).is_empty());
            client.send(&rest).await;
            backend
        };
        backend.head().await;
        assert!(backend.take(length).await[first - 2..=first] == *b"abc");
        backend.send(ok("done")).await;
        assert_eq!(client.response().await.text(), "done", "{threshold:?}");
        until("the file to go", || files(directory.path()).is_empty()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_become_a_body_with_a_length() {
    let origin = Origin::echo().await;
    let directory = tempfile::tempdir().unwrap();
    let proxy = spooling(
        origin.address,
        directory.path(),
        &[("buffer_backend_connect", "1000")],
    );
    let mut client = proxy.client().await;
    let large = format!("{:x}\r\n{}\r\n", 150_000, "y".repeat(150_000));
    for (chunks, content) in [
        ("0\r\n\r\n".to_owned(), String::new()),
        (
            "3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nX-Trailer: 1\r\n\r\n".to_owned(),
            "abcde".to_owned(),
        ),
        (format!("{large}{large}0\r\n\r\n"), "y".repeat(300_000)),
    ] {
        let (first, rest) = chunks.split_at(chunks.len() / 2);
        client
            .send(format!("{CHUNKED}Trailer: X-Trailer\r\n\r\n{first}"))
            .await;
        if content.len() > 1000 {
            until("a file", || files(directory.path()).len() == 1).await;
        }
        client.send(rest).await;
        let response = client.response().await;
        assert!(response.text() == format!("/up{content}"), "{}", response.head);
        let seen = origin.seen();
        let head = seen.last().unwrap().head.to_ascii_lowercase();
        assert!(
            head.contains(&format!("\r\ncontent-length: {}\r\n", content.len())),
            "{head}"
        );
        assert!(
            !head.contains("transfer-encoding") && !head.contains("trailer"),
            "{head}"
        );
    }
    assert_eq!(origin.connections(), 1);
    until("the file to go", || files(directory.path()).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_continue_gets_it() {
    let origin = Origin::echo().await;
    let directory = tempfile::tempdir().unwrap();
    let buffered = spooling(origin.address, directory.path(), &[]);
    let old = Proxy::start(&[origin.address], &[("backend_http_version", "1.0")]);
    for (proxy, head, body, content) in [
        (&buffered, CHUNKED, "2\r\nab\r\n0\r\n\r\n", "ab"),
        (
            &buffered,
            "POST /up HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n",
            "ab",
            "ab",
        ),
        (
            &old,
            "POST /up HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n",
            "ab",
            "ab",
        ),
    ] {
        let mut client = proxy.client().await;
        client.send(format!("{head}Expect: 100-continue\r\n\r\n")).await;
        assert_eq!(client.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
        client.send(body).await;
        assert_eq!(client.response().await.text(), format!("/up{content}"));
        let seen = origin.seen();
        assert!(!seen.last().unwrap().head.contains("Expect"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_and_too_large_chunks_are_refused() {
    let origin = Origin::echo().await;
    let directory = tempfile::tempdir().unwrap();
    let limit = ("max_chunked_request_size", "2000");
    let buffered = spooling(origin.address, directory.path(), &[limit]);
    let streamed = Proxy::start(&[origin.address], &[limit]);
    for proxy in [&buffered, &streamed] {
        for (first, second, status) in [
            ("7d1\r\n", "", 413),
            ("3e8\r\n", "x", 413),
            ("zz\r\n", "", 400),
            ("1\r\nabc\r\n", "", 400),
        ] {
            let mut client = proxy.client().await;
            client.send(format!("{CHUNKED}\r\n{first}")).await;
            if !second.is_empty() {
                client.send(format!("{}\r\n3e9\r\n", second.repeat(1000))).await;
            }
            let response = client.response().await;
            assert_eq!(response.status(), status, "{first}");
            assert!(response.has("Connection: close"));
            assert!(client.rest().await.is_empty());
        }
        let mut client = proxy.client().await;
        let whole = format!("{CHUNKED}\r\n7d0\r\n{}\r\n0\r\n\r\n", "x".repeat(2000));
        assert_eq!(client.ask(&whole).await.status(), 200);
    }
    until("no file", || files(directory.path()).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_can_be_written_the_client_is_told() {
    let origin = Origin::echo().await;
    let directory = tempfile::tempdir().unwrap();
    let gone = spooling(origin.address, directory.path(), &[]);
    drop(directory);
    let nowhere = Proxy::start(
        &[origin.address],
        &[("buffer_uploads", "on"), ("buffer_upload_threshold_size", "1")],
    );
    for proxy in [&gone, &nowhere] {
        let mut client = proxy.client().await;
        let response = client.ask(&post(2_000_000)).await;
        assert_eq!(response.status(), 500);
        assert!(
            response
                .text()
                .starts_with("<h1>500 - Internal Server Error</h1>\n")
        );
        assert!(client.rest().await.is_empty());
    }
    assert_eq!(origin.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_left_is_gone_at_the_next_start() {
    let origin = Origin::echo().await;
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("s-127.0.0.1:80-client-12-345"), "left over").unwrap();
    std::fs::write(directory.path().join("other-127.0.0.1:80-client-12-345"), "").unwrap();
    let _proxy = spooling(origin.address, directory.path(), &[]);
    until("a sweep", || {
        files(directory.path()) == ["other-127.0.0.1:80-client-12-345"]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stray_line_behind_a_post_is_swallowed() {
    let origin = Origin::echo().await;
    let directory = tempfile::tempdir().unwrap();
    let plain = Proxy::start(&[origin.address], &[]);
    let buffered = spooling(origin.address, directory.path(), &[]);
    for (proxy, length) in [(&plain, 5), (&buffered, 5), (&buffered, 5000)] {
        let body = "z".repeat(length);
        let mut client = proxy.client().await;
        for _ in 0..3 {
            client.send(post(length)).await;
            client.send(&body).await;
            client.send("\r\n").await;
            assert_eq!(client.response().await.text(), format!("/up{body}"));
        }
        let whole = format!("{}{body}\r\n", post(length));
        assert_eq!(client.ask(&whole).await.text(), format!("/up{body}"));
        assert_eq!(client.ask(&whole).await.text(), format!("/up{body}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_backend_stalls_its_client() {
    for buffer_size in ["8k", "256k"] {
        let listener = TcpListener::bind(free_address()).await.unwrap();
        let settings = [("buffer_size", buffer_size)];
        let proxy = Proxy::start(&[listener.local_addr().unwrap()], &settings);
        let mut client = proxy.client().await;
        let length = 64 << 20;
        client.send(post(length)).await;
        let block = vec![b'q'; 1 << 16];
        let mut sent = 0;
        while let Ok(written) = tokio::time::timeout(
            Duration::from_millis(500),
            tokio::io::AsyncWriteExt::write(&mut client.io, &block),
        )
        .await
        {
            sent += written.unwrap();
            assert!(sent < length, "nothing held the client back");
        }
        let mut backend = accept(&listener).await;
        assert!(backend.head().await.starts_with("POST "));
        assert_eq!(backend.take(sent).await.len(), sent);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trackers_hear_of_an_upload_and_tell() {
    let trackers = UdpSocket::bind("127.0.0.1:0").unwrap();
    trackers.set_read_timeout(Some(PATIENCE)).unwrap();
    let origin = Origin::echo().await;
    let directory = tempfile::tempdir().unwrap();
    let listener = trackers.local_addr().unwrap().to_string();
    let listeners = ("upload_status_listeners", &listener[..]);
    let streamed = Proxy::start(&[origin.address], &[listeners, ("buffer_backend_connect", "0")]);
    let buffered = spooling(origin.address, directory.path(), &[listeners]);
    for (proxy, session) in [(&streamed, "stream_1"), (&buffered, "buffer_1")] {
        let mut client = proxy.client().await;
        let target = format!("/up?x=y&client_up_sess={session}");
        let head = format!("POST {target} HTTP/1.1\r\nHost: h\r\nContent-Length: 5000\r\n\r\n");
        client.send(head).await;
        client.send([b'a'; 10]).await;
        let mut datagram = [0; 100];
        let length = trackers.recv(&mut datagram).unwrap();
        let text = std::str::from_utf8(&datagram[..length]).unwrap();
        let words: Vec<_> = text.split(':').collect();
        assert_eq!(words[..2], ["UPLOAD", session]);
        assert_eq!(words[3], "5000");
        assert!(
            words[2].parse::<u32>().unwrap() <= 10 && words.len() == 6,
            "{text}"
        );
        proxy.workers.tracker().receive(text.as_bytes(), Instant::now());
        let answer = proxy
            .get(&format!("/__upload_status?client_up_sess={session}"))
            .await;
        let begins = format!("{{done:{},total:5000,starttime:{},nowtime:", words[2], words[4]);
        assert!(answer.text().starts_with(&begins), "{}", answer.text());
        assert!(answer.has("Content-Type: text/plain") && answer.has("Connection: keep-alive"));
        client.send([b'a'; 4990]).await;
        assert_eq!(client.response().await.status(), 200);
    }
    let answer = streamed.get("/__upload_status?client_up_sess=unknown").await;
    assert_eq!((answer.status(), answer.text()), (200, "{}"));
    // It is a path like any other where uploads are not tracked, or none is named.
    assert_eq!(
        streamed.get("/__upload_status?x").await.text(),
        "/__upload_status?x"
    );
    let plain = Proxy::start(&[origin.address], &[]);
    let path = "/__upload_status?client_up_sess=stream_1";
    assert_eq!(plain.get(path).await.text(), path);
}
