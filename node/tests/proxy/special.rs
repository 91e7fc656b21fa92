//! What only some services do to what passes.

use fleetbal_raft::model::{Change, HeaderRule, Template};

use crate::fixture::{Origin, Proxy, service, set};

#[tokio::test(flavor = "multi_thread")]
async fn speaks_the_old_version_where_it_is_told_to() {
    let origin = Origin::echo().await;
    let mut proxy = Proxy::start(&[origin.address], &[("backend_http_version", "1.0")]);
    let mut client = proxy.client().await;
    let response = client
        .ask("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc")
        .await;
    assert_eq!((response.status(), response.text()), (200, "/aabc"));
    assert_eq!(
        origin.seen()[0].head,
        "POST /a HTTP/1.0\r\nHost: h\r\nContent-Length: 3\r\nX-Forwarded-For: 127.0.0.1\r\nConnection: keep-alive\r\n\r\n"
    );
    let chunked = "POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n";
    assert_eq!(client.ask(chunked).await.status(), 411);
    assert!(client.rest().await.is_empty());

    let mut client = proxy.client().await;
    proxy.change(vec![set("buffer_uploads", "on")]);
    assert_eq!(client.ask(chunked).await.text(), "/bx");
    proxy.change(vec![
        set("buffer_uploads", "off"),
        set("backend_http_version", "1.1"),
    ]);
    assert_eq!(client.ask(chunked).await.status(), 200);
    let seen = origin.seen();
    assert_eq!(seen.len(), 3, "what was refused did not get there");
    assert!(seen[1].head.starts_with("POST /b HTTP/1.0\r\n"));
    assert!(
        seen[1].head.contains("\r\nContent-Length: 1\r\n") && !seen[1].head.contains("Transfer-Encoding")
    );
    assert!(
        seen[2].head.starts_with("POST /b HTTP/1.1\r\n") && seen[2].head.contains("\r\nTransfer-Encoding")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tells_backends_that_they_may_reproxy() {
    let origin = Origin::saying("x").await;
    let mut proxy = Proxy::start(&[origin.address], &[("enable_reproxy", "on")]);
    let mut client = proxy.client().await;
    let ask = "GET / HTTP/1.1\r\nX-Proxy-Capabilities: none\r\nHost: h\r\n\r\n";
    assert_eq!(client.ask(ask).await.status(), 200);
    proxy.change(vec![set("enable_reproxy", "off")]);
    assert_eq!(client.ask(ask).await.status(), 200);
    let said = |at: usize| origin.seen()[at].head.clone();
    assert!(said(0).contains("\r\nX-Proxy-Capabilities: reproxy-file\r\n"));
    assert!(said(1).contains("\r\nX-Proxy-Capabilities: none\r\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn passes_reproxy_fields_on_where_nobody_may_reproxy() {
    let answer = "HTTP/1.1 200 OK\r\nX-REPROXY-FILE: /etc/hostname\r\nX-REPROXY-URL: http://127.0.0.1:1/\r\n\
                  Content-Length: 2\r\n\r\nhi";
    let origin = Origin::start(move |_| Some(answer.as_bytes().to_vec())).await;
    let proxy = Proxy::start(&[origin.address], &[]);
    let response = proxy.get("/").await;
    assert_eq!(response.text(), "hi");
    assert!(
        response.has("X-REPROXY-FILE: /etc/hostname") && response.has("X-REPROXY-URL: http://127.0.0.1:1/")
    );
}

fn header(name: &str, value: Option<&str>) -> Change {
    let name = name.to_owned();
    Change::Header {
        service: service(),
        rule: match value {
            Some(value) => HeaderRule::Insert {
                name,
                value: Template::parse(value).unwrap(),
            },
            None => HeaderRule::Remove { name },
        },
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn header_rules_hold_from_the_next_request_on() {
    let origin = Origin::saying("x").await;
    let mut proxy = Proxy::start(&[origin.address], &[]);
    let mut client = proxy.client().await;
    let ask = "GET / HTTP/1.1\r\nHost: h\r\nACCEPT-Encoding: gzip\r\nx-THERE: 1\r\n\r\n";
    client.ask(ask).await;
    proxy.change(vec![
        header("x-there", Some("0")),
        header("x-new", Some("1")),
        header("accept-encoding", None),
    ]);
    client.ask(ask).await;
    let heads: Vec<_> = origin.seen().into_iter().map(|request| request.head).collect();
    let end = "X-Forwarded-For: 127.0.0.1\r\nConnection: keep-alive\r\n";
    assert_eq!(heads[0], ask.replace("\r\n\r\n", &format!("\r\n{end}\r\n")));
    assert_eq!(
        heads[1],
        format!("GET / HTTP/1.1\r\nHost: h\r\nx-THERE: 0\r\n{end}x-new: 1\r\n\r\n")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_leads_to_one_backend() {
    let origins = [
        Origin::saying("0").await,
        Origin::saying("1").await,
        Origin::saying("2").await,
    ];
    let addresses: Vec<_> = origins.iter().map(|origin| origin.address).collect();
    let settings = [("balance_method", "hash"), ("hash_by", "cookie:sid")];
    let proxy = Proxy::start(&addresses, &settings);
    let mut chosen = std::collections::BTreeSet::new();
    for user in 0..40 {
        let ask = format!("GET / HTTP/1.1\r\nHost: h\r\nCookie: a=b; sid={user}; c=d\r\n\r\n");
        // On connections of their own: it is the cookie that counts.
        let first = proxy.client().await.ask(&ask).await;
        for _ in 0..2 {
            assert_eq!(proxy.client().await.ask(&ask).await.text(), first.text());
        }
        chosen.insert(first.text().to_owned());
    }
    assert_eq!(chosen.len(), 3, "nobody is left out: {chosen:?}");
}
