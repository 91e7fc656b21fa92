//! The `web_server` role: files below a docroot, and nothing else.

use std::fs;
use std::os::unix::fs::symlink;

use fleetbal_raft::model::{Change, ServiceName};

use crate::fixture::{Client, Origin, Proxy, set};

/// What a GET of a path is answered.
async fn status(proxy: &Proxy, path: &str) -> u16 {
    proxy.get(path).await.status()
}

#[tokio::test]
async fn files_of_any_size_go_out_whole() {
    let dir = tempfile::tempdir().unwrap();
    let proxy = Proxy::over_files(1, dir.path(), &[]);
    let mut client = proxy.client().await;
    for size in [0, 1, 8 * 1024, 8 * 1024 + 1, 32 * 1024 + 1, 3_000_000] {
        let content: Vec<u8> = (0..size).map(|at: u32| (at % 251) as u8).collect();
        fs::write(dir.path().join("a.html"), &content).unwrap();
        for _ in 0..2 {
            let response = client.ask("GET /a.html HTTP/1.1\r\nHost: h\r\n\r\n").await;
            assert_eq!(response.status(), 200, "{size}");
            assert!(response.body == content, "{size}");
            assert!(response.has("Content-Type: text/html") && response.has("Connection: keep-alive"));
        }
        client.send("HEAD /a.html HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert!(
            client
                .head()
                .await
                .contains(&format!("\r\nContent-Length: {size}\r\n"))
        );
    }
    assert_eq!(proxy.stats.requests_total(), 18);
}

#[tokio::test]
async fn requests_sent_ahead_are_answered_in_order() {
    let dir = tempfile::tempdir().unwrap();
    // Copied, sent without a copy, and sent in pieces as the client takes them.
    let sizes = [10, 20_000, 2_000_000];
    for size in sizes {
        let content: Vec<u8> = (0..size).map(|at: u32| (at % 251) as u8).collect();
        fs::write(dir.path().join(size.to_string()), content).unwrap();
    }
    let proxy = Proxy::over_files(1, dir.path(), &[]);
    let mut client = proxy.client().await;
    let asked = |size: u32| format!("GET /{size} HTTP/1.1\r\nHost: h\r\n\r\n");
    let all: String = sizes.map(asked).concat().repeat(4);
    client.send(&all).await;
    for _ in 0..4 {
        for size in sizes {
            let response = client.response().await;
            assert_eq!((response.status(), response.body.len()), (200, size as usize));
            assert!(
                response
                    .body
                    .iter()
                    .enumerate()
                    .all(|(at, byte)| at % 251 == usize::from(*byte))
            );
        }
    }
    client
        .send("GET /20000 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        .await;
    let last = client.response().await;
    assert!(last.has("Connection: close") && last.body.len() == 20_000);
    assert!(client.rest().await.is_empty());
}

#[tokio::test]
async fn a_changed_file_is_sent_at_once_and_a_removed_one_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let proxy = Proxy::over_files(2, dir.path(), &[]);
    for number in 0..20 {
        let text = number.to_string();
        fs::write(dir.path().join("new"), &text).unwrap();
        fs::rename(dir.path().join("new"), dir.path().join("a")).unwrap();
        assert_eq!(proxy.get("/a").await.text(), text);
    }
    fs::remove_file(dir.path().join("a")).unwrap();
    assert_eq!(status(&proxy, "/a").await, 404);
}

#[tokio::test]
async fn a_docroot_may_be_a_link_that_is_switched() {
    let dir = tempfile::tempdir().unwrap();
    for release in ["one", "two"] {
        fs::create_dir(dir.path().join(release)).unwrap();
        fs::write(dir.path().join(release).join("a"), release).unwrap();
    }
    let current = dir.path().join("current");
    symlink("one", &current).unwrap();
    let proxy = Proxy::over_files(1, &current, &[]);
    assert_eq!(proxy.get("/a").await.text(), "one");
    symlink("two", dir.path().join("next")).unwrap();
    fs::rename(dir.path().join("next"), &current).unwrap();
    assert_eq!(proxy.get("/a").await.text(), "two");
    fs::remove_file(&current).unwrap();
    assert_eq!(status(&proxy, "/a").await, 503);
}

#[tokio::test]
async fn nothing_outside_the_docroot_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    fs::create_dir_all(root.join("sub")).unwrap();
    fs::write(dir.path().join("secret"), "secret").unwrap();
    fs::write(root.join("a..b"), "text").unwrap();
    fs::write(root.join("100%+?.txt"), "text").unwrap();
    symlink("../secret", root.join("out")).unwrap();
    symlink(dir.path().join("secret"), root.join("absolute")).unwrap();
    symlink("/", root.join("slash")).unwrap();
    symlink("a..b", root.join("inside")).unwrap();
    symlink("loop", root.join("loop")).unwrap();
    symlink("/dev/zero", root.join("zero")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    nix::unistd::mkfifo(&root.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let proxy = Proxy::over_files(1, &root, &[]);
    for (wanted, paths) in [
        (200, &["/a..b", "//a..b", "/./a..b"][..]),
        (200, &["/inside", "/100%25+%3f.txt", "/%61..b", "/a..b?/../x"]),
        (403, &["/..", "/../", "/../secret", "/sub/../a..b", "/sub/.."]),
        (
            403,
            &["/%2e%2e/secret", "/.%2E/secret", "/sub%2f..%2f..%2fsecret"],
        ),
        (403, &["/out", "/absolute", "/slash/etc/passwd", "/loop"]),
        (403, &["/zero", "/fifo", "/socket"]),
        (
            404,
            &[
                "/secret",
                "/%252e%252e/secret",
                "/..%5csecret",
                "/...",
                "/%c0%ae%c0%ae/secret",
            ],
        ),
        (404, &["/a..b%00", "/%00", "/a..b/", "/a..b/c", "/100%", "/%zz"]),
    ] {
        for path in paths {
            assert_eq!(status(&proxy, path).await, wanted, "{path}");
        }
    }
    let long = format!("/{}", "x".repeat(5000));
    assert_eq!(status(&proxy, &long).await, 404);
}

#[tokio::test]
async fn other_methods_are_refused_and_bodies_do_not_become_requests() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a"), "text").unwrap();
    let proxy = Proxy::over_files(1, dir.path(), &[]);
    let mut client = proxy.client().await;
    let response = client.ask("OPTIONS /a HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert_eq!(
        (response.status(), response.text()),
        (400, "<h1>400 - Bad Request</h1>\n")
    );
    assert!(response.has("Connection: keep-alive"));
    let smuggled = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
    for method in ["POST", "GET"] {
        let mut client = proxy.client().await;
        let request = format!(
            "{method} /a HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{smuggled}",
            smuggled.len()
        );
        assert!(client.ask(&request).await.has("Connection: close"));
        assert!(client.rest().await.is_empty());
    }
}

#[tokio::test]
async fn a_backend_may_have_a_web_server_answer() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a"), "a file").unwrap();
    let origin = Origin::start(|_| {
        Some(b"HTTP/1.1 200 OK\r\nX-REPROXY-SERVICE: f\r\nContent-Length: 0\r\n\r\n".to_vec())
    })
    .await;
    let mut proxy = Proxy::start(&[origin.address], &[("enable_reproxy", "on")]);
    let files = ServiceName::parse("f").unwrap();
    let set_on_files = |key: &str, value: &str| Change::Set {
        object: "f".into(),
        key: key.into(),
        value: value.into(),
    };
    proxy.change(vec![
        Change::CreateService(files.clone()),
        set_on_files("role", "web_server"),
        set_on_files("docroot", dir.path().to_str().unwrap()),
        set("persist_client", "on"),
    ]);
    let mut client: Client = proxy.client().await;
    for _ in 0..2 {
        let response = client.ask("GET /a HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert_eq!((response.status(), response.text()), (200, "a file"));
    }
    assert_eq!(proxy.stats.service(&files).requests_total(), 2);
}

const LETTERS: &str = "abcdefghijklmnopqrstuvwxyz";

fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\n{fields}\r\n")
}

#[tokio::test]
async fn parts_of_files_are_sent_as_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.txt"), LETTERS).unwrap();
    fs::write(dir.path().join("empty"), "").unwrap();
    let proxy = Proxy::over_files(1, dir.path(), &[]);
    let mut client = proxy.client().await;
    for (range, status, text, line) in [
        ("bytes=0-3", 206, "abcd", "Content-Range: bytes 0-3/26"),
        ("bytes=-3", 206, "xyz", "Content-Range: bytes 23-25/26"),
        ("bytes=20-99", 206, "uvwxyz", "Content-Range: bytes 20-25/26"),
        ("bytes=26-", 416, "", "Content-Range: bytes */26"),
        ("bytes=3-1", 416, "", "Content-Length: 0"),
        ("bytes=x", 200, LETTERS, "Accept-Ranges: bytes"),
        ("bytes=0-,0-", 200, LETTERS, "Content-Type: text/plain"),
    ] {
        let asked = get("/a.txt", &format!("Range: {range}\r\n"));
        let response = client.ask(&asked).await;
        assert_eq!((response.status(), response.text()), (status, text), "{range}");
        assert!(response.has(line), "{range}: {}", response.head);
        let head = client.ask_head(&asked.replacen("GET", "HEAD", 1)).await;
        assert!(head.contains(line), "{range}: {head}");
    }
    let several = client.ask(&get("/a.txt", "Range: bytes=0-1,24-\r\n")).await;
    assert_eq!(several.status(), 206);
    let kind = "Content-Type: multipart/byteranges; boundary=";
    let boundary = several
        .head
        .split(kind)
        .nth(1)
        .unwrap()
        .split("\r\n")
        .next()
        .unwrap();
    assert_eq!(
        several.text(),
        format!(
            "\r\n--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/26\r\n\r\nab\
             \r\n--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 24-25/26\r\n\r\nyz\
             \r\n--{boundary}--\r\n"
        )
    );
    let nothing = client.ask(&get("/empty", "Range: bytes=0-\r\n")).await;
    assert!(nothing.status() == 416 && nothing.has("Content-Range: bytes */0"));
    assert_eq!(client.ask(&get("/a.txt", "")).await.text(), LETTERS);
}

#[tokio::test]
async fn who_has_a_file_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a"), LETTERS).unwrap();
    let proxy = Proxy::over_files(1, dir.path(), &[]);
    let mut client = proxy.client().await;
    let first = client.ask(&get("/a", "")).await;
    let value = |name: &str| {
        let line = first
            .head
            .split("\r\n")
            .find(|line| line.starts_with(name))
            .unwrap();
        line[name.len() + 2..].to_owned()
    };
    let (etag, date) = (value("ETag"), value("Last-Modified"));
    for (field, status) in [
        (format!("If-None-Match: {etag}"), 304),
        (format!("If-None-Match: W/{etag}"), 304),
        (format!("If-Modified-Since: {date}"), 304),
        ("If-None-Match: \"other\"".to_owned(), 200),
        (
            format!("If-None-Match: \"other\"\r\nIf-Modified-Since: {date}"),
            200,
        ),
        ("If-Match: \"other\"".to_owned(), 412),
        (format!("If-Match: {etag}\r\nRange: bytes=0-0"), 206),
        (format!("If-Range: {etag}\r\nRange: bytes=0-0"), 206),
        ("If-Range: \"other\"\r\nRange: bytes=0-0".to_owned(), 200),
        (format!("If-Modified-Since: {date}\r\nRange: bytes=0-0"), 304),
    ] {
        let response = client.ask(&get("/a", &format!("{field}\r\n"))).await;
        assert_eq!(response.status(), status, "{field}");
        assert!(response.has(&format!("ETag: {etag}")), "{field}");
    }
}

#[tokio::test]
async fn directories_show_their_index_or_what_is_in_them() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("d/sub")).unwrap();
    fs::write(dir.path().join("d/a<b"), "").unwrap();
    fs::write(dir.path().join("b.html"), "index").unwrap();
    let mut proxy = Proxy::over_files(1, dir.path(), &[("index_files", "a.html, b.html")]);
    for path in ["/", "/?x"] {
        let index = proxy.get(path).await;
        assert_eq!((index.status(), index.text()), (200, "index"));
        assert!(index.has("Content-Type: text/html"));
    }
    let page = "<h1>200 - OK</h1>\nDirectory listing disabled";
    assert_eq!(proxy.get("/d").await.text(), page);
    proxy.change(vec![set("dirindexing", "on")]);
    for path in ["/d", "/d/"] {
        let listing = proxy.get(path).await;
        assert_eq!(
            (listing.status(), listing.text()),
            (
                200,
                "<html><body><b><a href='/d/./'>.</a></b><br />\n<b><a href='/d/../'>..</a></b><br />\n\
                 <a href='/d/a%3Cb'>a&lt;b</a><br />\n<b><a href='/d/sub/'>sub</a></b><br />\n</body></html>"
            )
        );
    }
    fs::write(dir.path().join("a.html"), "better").unwrap();
    assert_eq!(proxy.get("/").await.text(), "better");
}

#[tokio::test]
async fn types_of_files_can_be_changed() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.flv"), "").unwrap();
    let mut proxy = Proxy::over_files(1, dir.path(), &[]);
    let mime = |kind: Option<&str>| Change::SetMime {
        extension: "flv".into(),
        kind: kind.map(str::to_owned),
    };
    assert!(proxy.get("/a.flv").await.has("Content-Type: text/plain"));
    proxy.change(vec![mime(Some("video/x-flv"))]);
    assert!(proxy.get("/a.flv").await.has("Content-Type: video/x-flv"));
    proxy.change(vec![mime(None)]);
    assert!(proxy.get("/a.flv").await.has("Content-Type: text/plain"));
}
