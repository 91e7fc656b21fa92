//! Reproxying: files, URLs, and what becomes of the connections on both sides.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::fixture::{Client, Origin, Proxy, free_address, ok, service, soon, until};

pub(crate) const LETTERS: &str = "abcdefghijklmnopqrstuvwxyz";

/// An answer of a backend that asks for something.
pub(crate) fn asking(status: &str, fields: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{fields}X-Own: 1\r\nContent-Length: 0\r\n\r\n").into_bytes()
}

/// A backend that answers `/plain` itself, and all else with the given fields, in which `{}` is the request's path.
pub(crate) async fn app(fields: String) -> Origin {
    Origin::start(move |request| {
        let path = request.head.split(' ').nth(1).unwrap();
        Some(match path {
            "/plain" => ok("plain"),
            path => asking("200 OK", &fields.replace("{}", path)),
        })
    })
    .await
}

/// A target: `/letters` is there, honours one range and never says `Connection`; nothing else is.
pub(crate) async fn target() -> Origin {
    Origin::start(|request| {
        let is_head = request.head.starts_with("HEAD ");
        let body = if is_head { "" } else { LETTERS };
        Some(if !request.head.contains(" /letters") {
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec()
        } else if request.head.contains("\r\nRange: bytes=2-4\r\n") {
            let head = "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 2-4/26\r\nX-Target: 1\r\n";
            format!("{head}Content-Length: 3\r\n\r\ncde").into_bytes()
        } else {
            format!("HTTP/1.1 200 OK\r\nX-Target: 1\r\nContent-Length: 26\r\n\r\n{body}").into_bytes()
        })
    })
    .await
}

pub(crate) fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\n{fields}\r\n")
}

fn put(dir: &Path, name: &str, content: &str) {
    std::fs::File::create(dir.join(name))
        .unwrap()
        .write_all(content.as_bytes())
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_out_in_place_of_answers() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "letters", LETTERS);
    put(dir.path(), "empty", "");
    let origin = app(format!("X-REPROXY-FILE: {}{{}}\r\n", dir.path().display())).await;
    let proxy = Proxy::start(&[origin.address], &[("enable_reproxy", "on")]);
    let mut client = proxy.client().await;
    let whole = client.ask(&get("/letters", "")).await;
    assert_eq!((whole.status(), whole.text()), (200, LETTERS));
    assert!(whole.has("X-Own: 1") && whole.has("Accept-Ranges: bytes") && whole.has("Content-Length: 26"));
    assert!(whole.has("Connection: keep-alive") && !whole.head.to_uppercase().contains("X-REPROXY"));
    let part = client.ask(&get("/letters", "Range: bytes=2-4\r\n")).await;
    assert_eq!((part.status(), part.text()), (206, "cde"));
    assert!(part.has("Content-Range: bytes 2-4/26"));
    let beyond = client.ask(&get("/letters", "Range: bytes=26-\r\n")).await;
    assert_eq!(beyond.status(), 416);
    assert!(beyond.has("Content-Range: bytes */26"));
    client.send("HEAD /letters HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("\r\nContent-Length: 26\r\n"));
    let posted = client
        .ask("POST /letters HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc")
        .await;
    assert_eq!((posted.status(), posted.text()), (200, LETTERS));
    assert_eq!(client.ask(&get("/missing", "")).await.status(), 404);
    assert_eq!(client.ask(&get("/empty", "")).await.status(), 404);
    assert_eq!(client.ask(&get("/plain", "")).await.text(), "plain");
    assert_eq!(
        (origin.seen().len(), origin.connections()),
        (8, 1),
        "its connection is used again"
    );
    // What was sent is what counts.
    let stats = proxy.stats.service(&service());
    until("all are counted", || {
        stats.requests_by_code() == [(200, 4), (206, 1), (404, 2), (416, 1)]
    })
    .await;
    until("no request is in flight", || stats.requests_in_flight() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_backends_status_and_size_count() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "letters", LETTERS);
    let file = format!("X-REPROXY-FILE: {}/letters\r\n", dir.path().display());
    let origin = Origin::start(move |request| {
        let status = match request.head.split(' ').nth(1).unwrap() {
            "/500" => "500 Oops",
            "/204" => "204 No Content",
            _ => "200 OK",
        };
        let size = request.head.split(' ').nth(1).unwrap().strip_prefix("/size");
        let size = size.map(|size| format!("X-REPROXY-EXPECTED-SIZE: {size}\r\n"));
        let mut answer = asking(status, &format!("{file}{}", size.unwrap_or_default()));
        if status.starts_with("204") {
            answer = format!("HTTP/1.1 204 No Content\r\n{file}\r\n").into_bytes();
        }
        Some(answer)
    })
    .await;
    let settings = [("enable_reproxy", "on"), ("enable_error_retries", "on")];
    let proxy = Proxy::start(&[origin.address], &settings);
    let mut client = proxy.client().await;
    for (path, status) in [("/500", 500), ("/204", 200), ("/size26", 200)] {
        let response = client.ask(&get(path, "")).await;
        assert_eq!((response.status(), response.text()), (status, LETTERS), "{path}");
    }
    assert!(
        client
            .ask(&get("/500", ""))
            .await
            .head
            .starts_with("HTTP/1.1 500 Oops\r\n")
    );
    for wrong in ["/size25", "/sizex"] {
        assert_eq!(client.ask(&get(wrong, "")).await.status(), 404, "{wrong}");
    }
    assert_eq!(origin.seen().len(), 6, "no 500 is tried again");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_leaves_the_root() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    put(&root, "inside", "inside");
    put(dir.path(), "secret", "secret");
    std::os::unix::fs::symlink("../secret", root.join("link")).unwrap();
    std::os::unix::fs::symlink("inside", root.join("fair")).unwrap();
    let origin = Origin::start(|request| {
        let field = request
            .head
            .split("\r\n")
            .find_map(|line| line.strip_prefix("A: "));
        Some(asking(
            "200 OK",
            &format!("X-REPROXY-FILE: {}\r\n", field.unwrap()),
        ))
    })
    .await;
    let text = root.display().to_string();
    let proxy = Proxy::start(
        &[origin.address],
        &[("enable_reproxy", "on"), ("reproxy_file_root", &text)],
    );
    let mut client = proxy.client().await;
    for good in [format!("{text}/inside"), "inside".into(), format!("{text}/fair")] {
        let response = client.ask(&get("/", &format!("A: {good}\r\n"))).await;
        assert_eq!((response.status(), response.text()), (200, "inside"), "{good}");
    }
    for bad in [
        format!("{}/secret", dir.path().display()),
        format!("{text}/../secret"),
        "../secret".into(),
        format!("{text}/link"),
        "/etc/passwd".into(),
        text.clone(),
    ] {
        let response = client.ask(&get("/", &format!("A: {bad}\r\n"))).await;
        assert_eq!(response.status(), 404, "{bad}");
        assert!(!response.text().contains("secret"), "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_url_that_is_there() {
    let target = target().await;
    let refused = free_address();
    let urls = format!(
        "http://{refused}/letters http://{0}/none http://{0}{{}}",
        target.address
    );
    let origin = app(format!(
        "X-REPROXY-URL: {urls}\r\nX-REPROXY-EXPECTED-SIZE: 26\r\nContent-Type: text/x\r\n"
    ))
    .await;
    let proxy = Proxy::start(&[origin.address], &[("enable_reproxy", "on")]);
    let mut client = proxy.client().await;
    let whole = client.ask(&get("/letters", "Cookie: secret\r\n")).await;
    assert_eq!((whole.status(), whole.text()), (200, LETTERS));
    assert!(whole.has("X-Own: 1") && whole.has("Content-Type: text/x") && whole.has("Content-Length: 26"));
    assert!(!whole.has("X-Target: 1") && !whole.head.to_uppercase().contains("X-REPROXY"));
    let part = client.ask(&get("/letters", "Range: bytes=2-4\r\n")).await;
    assert_eq!((part.status(), part.text()), (206, "cde"));
    assert!(part.has("Content-Range: bytes 2-4/26"));
    client.send("HEAD /letters HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert!(client.head().await.contains("\r\nContent-Length: 26\r\n"));
    let posted = client
        .ask("POST /letters HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc")
        .await;
    assert_eq!(posted.text(), LETTERS);
    assert_eq!(client.ask(&get("/nowhere", "")).await.status(), 503);
    assert_eq!(client.ask(&get("/plain", "")).await.text(), "plain");
    let heads: Vec<_> = target.seen().into_iter().map(|one| one.head).collect();
    assert_eq!(
        heads[..2],
        ["/none", "/letters"]
            .map(|path| format!("GET {path} HTTP/1.1\r\nConnection: keep-alive\r\nHost: h\r\n\r\n"))
    );
    assert!(heads[3].contains("\r\nRange: bytes=2-4\r\n") && heads[5].starts_with("HEAD /letters "));
    assert!(heads[7].starts_with("GET /letters ") && !heads[7].contains("Content-Length"));
    assert_eq!((target.connections(), origin.connections()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_size_that_is_not_expected_is_not_sent() {
    let target = target().await;
    let (short, other) = (Origin::saying("short").await, target.address);
    let urls = format!("http://{}/letters http://{other}/letters", short.address);
    let origin = app(format!(
        "X-REPROXY-URL: {urls}\r\nX-REPROXY-EXPECTED-SIZE: 26\r\n"
    ))
    .await;
    let proxy = Proxy::start(&[origin.address], &[("enable_reproxy", "on")]);
    assert_eq!(proxy.get("/").await.text(), LETTERS);
    assert_eq!((short.seen().len(), target.seen().len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_before_a_url_before_a_service() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "f", "file");
    let target = target().await;
    let file = format!("X-REPROXY-FILE: {}/f\r\n", dir.path().display());
    let url = format!("X-reproxy-url: http://{}/letters\r\n", target.address);
    let origin = Origin::start(move |request| {
        let service = "X-REPROXY-SERVICE: none\r\n";
        Some(asking(
            "200 OK",
            &match request.head.split(' ').nth(1).unwrap() {
                "/all" => format!("{service}{url}{file}"),
                "/two" => format!("{service}{url}"),
                _ => service.to_owned(),
            },
        ))
    })
    .await;
    let proxy = Proxy::start(&[origin.address], &[("enable_reproxy", "on")]);
    assert_eq!(proxy.get("/all").await.text(), "file");
    assert_eq!(proxy.get("/two").await.text(), LETTERS);
    assert_eq!(proxy.get("/one").await.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_client_asks_for_itself_is_nothing() {
    let origin = Origin::echo().await;
    let proxy = Proxy::start(&[origin.address], &[("enable_reproxy", "on")]);
    let mut client = proxy.client().await;
    let own = "X-REPROXY-FILE: /etc/passwd\r\nX-REPROXY-URL: http://127.0.0.1:1/\r\nX-REPROXY-SERVICE: s\r\n";
    assert_eq!(client.ask(&get("/own", own)).await.text(), "/own");
}

#[tokio::test(flavor = "multi_thread")]
async fn any_mix_in_one_packet_is_answered_in_order() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "f", "file");
    let target = target().await;
    let file = format!("X-REPROXY-FILE: {}/f\r\n", dir.path().display());
    let url = format!(
        "X-REPROXY-URL: http://{}/letters\r\nX-REPROXY-CACHE-FOR: 60\r\n",
        target.address
    );
    let origin = Origin::start(move |request| {
        Some(match request.head.split(' ').nth(1).unwrap() {
            "/file" => asking("200 OK", &file),
            "/url" => asking("200 OK", &url),
            other => ok(other),
        })
    })
    .await;
    let settings = [("enable_reproxy", "on"), ("reproxy_cache_maxsize", "9")];
    let proxy = Proxy::start(&[origin.address], &settings);
    let mut client = proxy.client().await;
    let paths = ["/1", "/file", "/url", "/2", "/url", "/file", "/url", "/3"];
    let requests: String = paths.iter().map(|path| get(path, "")).collect();
    client.send(requests).await;
    for path in paths {
        let wanted = match path {
            "/file" => "file",
            "/url" => LETTERS,
            other => other,
        };
        assert_eq!(client.response().await.text(), wanted);
    }
    assert_eq!(origin.seen().len(), 6, "two came from the cache");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_nobody_gets_is_read_if_it_is_short() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "f", "file");
    let file = format!("X-REPROXY-FILE: {}/f\r\n", dir.path().display());
    let origin = Origin::start(move |request| {
        let size = request.head.split(' ').nth(1).unwrap()[1..].parse().unwrap();
        let head = format!("HTTP/1.1 200 OK\r\n{file}Content-Length: {size}\r\n\r\n");
        Some([head.into_bytes(), vec![b'x'; size]].concat())
    })
    .await;
    let proxy = Proxy::start(&[origin.address], &[("enable_reproxy", "on")]);
    let mut client = proxy.client().await;
    for (size, connections) in [(0, 1), (10, 1), (50_000, 1), (9_000_000, 1), (10, 2)] {
        assert_eq!(client.ask(&get(&format!("/{size}"), "")).await.text(), "file");
        assert_eq!(origin.connections(), connections, "{size}");
    }
}

/// A target that sends without end, to one client.
async fn endless() -> (TcpListener, String) {
    let listener = TcpListener::bind(free_address()).await.unwrap();
    let url = format!("X-REPROXY-URL: http://{}/\r\n", listener.local_addr().unwrap());
    (listener, url)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_client_slows_the_target_down_and_may_leave() {
    let (listener, url) = endless().await;
    let origin = app(url).await;
    let proxy = Proxy::start(&[origin.address], &[("enable_reproxy", "on")]);
    let mut client = proxy.client().await;
    client.send(get("/", "")).await;
    let (mut io, _) = soon(listener.accept()).await.unwrap();
    let length = 1_u64 << 40;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
    io.write_all(head.as_bytes()).await.unwrap();
    let piece = vec![b'x'; 64 * 1024];
    let mut sent = 0;
    // What the kernels hold is a few MiB on each side.
    while let Ok(written) = tokio::time::timeout(Duration::from_secs(1), io.write(&piece)).await {
        sent += written.unwrap();
        assert!(sent < 64 << 20, "nobody takes it, and more is read");
    }
    assert!(
        client
            .head()
            .await
            .contains(&format!("\r\nContent-Length: {length}\r\n"))
    );
    client.take(1 << 20).await;
    drop(client);
    while soon(io.write(&piece)).await.is_ok() {}
    let stats = proxy.stats.service(&service());
    until("the request is over", || stats.requests_in_flight() == 0).await;
    until("the connection is gone", || {
        proxy.workers.reproxy().targets.figures().is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_leave_in_the_middle_of_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let large = std::fs::File::create(dir.path().join("f")).unwrap();
    large.set_len(1 << 32).unwrap();
    let origin = app(format!("X-REPROXY-FILE: {}/f\r\n", dir.path().display())).await;
    let proxy = Proxy::start(&[origin.address], &[("enable_reproxy", "on")]);
    let stats = proxy.stats.service(&service());
    let mut client = proxy.client().await;
    client.send(get("/", "")).await;
    client.head().await;
    client.take(1 << 20).await;
    assert_eq!(stats.requests_in_flight(), 1);
    drop(client);
    until("the request is over", || stats.requests_in_flight() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_breaks_off_breaks_the_answer_off() {
    let (listener, url) = endless().await;
    let origin = app(url).await;
    let proxy = Proxy::start(&[origin.address], &[("enable_reproxy", "on")]);
    // What ends with its connection must not end as if it were whole: a chunked body for a client of HTTP/1.0.
    for (version, head, body, is_reset) in [
        ("HTTP/1.1", "Content-Length: 9", "short", false),
        ("HTTP/1.0", "Transfer-Encoding: chunked", "5\r\nshort\r\n", true),
    ] {
        let mut client: Client = proxy.client().await;
        client.send(format!("GET / {version}\r\nHost: h\r\n\r\n")).await;
        let (mut io, _) = soon(listener.accept()).await.unwrap();
        io.write_all(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}").as_bytes())
            .await
            .unwrap();
        client.head().await;
        assert_eq!(client.take(5).await, b"short");
        drop(io);
        let end = soon(client.io.read(&mut [0; 9])).await;
        assert_eq!(end.is_err(), is_reset, "{version}: {end:?}");
        assert_eq!(end.unwrap_or_default(), 0, "nothing may follow");
    }
}
