//! Hooks off the straight way: connections that are verified, what a backend names, several files, files that are put.

use std::path::Path;

use fleetbal_raft::model::Change;

use crate::fixture::{Client, Origin, Proxy, ok, set};
use crate::plugins::{TRACER, ask, plug, trace};
use crate::reproxy::{LETTERS, app, target};

/// A plugin with one hook, in Lua.
pub(crate) fn hooking(name: &str, body: &str) -> String {
    format!(
        "return {{ register = function(service)\n\
         service:register_hook('{name}', function(request, extra)\n{body}\nend)\nend }}"
    )
}

/// What a web server tells of its requests whose traces lie between heads and ends that all have.
fn between(told: &[String], method: &str, path: &str) -> Vec<String> {
    let at = |hook: &str| format!("{hook} {method} {path} nil");
    let mut rest = told.to_vec();
    assert_eq!(rest.pop(), Some(at("end_web_request")));
    let start: Vec<_> = rest.drain(..2).collect();
    assert_eq!(start, [at("start_web_request"), at("start_http_request")]);
    rest
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_verified() {
    let origin = Origin::saying("hi").await;
    let mut proxy = Proxy::start(&[origin.address], &[("verify_backend", "on")]);
    plug(&mut proxy, "Tracer", TRACER);
    let mut client = proxy.client().await;
    for verifies in [true, false] {
        assert_eq!(ask(&mut client, "/a").await.text(), "hi");
        let told = trace(&mut client).await;
        let written = format!("backend_write_verify OPTIONS * {}", origin.address);
        let at = told.iter().position(|line| *line == written);
        let expected = verifies.then_some("backend_readable_verify OPTIONS * 200");
        assert_eq!(at.and_then(|at| told.get(at + 1)).map(String::as_str), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plugins_verify_in_ways_of_their_own() {
    let cases = [
        ("backend_write_verify", "return true", 200, None),
        ("backend_write_verify", "return request:close()", 503, None),
        (
            "backend_write_verify",
            "request:set_uri('/up') request:set_header('X-From', request:service() or '-')",
            200,
            Some("OPTIONS /up HTTP/1.0\r\nConnection: keep-alive\r\nX-From: s\r\n\r\n"),
        ),
        (
            "backend_readable_verify",
            "if request:response_header('X-Free') == 'no' then return request:close() end",
            503,
            Some("OPTIONS * HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
        ),
    ];
    for (hook, body, status, verified) in cases {
        let origin = Origin::start(|request| {
            let is_asked = request.head.starts_with("OPTIONS");
            Some(if is_asked {
                b"HTTP/1.1 200 OK\r\nX-Free: no\r\nContent-Length: 0\r\n\r\n".to_vec()
            } else {
                ok("hi")
            })
        })
        .await;
        let mut proxy = Proxy::start(&[origin.address], &[("verify_backend", "on")]);
        plug(&mut proxy, "Own", &hooking(hook, body));
        assert_eq!(proxy.get("/").await.status(), status, "{hook} {body}");
        let seen = origin.seen();
        let first = seen.first().map(|request| request.head.as_str());
        let is_verified = first.filter(|head| head.starts_with("OPTIONS"));
        assert_eq!(is_verified, verified, "{hook} {body}");
    }
}

/// What is told of a request whose backend has named something, behind its answer's head and ahead of its end.
fn behind_answer(told: &[String]) -> Vec<&str> {
    let is_before = |line: &&str| !line.starts_with("backend_response_received");
    let told = told.iter().map(String::as_str);
    let mut rest: Vec<_> = told.skip_while(is_before).skip(1).collect();
    assert!(rest.pop().unwrap().starts_with("end_proxy_request"));
    rest
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_a_backend_names() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("f"), LETTERS).unwrap();
    std::fs::write(dir.path().join("other"), "other").unwrap();
    let file = dir.path().join("f").display().to_string();
    let origin = app(format!("X-REPROXY-FILE: {file}\r\n")).await;
    let mut proxy = Proxy::start(&[origin.address], &[("enable_reproxy", "on")]);
    plug(&mut proxy, "Tracer", TRACER);
    let mut client = proxy.client().await;
    assert_eq!(ask(&mut client, "/a").await.text(), LETTERS);
    let told = trace(&mut client).await;
    let started = format!("start_file_reproxy GET /a {file}");
    assert_eq!(behind_answer(&told), [&started, "reproxy_fh_finished GET /a nil"]);
    let path = "request:set_path((string.gsub(extra, 'f$', 'other')))";
    plug(&mut proxy, "Own", &hooking("start_file_reproxy", path));
    assert_eq!(ask(&mut client, "/a").await.text(), "other");
    let page = "return request:page(403, 'Not that one.')";
    plug(&mut proxy, "Own", &hooking("start_file_reproxy", page));
    let answer = ask(&mut client, "/a").await;
    assert_eq!(
        (answer.status(), answer.text()),
        (403, "<h1>403 - Forbidden</h1>\nNot that one.")
    );
    plug(
        &mut proxy,
        "Own",
        &hooking("start_file_reproxy", "return request:close()"),
    );
    client.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert_eq!(client.rest().await, b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_that_a_backend_names() {
    let target = target().await;
    let origin = app(format!("X-REPROXY-URL: http://{}/letters\r\n", target.address)).await;
    let mut proxy = Proxy::start(&[origin.address], &[("enable_reproxy", "on")]);
    plug(&mut proxy, "Tracer", TRACER);
    let mut client = proxy.client().await;
    assert_eq!(ask(&mut client, "/a").await.text(), LETTERS);
    let told = trace(&mut client).await;
    assert_eq!(behind_answer(&told), ["reproxy_response_received GET /a 200"]);
    let look = "return request:respond(200, {}, request:response_header('X-Target'))";
    plug(&mut proxy, "Own", &hooking("reproxy_response_received", look));
    assert_eq!(ask(&mut client, "/a").await.text(), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_a_backend_names() {
    let first = Origin::start(|_| Some(crate::reproxy::asking("200 OK", "X-REPROXY-SERVICE: t\r\n"))).await;
    let second = Origin::echo().await;
    let mut proxy = Proxy::start(&[first.address], &[("enable_reproxy", "on")]);
    proxy.change(crate::selecting::proxy("t", &second));
    plug(&mut proxy, "Tracer", TRACER);
    let other = |source: &str| {
        let set = |key: &str, value: &str| Change::Set {
            object: "t".to_owned(),
            key: key.to_owned(),
            value: value.to_owned(),
        };
        let mut changes = crate::plugins::pushed("Other", source);
        changes.push(set("plugins", "Other"));
        changes
    };
    let edits = "request:set_uri('/by/' .. request:service())";
    proxy.change(other(&hooking("start_proxy_request", edits)));
    let mut client = proxy.client().await;
    assert_eq!(ask(&mut client, "/a").await.text(), "/by/t");
    // The plugins of the service that asked for it are told of its end, and of nothing in between.
    assert!(behind_answer(&trace(&mut client).await).is_empty());
    let says = "return request:respond(200, {}, 'said by ' .. request:service())";
    proxy.change(other(&hooking("start_http_request", says)));
    assert_eq!(ask(&mut client, "/a").await.text(), "said by t");
    proxy.change(other(&hooking(
        "start_http_request",
        "return request:set_service('s')",
    )));
    let circle = ask(&mut client, "/a").await;
    assert_eq!(circle.status(), 500, "{}", circle.text());
    proxy.change(other(&hooking("start_http_request", "return request:close()")));
    client.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert_eq!(client.rest().await, b"");
}

fn files(root: &Path) -> Proxy {
    let settings = [
        ("enable_put", "on"),
        ("enable_concatenate_get", "on"),
        ("plugin_time_limit", "1000"),
    ];
    Proxy::over_files(1, root, &settings)
}

#[tokio::test(flavor = "multi_thread")]
async fn several_files_in_one_answer() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a", "b"] {
        std::fs::write(dir.path().join(name), name).unwrap();
    }
    let mut proxy = files(dir.path());
    plug(&mut proxy, "Tracer", TRACER);
    let mut client = proxy.client().await;
    assert_eq!(ask(&mut client, "/??a,b").await.text(), "ab");
    let told = between(&trace(&mut client).await, "GET", "/??a,b");
    let modified = told[0]
        .strip_prefix("concat_get_poststat_pre_send GET /??a,b ")
        .unwrap();
    assert!(modified.parse::<u64>().unwrap() > 1_000_000_000, "{modified}");
    assert_eq!(told[1..], ["modify_response_headers GET /??a,b 200"]);
    assert_eq!(ask(&mut client, "/??a,c").await.status(), 404);
    let told = between(&trace(&mut client).await, "GET", "/??a,c");
    assert_eq!(told, ["concat_get_poststat_file_missing GET /??a,c nil"]);
    for (hook, path) in [("pre_send", "/??a,b"), ("file_missing", "/??a,c")] {
        let hook = format!("concat_get_poststat_{hook}");
        let body = "return request:respond(200, {}, 'instead')";
        plug(&mut proxy, "Own", &hooking(&hook, body));
        assert_eq!(ask(&mut client, path).await.text(), "instead", "{hook}");
    }
}

async fn put(client: &mut Client, body: &str) -> (u16, String) {
    let length = body.len();
    let head = format!("PUT /f HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n");
    let answer = client.ask(&(head + body)).await;
    (answer.status(), answer.text().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_put() {
    let dir = tempfile::tempdir().unwrap();
    let mut proxy = files(dir.path());
    plug(&mut proxy, "Tracer", TRACER);
    let mut client = proxy.client().await;
    assert_eq!(put(&mut client, "text").await.0, 200);
    let told = between(&trace(&mut client).await, "PUT", "/f");
    assert_eq!(told, ["handle_put PUT /f nil", "put_writeout PUT /f nil"]);
    let instead = "return request:respond(200, {}, request:body() or 'nothing read')";
    plug(&mut proxy, "Own", &hooking("handle_put", instead));
    assert_eq!(
        put(&mut proxy.client().await, "other").await,
        (200, "nothing read".to_owned())
    );
    let looks = "if string.find(request:body(), 'virus') then return request:page(403, 'No.') end";
    plug(&mut proxy, "Own", &hooking("put_writeout", looks));
    assert_eq!(put(&mut proxy.client().await, "a virus").await.0, 403);
    let in_pieces = "x".repeat(200_000) + "virus";
    assert_eq!(put(&mut proxy.client().await, &in_pieces).await.0, 403);
    assert_eq!(std::fs::read_to_string(dir.path().join("f")).unwrap(), "text");
    assert_eq!(put(&mut proxy.client().await, "fine").await.0, 200);
    assert_eq!(std::fs::read_to_string(dir.path().join("f")).unwrap(), "fine");
    crate::fixture::until("nothing else is left there", || {
        std::fs::read_dir(dir.path()).unwrap().count() == 1
    })
    .await;
    proxy.change(vec![set("enable_put", "off")]);
    plug(&mut proxy, "Own", &hooking("handle_put", instead));
    assert_eq!(
        put(&mut proxy.client().await, "other").await.0,
        403,
        "it takes none"
    );
}
