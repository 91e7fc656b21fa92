//! The `web_server` role where clients put and remove files, and have several as one.

use std::fs;
use std::path::Path;

use fleetbal_raft::model::{Change, Setting};

use crate::fixture::{Client, Proxy, Response, set};

fn request(method: &str, path: &str, fields: &str, body: &str) -> String {
    let length = body.len();
    format!("{method} {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n{fields}\r\n{body}")
}

async fn put(client: &mut Client, path: &str, body: &str) -> Response {
    client.ask(&request("PUT", path, "", body)).await
}

fn over(root: &Path, settings: &[(&str, &str)]) -> Proxy {
    let on = [("enable_put", "on"), ("enable_delete", "on")];
    Proxy::over_files(1, root, &[&on, settings].concat())
}

/// How many entries a directory has.
fn count(root: &Path) -> usize {
    fs::read_dir(root).unwrap().count()
}

#[tokio::test]
async fn files_are_put_read_and_removed_on_one_connection() {
    let dir = tempfile::tempdir().unwrap();
    let proxy = over(dir.path(), &[]);
    let mut client = proxy.client().await;
    let large = "x".repeat(300_000);
    for content in ["text", "", "other", &large] {
        let response = put(&mut client, "/a/b.html", content).await;
        assert_eq!((response.status(), response.text()), (200, "<h1>200 - OK</h1>\n"));
        assert!(response.has("Connection: keep-alive"));
        let response = client.ask("GET /a/b.html HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert_eq!((response.status(), response.text()), (200, content));
    }
    assert_eq!(count(&dir.path().join("a")), 1);
    let response = client.ask(&request("DELETE", "/a/b.html", "", "")).await;
    assert_eq!(response.status(), 204);
    assert!(!response.head.contains("Content-"), "{}", response.head);
    for status in [404, 404] {
        let response = client.ask(&request("DELETE", "/a/b.html", "", "")).await;
        assert_eq!(response.status(), status);
    }
    let response = client.ask(&request("DELETE", "/a", "", "")).await;
    assert_eq!(
        (response.status(), response.text()),
        (400, "<h1>400 - Bad Request</h1>\nIs a directory")
    );
}

#[tokio::test]
async fn what_is_not_allowed_is_not_done() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a"), "text").unwrap();
    let proxy = Proxy::over_files(1, dir.path(), &[]);
    for method in ["PUT", "DELETE"] {
        let response = proxy.client().await.ask(&request(method, "/a", "", "")).await;
        assert_eq!(
            (response.status(), response.text()),
            (403, "<h1>403 - Forbidden</h1>\n"),
            "{method}"
        );
    }
    let proxy = over(dir.path(), &[]);
    for method in ["PUT", "DELETE"] {
        for path in ["/a/", "/../a", "/%61", "/a?b", "/a+b", "/.fleetbal-put-0", "/"] {
            let response = proxy.client().await.ask(&request(method, path, "", "")).await;
            assert_eq!(
                (response.status(), response.text()),
                (400, "<h1>400 - Bad Request</h1>\nInvalid filename"),
                "{method} {path}"
            );
        }
    }
    assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"text");
    let response = proxy.client().await.ask(&request("PUT", "/a/b", "", "")).await;
    assert_eq!(
        (response.status(), response.text()),
        (500, "<h1>500 - Internal Server Error</h1>\nInternal error")
    );
}

#[tokio::test]
async fn without_a_docroot_nothing_is_put_or_removed() {
    let dir = tempfile::tempdir().unwrap();
    let mut proxy = over(dir.path(), &[]);
    proxy.change(vec![Change::Unset(Setting::Tunable {
        object: "s".into(),
        key: "docroot".into(),
    })]);
    let there = dir.path().join("a");
    fs::write(&there, "text").unwrap();
    for method in ["PUT", "DELETE"] {
        // Perlbal takes the root of the file system for it.
        let asked = request(method, there.to_str().unwrap(), "", "");
        let response = proxy.client().await.ask(&asked).await;
        assert_eq!(
            (response.status(), response.text()),
            (500, "<h1>500 - Internal Server Error</h1>\nDocroot unconfigured"),
            "{method}"
        );
    }
    assert_eq!(fs::read(there).unwrap(), b"text");
}

#[tokio::test]
async fn too_large_and_too_shallow_files_are_not_put() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("there")).unwrap();
    let proxy = over(dir.path(), &[("max_put_size", "4"), ("min_put_directory", "1")]);
    for (path, body, status, message) in [
        ("/there/a", "12345", 400, "Content-length of 5 is invalid."),
        ("/a", "1", 400, "Does not meet minimum directory requirement"),
        ("/not/a", "1", 404, "Base directory does not exist"),
        ("/there/a", "1234", 200, ""),
        ("/there/new/b", "1", 200, ""),
    ] {
        let response = put(&mut proxy.client().await, path, body).await;
        assert_eq!(response.status(), status, "{path} {body}");
        assert!(response.text().ends_with(&format!("</h1>\n{message}")), "{path}");
    }
    for (chunks, status) in [("4\r\n1234\r\n0\r\n\r\n", 200), ("5\r\n12345\r\n0\r\n\r\n", 413)] {
        let asked = format!("PUT /there/c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        let response = proxy.client().await.ask(&asked).await;
        assert_eq!(response.status(), status, "{chunks}");
    }
    assert_eq!(fs::read(dir.path().join("there/c")).unwrap(), b"1234");
}

#[tokio::test]
async fn what_is_announced_is_checked() {
    let dir = tempfile::tempdir().unwrap();
    let mut proxy = over(dir.path(), &[]);
    let with = |md5: &str| request("PUT", "/a", &format!("Content-MD5: {md5}\r\n"), "hello");
    let good = "XUFAKrxLKna5cZ2REBfFkg==";
    let response = proxy.client().await.ask(&with(good)).await;
    assert_eq!(response.status(), 201);
    fs::remove_file(dir.path().join("a")).unwrap();
    let response = proxy.client().await.ask(&with("AAAA")).await;
    assert_eq!(
        (response.status(), response.text()),
        (
            400,
            "<h1>400 - Bad Request</h1>\nContent-MD5 mismatch, expected: AAAA actual: XUFAKrxLKna5cZ2REBfFkg"
        )
    );
    assert_eq!(count(dir.path()), 0);
    proxy.change(vec![set("enable_md5", "off")]);
    let response = proxy.client().await.ask(&with("AAAA")).await;
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn a_client_may_wait_to_be_told_to_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let proxy = over(dir.path(), &[]);
    let mut client = proxy.client().await;
    for framing in ["Content-Length: 2", "Transfer-Encoding: chunked"] {
        let head = format!("PUT /a HTTP/1.1\r\nHost: h\r\n{framing}\r\nExpect: 100-continue\r\n\r\n");
        let told = client.ask_head(&head).await;
        assert_eq!(told, "HTTP/1.1 100 Continue\r\n\r\n");
        let body = if framing.starts_with('C') {
            "ab"
        } else {
            "2\r\nab\r\n0\r\n\r\n"
        };
        assert_eq!(client.ask(body).await.status(), 200);
    }
    // Who may not go on is not told to.
    let head = "PUT /a? HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
    let response = client.ask(head).await;
    assert!(response.status() == 400 && response.has("Connection: close"));
}

#[tokio::test]
async fn a_client_that_leaves_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a"), "before").unwrap();
    let proxy = over(dir.path(), &[]);
    let mut client = proxy.client().await;
    let part = "x".repeat(100_000);
    client
        .send(&format!(
            "PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 200000\r\n\r\n{part}"
        ))
        .await;
    drop(client);
    crate::fixture::until("the client to be gone", || proxy.stats.open_connections() == 0).await;
    assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"before");
    assert_eq!(count(dir.path()), 1);
    let mut client = proxy.client().await;
    let bad = "PUT /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nx\r\n";
    assert_eq!(client.ask(bad).await.status(), 400);
    assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"before");
}

#[tokio::test]
async fn several_files_come_as_one() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("d")).unwrap();
    for (name, content) in [("d/a.css", "one"), ("d/b.css", "two"), ("secret", "secret")] {
        fs::write(dir.path().join(name), content).unwrap();
    }
    let mut proxy = Proxy::over_files(1, dir.path(), &[]);
    assert_eq!(proxy.get("/d/??a.css").await.status(), 403);
    proxy.change(vec![set("enable_concatenate_get", "on")]);
    let both = proxy.get("/d/??a.css,b.css,a.css?v=1").await;
    assert_eq!((both.status(), both.text()), (200, "onetwoone"));
    assert!(both.has("Content-Type: text/css") && both.has("Content-Length: 9"));
    let date = both
        .head
        .split("\r\n")
        .find(|line| line.starts_with("Last-Modified: "));
    let date = date.unwrap().replace("Last-Modified", "If-Modified-Since");
    let mut client = proxy.client().await;
    let unchanged = client
        .ask(&format!(
            "GET /d/??a.css,b.css HTTP/1.1\r\nHost: h\r\n{date}\r\n\r\n"
        ))
        .await;
    assert_eq!(unchanged.status(), 304);
    let head = client
        .ask_head("HEAD /d/??a.css,b.css HTTP/1.1\r\nHost: h\r\n\r\n")
        .await;
    assert!(head.contains("\r\nContent-Length: 6\r\n"), "{head}");
    let many = vec!["a.css"; 101].join(",");
    for (path, status, message) in [
        ("/d??a.css", 500, "Base directory (before ??) must end in slash."),
        ("/d/??../secret", 403, "Bogus filenames"),
        ("/d/??%2e%2e/secret", 403, "Bogus filenames"),
        ("/d/../??secret", 403, "Bogus URL"),
        ("/no/??a.css", 404, "Base directory not a directory"),
        ("/d/??a.css,no", 404, "One or more file does not exist"),
        ("/??d", 404, "One or more file does not exist"),
        (&format!("/d/??{many}"), 403, "Too many files requested"),
    ] {
        let response = proxy.get(path).await;
        assert_eq!(response.status(), status, "{path}");
        assert!(response.text().ends_with(&format!("</h1>\n{message}")), "{path}");
    }
}

#[tokio::test]
async fn what_lies_compressed_beside_a_file_stands_for_it() {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in [
        ("a.html", "plain"),
        ("a.html.br", "br"),
        ("a.html.gz", "gzip"),
        ("b", "b"),
    ] {
        fs::write(dir.path().join(name), content).unwrap();
    }
    let mut proxy = Proxy::over_files(1, dir.path(), &[]);
    let get = |path: &str, taken: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: h\r\nAccept-Encoding: {taken}\r\n\r\n")
    };
    let off = proxy.client().await.ask(&get("/a.html", "gzip, br")).await;
    assert_eq!(off.text(), "plain");
    assert!(!off.head.contains("Vary"));
    proxy.change(vec![set("enable_precompressed", "on")]);
    let mut client = proxy.client().await;
    for (path, taken, text, coding) in [
        ("/a.html", "gzip, br", "br", "Content-Encoding: br"),
        ("/a.html", "gzip", "gzip", "Content-Encoding: gzip"),
        ("/a.html", "identity", "plain", "Content-Type: text/html"),
        ("/b", "gzip, br", "b", "Content-Type: text/plain"),
    ] {
        let response = client.ask(&get(path, taken)).await;
        assert_eq!(
            (response.status(), response.text()),
            (200, text),
            "{path} {taken}"
        );
        assert!(
            response.has(coding) && response.has("Vary: Accept-Encoding"),
            "{}",
            response.head
        );
        assert!(path == "/b" || response.has("Content-Type: text/html"));
    }
    // What is older than the file is not its content any more.
    let file = fs::File::options()
        .write(true)
        .open(dir.path().join("a.html"))
        .unwrap();
    let before = file.metadata().unwrap().modified().unwrap();
    file.set_modified(before + std::time::Duration::from_mins(1))
        .unwrap();
    assert_eq!(client.ask(&get("/a.html", "br")).await.text(), "plain");
}
