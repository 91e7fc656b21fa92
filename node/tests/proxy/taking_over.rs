//! What a plugin's hook decides where it is asked: each of those that `hooks` and `plugins` only watch.

use crate::fixture::{Origin, Proxy};
use crate::hooks::hooking;
use crate::plugins::{ask, plug};

/// The one hook of that name, which says that; then `GET target`.
async fn told(proxy: &mut Proxy, hook: &str, body: &str, target: &str) -> (u16, String) {
    plug(proxy, "Own", &hooking(hook, body));
    let answer = ask(&mut proxy.client().await, target).await;
    (answer.status(), answer.text().to_owned())
}

const SAY: &str = "return request:respond(200, {}, 'said ' .. tostring(extra))";

#[tokio::test(flavor = "multi_thread")]
async fn of_a_proxied_request() {
    let origin = Origin::saying("hi").await;
    let mut proxy = Proxy::start(&[origin.address], &[]);
    let backend = format!("said {}", origin.address);
    for (hook, said) in [
        ("start_proxy_request", "said nil"),
        ("start_http_request", "said nil"),
        ("proxy_read_request", "said nil"),
        ("backend_client_assigned", backend.as_str()),
        ("backend_response_received", "said 200"),
    ] {
        let seen = origin.seen().len();
        assert_eq!(
            told(&mut proxy, hook, SAY, "/").await,
            (200, said.to_owned()),
            "{hook}"
        );
        let is_asked = hook == "backend_response_received";
        assert_eq!(origin.seen().len() - seen, usize::from(is_asked), "{hook}");
        let page = "return request:page(403, 'No.')";
        assert_eq!(told(&mut proxy, hook, page, "/").await.0, 403, "{hook}");
        // What fails takes nothing over.
        let fails = "error('on purpose')";
        assert_eq!(
            told(&mut proxy, hook, fails, "/").await,
            (200, "hi".to_owned()),
            "{hook}"
        );
    }
    // Of these the result is ignored.
    for hook in ["modify_response_headers", "prepend_body", "end_proxy_request"] {
        assert_eq!(
            told(&mut proxy, hook, SAY, "/").await,
            (200, "hi".to_owned()),
            "{hook}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_body_that_was_waited_for() {
    let origin = Origin::echo().await;
    let mut proxy = Proxy::start(&[origin.address], &[("buffer_backend_connect", "1000000")]);
    let looks = "if string.find(request:body(), 'virus') then return request:page(403, 'No.') end";
    plug(&mut proxy, "Own", &hooking("proxy_read_request", looks));
    for (body, status) in [("fine", 200), ("a virus", 403)] {
        let mut client = proxy.client().await;
        let head = format!(
            "POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let (first, rest) = body.split_at(2);
        client.send(head + first).await;
        client.send(rest).await;
        assert_eq!(client.response().await.status(), status, "{body}");
    }
    assert_eq!(origin.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_file() {
    let docroot = tempfile::tempdir().unwrap();
    std::fs::write(docroot.path().join("f"), "file").unwrap();
    std::fs::write(docroot.path().join("other"), "other").unwrap();
    let mut proxy = Proxy::over_files(1, docroot.path(), &[]);
    let file = || (200, "file".to_owned());
    for (hook, target, said) in [
        ("start_web_request", "/f", "said nil"),
        ("start_http_request", "/f", "said nil"),
        ("start_serve_request", "/%66", "said /f"),
        ("start_send_file", "/f", "said nil"),
        ("modify_response_headers", "/f", "said 200"),
        ("static_get_poststat_file_missing", "/none", "said nil"),
    ] {
        assert_eq!(
            told(&mut proxy, hook, SAY, target).await,
            (200, said.to_owned()),
            "{hook}"
        );
        let closes = hooking(hook, "return request:close()");
        plug(&mut proxy, "Own", &closes);
        let mut client = proxy.client().await;
        client
            .send(format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n"))
            .await;
        assert_eq!(client.rest().await, b"", "{hook}");
    }
    let older = "if extra > 1e9 then return request:respond(200, {}, 'it is there') end";
    let (status, text) = told(&mut proxy, "static_get_poststat_pre_send", older, "/f").await;
    assert_eq!((status, text.as_str()), (200, "it is there"));
    assert_eq!(
        told(&mut proxy, "static_get_poststat_pre_send", SAY, "/none")
            .await
            .0,
        404
    );
    assert_eq!(
        told(&mut proxy, "static_get_poststat_file_missing", SAY, "/f").await,
        file()
    );
    let path = "request:set_path('/other')";
    let (_, text) = told(&mut proxy, "start_serve_request", path, "/f").await;
    assert_eq!(text, "other");
    for hook in ["end_web_request", "return_to_base", "start_proxy_request"] {
        assert_eq!(told(&mut proxy, hook, SAY, "/f").await, file(), "{hook}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_missing_file_that_another_service_has() {
    let dir = tempfile::tempdir().unwrap();
    let origin = Origin::echo().await;
    let mut proxy = Proxy::over_files(1, dir.path(), &[]);
    proxy.change(crate::selecting::proxy("t", &origin));
    let elsewhere = "return request:set_service('t')";
    let (_, text) = told(
        &mut proxy,
        "static_get_poststat_file_missing",
        elsewhere,
        "/none?x",
    )
    .await;
    assert_eq!(text, "/none?x");
    let nowhere = "return request:set_service('nobody')";
    assert_eq!(
        told(&mut proxy, "static_get_poststat_file_missing", nowhere, "/none")
            .await
            .0,
        404
    );
}

#[test]
fn of_nothing_where_there_is_no_such_hook() {
    let place = fleetbal::plugin::lua::Place {
        service: crate::fixture::service(),
        role: None,
    };
    let name = fleetbal_raft::model::ScriptName::parse("Own").unwrap();
    let source = hooking("pre_event_loop", "return true");
    let refused = fleetbal::plugin::lua::check(&name, &source, &[place]).unwrap_err();
    assert!(refused.contains("there is no hook 'pre_event_loop'"), "{refused}");
}
