//! What goes through, what is edited, what is refused.

use crate::fixture::{Origin, Proxy, set, soon, until};

#[tokio::test(flavor = "multi_thread")]
async fn keeps_connections_on_both_sides() {
    let origin = Origin::echo().await;
    let proxy = Proxy::start(&[origin.address], &[]);
    let mut client = proxy.client().await;
    for n in 0..5 {
        let response = client.ask(&format!("GET /{n} HTTP/1.1\r\nHost: h\r\n\r\n")).await;
        assert_eq!(response.text(), format!("/{n}"));
        assert!(response.has("Connection: keep-alive") && response.has("Keep-Alive: timeout=30"));
    }
    assert_eq!(origin.connections(), 1);
    let head = &origin.seen()[4].head;
    let expected =
        "GET /4 HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 127.0.0.1\r\nConnection: keep-alive\r\n\r\n";
    assert_eq!(head, expected);
    // The client may have its answer before it is counted.
    until("five requests", || proxy.stats.requests_total() == 5).await;
    let view = proxy.view.load();
    let backend = &view.pool("p").unwrap().backends()[0];
    assert_eq!((backend.requests_total(), backend.connects_total()), (5, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn closes_by_default() {
    let origin = Origin::echo().await;
    let settings = [("persist_client", "off"), ("persist_backend", "off")];
    let proxy = Proxy::start(&[origin.address], &settings);
    for _ in 0..2 {
        let mut client = proxy.client().await;
        let response = client.ask("GET /a HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert!(response.has("Connection: close"));
        assert!(client.rest().await.is_empty());
    }
    assert_eq!(origin.connections(), 2);
    assert!(origin.seen()[0].head.contains("\r\nConnection: close\r\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_pipelined_requests_in_order() {
    let origin = Origin::echo().await;
    let proxy = Proxy::start(&[origin.address], &[]);
    let mut client = proxy.client().await;
    client
        .send(
            "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nPOST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc\r\n\
             GET /3 HTTP/1.1\r\nHost: h\r\n\r\nGET /4 HTTP/1.1\r\nHo",
        )
        .await;
    for expected in ["/1", "/2abc", "/3"] {
        assert_eq!(client.response().await.text(), expected);
    }
    client.send("st: h\r\n\r\n").await;
    assert_eq!(client.response().await.text(), "/4");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_thousands_that_were_sent_ahead() {
    let origin = Origin::echo().await;
    let proxy = Proxy::start(&[origin.address], &[]);
    let mut client = proxy.client().await;
    let requests: Vec<_> = (0..3000)
        .map(|n| format!("GET /{n} HTTP/1.1\r\nHost: h\r\n\r\n"))
        .collect();
    client.send(requests.concat()).await;
    for n in 0..3000 {
        assert_eq!(client.response().await.text(), format!("/{n}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn believes_whom_it_trusts() {
    let origin = Origin::echo().await;
    let mut proxy = Proxy::start(&[origin.address], &[]);
    let ask = "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 1.2.3.4\r\nX-Host: x\r\n\r\n";
    let expectations = [
        (vec![], "127.0.0.1", false),
        (
            vec![set("trusted_upstream_proxies", "10.0.0.0/8")],
            "127.0.0.1",
            false,
        ),
        (
            vec![set("trusted_upstream_proxies", "127.0.0.1")],
            "1.2.3.4, 127.0.0.1",
            true,
        ),
        (
            vec![set("blind_proxy", "on"), set("always_trusted", "on")],
            "1.2.3.4",
            true,
        ),
    ];
    let mut client = proxy.client().await;
    for (changes, expected, keeps_host) in expectations {
        proxy.change(changes);
        client.ask(ask).await;
        let head = origin.seen().pop().unwrap().head;
        assert!(
            head.contains(&format!("\r\nX-Forwarded-For: {expected}\r\n")),
            "{head}"
        );
        assert_eq!(head.contains("X-Host"), keeps_host);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_what_is_ambiguous_and_closes() {
    let origin = Origin::echo().await;
    let proxy = Proxy::start(&[origin.address], &[]);
    for (bad, status) in [
        (
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
            400,
        ),
        ("GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n c\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost : h\r\n\r\n", 400),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            400,
        ),
        ("CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n", 501),
        ("GET / HTTP/3.0\r\n\r\n", 505),
    ] {
        let mut client = proxy.client().await;
        let response = client
            .ask(&format!("{bad}GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"))
            .await;
        assert_eq!(response.status(), status, "{bad}");
        assert!(response.has("Connection: close") && response.has("Server: fleetbal"));
        assert!(client.rest().await.is_empty());
    }
    assert!(origin.seen().is_empty());
    assert_eq!(origin.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_chunk_after_the_head_went_out_is_answered_400() {
    let origin = Origin::echo().await;
    let proxy = Proxy::start(&[origin.address], &[]);
    let mut client = proxy.client().await;
    client
        .send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        .await;
    crate::fixture::until("the backend is asked", || origin.connections() == 1).await;
    let response = client.ask("3\r\nabcd").await;
    assert_eq!(response.status(), 400);
    assert!(client.rest().await.is_empty());
    assert!(origin.seen().is_empty(), "the backend never got a whole request");
}

#[tokio::test(flavor = "multi_thread")]
async fn old_clients_get_what_they_understand() {
    let origin = Origin::start(|request| {
        let chunked =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n";
        let short = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        let text = if request.head.contains("/chunked") {
            chunked
        } else {
            short
        };
        Some(text.as_bytes().to_vec())
    })
    .await;
    let proxy = Proxy::start(&[origin.address], &[]);
    let mut client = proxy.client().await;
    let response = client
        .ask("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        .await;
    assert!(response.has("Connection: keep-alive"));
    assert_eq!(response.text(), "ok");
    client
        .send("GET /chunked HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        .await;
    let head = client.head().await;
    assert!(
        head.contains("Connection: close") && !head.contains("chunked"),
        "{head}"
    );
    assert_eq!(client.rest().await, b"abcdefg");
    assert_eq!(
        proxy.get("/chunked").await.body,
        b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_without_a_body_keep_the_connection() {
    let origin = Origin::start(|request| {
        let text = match request.head.split(' ').nth(1).unwrap() {
            "/304" => "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
            "/204" => "HTTP/1.1 204 No Content\r\n\r\n",
            _ if request.head.starts_with("HEAD") => "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
            _ => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        };
        Some(text.as_bytes().to_vec())
    })
    .await;
    let proxy = Proxy::start(&[origin.address], &[]);
    let mut client = proxy.client().await;
    for request in ["HEAD /", "GET /304", "GET /204", "HEAD /"] {
        client
            .send(format!("{request} HTTP/1.1\r\nHost: h\r\n\r\n"))
            .await;
        let head = client.head().await;
        assert!(head.contains("keep-alive"), "{request}: {head}");
        assert!(client.input.is_empty());
    }
    assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.text(), "ok");
    assert_eq!(origin.connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_is_not_passed_on() {
    let origin = Origin::echo().await;
    let proxy = Proxy::start(&[origin.address], &[]);
    let mut client = proxy.client().await;
    let response = client
        .ask("GET /u HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n")
        .await;
    assert_eq!(response.text(), "/u");
    let head = origin.seen().pop().unwrap().head;
    assert!(
        !head.to_ascii_lowercase().contains("upgrade") && !head.contains("HTTP2"),
        "{head}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_may_trickle_in() {
    let origin = Origin::echo().await;
    let proxy = Proxy::start(&[origin.address], &[]);
    let mut client = proxy.client().await;
    client.io.set_nodelay(true).unwrap();
    for byte in b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nabcd" {
        client.send([*byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(soon(client.response()).await.text(), "/xabcd");
}
