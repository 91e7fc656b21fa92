//! Access logs: the lines that requests leave.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use fleetbal::snapshot::LogTarget;
use fleetbal_raft::model::{Change, Directive, LogTarget as Said, ServiceName};

use crate::fixture::{Client, Origin, Proxy, enable, ok, service, set, until};

/// Logs what the service answers to a file, which it opens.
async fn log_to(proxy: &mut Proxy, path: &Path) {
    let logs = proxy.workers.access_logs();
    logs.open(BTreeSet::from([Arc::new(LogTarget::File(path.to_owned()))]))
        .await;
    proxy.change(vec![
        Change::SetLoaded {
            plugin: "log".into(),
            loaded: true,
        },
        Change::Direct {
            service: "s".into(),
            directive: Directive::Log(Said::parse(path.to_str().unwrap()).unwrap()),
        },
        set("plugins", "log"),
    ]);
}

/// The lines of a file once there are so many, without what the clock says.
async fn lines(path: &Path, count: usize) -> Vec<String> {
    let read = || std::fs::read_to_string(path).unwrap_or_default();
    until("the lines", || read().lines().count() >= count).await;
    let text = read();
    text.lines().map(timeless).collect()
}

/// A line without its time, and without how long it took.
fn timeless(line: &str) -> String {
    let (before, rest) = line.split_once(" [").unwrap();
    let (time, rest) = rest.split_once("] ").unwrap();
    assert_eq!(time.len(), 26, "{time}");
    let mut words: Vec<_> = rest.split(' ').collect();
    let at = words.len() - 3;
    let took = words.remove(at);
    let (seconds, millis) = took.split_once('.').unwrap();
    assert!(seconds.parse::<u64>().is_ok() && millis.len() == 3, "{took}");
    format!("{before} {}", words.join(" "))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_server_leaves_the_lines_of_the_talk() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("hello.txt"), "hello, this is a test.....").unwrap();
    let mut proxy = Proxy::over_files(1, dir.path(), &[]);
    let log = dir.path().join("log");
    log_to(&mut proxy, &log).await;
    let mut client = proxy.client().await;
    let full = "GET /hello.txt HTTP/1.1\r\nHost: h:1\r\nAuthorization: Basic dXNlcjpzM2NyZXQ=\r\n\
        Referer: http://r/\"x\r\nUser-Agent: my \"ua\"\r\n\r\n";
    assert_eq!(client.ask(full).await.status(), 200);
    client
        .ask_head("HEAD /hello.txt HTTP/1.1\r\nHost: h\r\n\r\n")
        .await;
    let tag = client
        .ask("GET /hello.txt HTTP/1.1\r\nHost: h\r\nRange: bytes=0-4\r\n\r\n")
        .await;
    let tag = tag
        .head
        .split("ETag: ")
        .nth(1)
        .unwrap()
        .split("\r\n")
        .next()
        .unwrap();
    let known = format!("GET /hello.txt HTTP/1.1\r\nHost: h\r\nIf-None-Match: {tag}\r\n\r\n");
    assert_eq!(client.ask(&known).await.status(), 304);
    client.send("GET /nope?q=1 HTTP/1.0\r\n\r\n").await;
    let missing = client.response().await;
    assert_eq!(missing.status(), 404);
    let page = missing.body.len();
    assert_eq!(
        lines(&log, 5).await,
        [
            "127.0.0.1 - user \"GET /hello.txt HTTP/1.1\" 200 26 \"http://r/\\\"x\" \"my \\\"ua\\\"\" h:1 s web_server",
            "127.0.0.1 - - \"HEAD /hello.txt HTTP/1.1\" 200 26 \"-\" \"-\" h s web_server",
            "127.0.0.1 - - \"GET /hello.txt HTTP/1.1\" 206 5 \"-\" \"-\" h s web_server",
            "127.0.0.1 - - \"GET /hello.txt HTTP/1.1\" 304 0 \"-\" \"-\" h s web_server",
            &format!("127.0.0.1 - - \"GET /nope?q=1 HTTP/1.0\" 404 {page} \"-\" \"-\" - s web_server"),
        ]
    );
    assert_eq!(proxy.stats.service(&service()).log_lines(), (5, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_backends_are_logged_and_broken_ones_are_not() {
    let origin = Origin::start(|request| {
        let path = request.head.split(' ').nth(1).unwrap();
        Some(match path {
            "/chunks" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n".to_vec(),
            "/none" => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
            "/half" => b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nhalf".to_vec(),
            _ => ok("hello"),
        })
    })
    .await;
    let mut proxy = Proxy::start(&[origin.address], &[]);
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    log_to(&mut proxy, &log).await;
    let mut client = proxy.client().await;
    // Two at once, whose lines do not mix.
    client
        .send("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhiGET /chunks HTTP/1.1\r\nHost: h\r\nUser-Agent: u\r\n\r\n")
        .await;
    assert_eq!(client.response().await.text(), "hello");
    assert_eq!(client.response().await.status(), 200);
    assert_eq!(
        client.ask("GET /none HTTP/1.1\r\nHost: h\r\n\r\n").await.status(),
        204
    );
    let mut cut = proxy.client().await;
    cut.send("GET /half HTTP/1.1\r\nHost: h\r\n\r\n").await;
    cut.rest().await;
    // A page of this node's own.
    proxy.change(vec![crate::fixture::remove(origin.address)]);
    let page = client.ask("GET /b HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert_eq!(page.status(), 503);
    assert_eq!(
        lines(&log, 4).await,
        [
            "127.0.0.1 - - \"POST /a HTTP/1.1\" 200 5 \"-\" \"-\" h s reverse_proxy",
            "127.0.0.1 - - \"GET /chunks HTTP/1.1\" 200 0 \"-\" \"u\" h s reverse_proxy",
            "127.0.0.1 - - \"GET /none HTTP/1.1\" 204 0 \"-\" \"-\" h s reverse_proxy",
            &format!(
                "127.0.0.1 - - \"GET /b HTTP/1.1\" 503 {} \"-\" \"-\" h s reverse_proxy",
                page.body.len()
            ),
        ]
    );
}

/// A selector over the service, which logs as JSON.
fn logging_selector(selector: &ServiceName, log: &Path) -> Vec<Change> {
    let of = |key: &str, value: &str| Change::Set {
        object: "sel".into(),
        key: key.into(),
        value: value.into(),
    };
    vec![
        Change::SetLoaded {
            plugin: "vhosts".into(),
            loaded: true,
        },
        Change::CreateService(selector.clone()),
        of("role", "selector"),
        of("plugins", "log, vhosts"),
        of("log_format", "json"),
        Change::Direct {
            service: "sel".into(),
            directive: Directive::Log(Said::parse(log.to_str().unwrap()).unwrap()),
        },
        Change::Direct {
            service: "sel".into(),
            directive: Directive::Vhost {
                pattern: "a".into(),
                target: service(),
            },
        },
        Change::SetEnabled {
            service: selector.clone(),
            enabled: true,
        },
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_selector_and_its_service_log_each_for_itself() {
    let origin = Origin::saying("hello").await;
    let mut proxy = Proxy::start(&[origin.address], &[]);
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    log_to(&mut proxy, &log).await;
    let selector = ServiceName::parse("sel").unwrap();
    proxy.change(logging_selector(&selector, &log));
    let address = crate::fixture::free_address();
    proxy
        .workers
        .open(&selector, address, &fleetbal::sockets::Sockets::default())
        .unwrap();
    let mut client = Client::to(address).await;
    for (host, status) in [("a", 200), ("b", 404)] {
        let answer = client
            .ask(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"))
            .await;
        assert_eq!(answer.status(), status);
        client = Client::to(address).await;
    }
    let read = || std::fs::read_to_string(&log).unwrap_or_default();
    until("three lines", || read().lines().count() == 3).await;
    let text = read();
    let (json, plain): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.starts_with('{'));
    let own: Vec<_> = plain.into_iter().map(timeless).collect();
    assert_eq!(
        own,
        ["127.0.0.1 - - \"GET / HTTP/1.1\" 200 5 \"-\" \"-\" a s reverse_proxy"]
    );
    let ends = [
        "\"service\":\"sel\",\"role\":\"selector\"}",
        "\"request\":\"GET / HTTP/1.1\",\"referer\":null,\"agent\":null,\"host\":\"b\",\"status\":404",
    ];
    assert!(json.iter().all(|line| line.ends_with(ends[0])), "{json:?}");
    assert!(json.iter().any(|line| line.contains(ends[1])), "{json:?}");
    // From the next request on.
    proxy.change(vec![set("plugins", "none"), enable(false), enable(true)]);
    let direct = proxy.get("/").await;
    assert_eq!(direct.status(), 200);
    assert_eq!(proxy.stats.service(&service()).log_lines(), (1, 0));
}
