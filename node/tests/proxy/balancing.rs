//! Which backend gets a request, and what happens when one fails.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpListener;

use crate::fixture::{Client, Origin, Proxy, add, free_address, ok, remove, soon, until};

#[tokio::test(flavor = "multi_thread")]
async fn round_robin_goes_round() {
    let origins = [
        Origin::saying("a").await,
        Origin::saying("b").await,
        Origin::saying("c").await,
    ];
    let addresses: Vec<_> = origins.iter().map(|origin| origin.address).collect();
    let proxy = Proxy::start(&addresses, &[("balance_method", "round_robin")]);
    let mut client = proxy.client().await;
    let mut said = String::new();
    for _ in 0..9 {
        said += client.ask("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.text();
    }
    assert_eq!(said, "abcabcabc");
    assert!(origins.iter().all(|origin| origin.connections() == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn random_uses_the_hottest_connection_and_else_spreads() {
    let origins = [Origin::saying("a").await, Origin::saying("b").await];
    let addresses: Vec<_> = origins.iter().map(|origin| origin.address).collect();
    let proxy = Proxy::start(&addresses, &[]);
    let mut client = proxy.client().await;
    for _ in 0..10 {
        client.ask("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    }
    assert_eq!(origins[0].connections() + origins[1].connections(), 1);
    let proxy = Proxy::start(&addresses, &[("persist_backend", "off")]);
    let mut counts = BTreeMap::new();
    for _ in 0..200 {
        *counts.entry(proxy.get("/").await.text().to_owned()).or_insert(0) += 1;
    }
    assert!(counts.values().all(|count| *count > 50), "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_backend_costs_no_request() {
    for method in ["random", "round_robin"] {
        let live = Origin::saying("live").await;
        let dead = free_address();
        let settings = [("balance_method", method), ("persist_backend", "off")];
        let proxy = Proxy::start(&[dead, live.address], &settings);
        for _ in 0..50 {
            assert_eq!(proxy.get("/").await.text(), "live");
        }
        let view = proxy.view.load();
        let dead = &view.pool("p").unwrap().backends()[0];
        // It is barred after each failure, so most requests never try it.
        let failures = dead.connect_failures_total();
        assert!((1..10).contains(&failures), "{method}: {failures}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_is_503_and_the_connection_stays() {
    let address = free_address();
    let mut proxy = Proxy::start(&[address], &[]);
    let mut client = proxy.client().await;
    let response = client.ask("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert_eq!(response.status(), 503);
    assert_eq!(
        response.text(),
        "<h1>503 - Service Unavailable</h1>\nNo backend is available."
    );
    assert!(response.has("Server: fleetbal") && response.has("Connection: keep-alive"));
    // It is tried again, barred as it is, because there is no other.
    let origin = Origin::saying("back").await;
    proxy.change(vec![remove(address), add(origin.address)]);
    assert_eq!(
        client.ask("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.text(),
        "back"
    );
    proxy.change(vec![remove(origin.address)]);
    assert_eq!(
        client.ask("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.status(),
        503
    );
    let by_code = proxy.stats.service(&crate::fixture::service()).requests_by_code();
    assert_eq!(by_code, [(200, 1), (503, 2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_barred_backend_is_the_last_resort() {
    let address = free_address();
    let proxy = Proxy::start(&[address], &[]);
    assert_eq!(proxy.get("/").await.status(), 503);
    let listener = TcpListener::bind(address).await.unwrap();
    let accepted = tokio::spawn(async move { listener.accept().await.is_ok() });
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert!(soon(accepted).await.unwrap());
}

/// Answers the first request of each connection, and closes it when the next one comes.
async fn one_request_a_connection() -> (Origin, Arc<AtomicUsize>) {
    let dropped = Arc::new(AtomicUsize::new(0));
    let count = dropped.clone();
    let answered = Arc::new(std::sync::Mutex::new(std::collections::BTreeSet::new()));
    let origin = Origin::start(move |request| {
        if answered.lock().unwrap().insert(request.connection) {
            return Some(ok("fine"));
        }
        count.fetch_add(1, Ordering::Relaxed);
        None
    })
    .await;
    (origin, dropped)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_repeated_when_its_old_connection_dies() {
    let (origin, dropped) = one_request_a_connection().await;
    let proxy = Proxy::start(&[origin.address], &[]);
    let mut client = proxy.client().await;
    for method in ["GET", "GET", "OPTIONS", "GET"] {
        let response = client
            .ask(&format!("{method} / HTTP/1.1\r\nHost: h\r\n\r\n"))
            .await;
        assert_eq!((response.status(), response.text()), (200, "fine"));
    }
    assert_eq!(dropped.load(Ordering::Relaxed), 3);
    // What may have had an effect is not repeated.
    let post = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx";
    let response = client.ask(post).await;
    assert_eq!(response.status(), 502);
    assert_eq!(client.ask(post).await.status(), 200);
    let posts = origin
        .seen()
        .iter()
        .filter(|r| r.head.starts_with("POST"))
        .count();
    assert_eq!(posts, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_repeated_once_only() {
    let origin = Origin::start(|_| None).await;
    let proxy = Proxy::start(&[origin.address], &[]);
    assert_eq!(proxy.get("/").await.status(), 502);
    assert_eq!(origin.seen().len(), 2);
    assert_eq!(origin.connections(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_repeated_request_goes_to_another_backend() {
    let bad = Origin::start(|_| None).await;
    let good = Origin::saying("good").await;
    let proxy = Proxy::start(&[bad.address, good.address], &[("persist_backend", "off")]);
    for _ in 0..20 {
        assert_eq!(proxy.get("/").await.text(), "good");
    }
    assert!(!bad.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_502() {
    let origin = Origin::start(|_| Some(b"garbage\r\n\r\n".to_vec())).await;
    let proxy = Proxy::start(&[origin.address], &[]);
    let response = proxy.get("/").await;
    assert_eq!(response.status(), 502);
    assert_eq!(origin.seen().len(), 1, "it was answered, so it is not repeated");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_connections_of_a_removed_backend_close() {
    let old = Origin::saying("old").await;
    let new = Origin::saying("new").await;
    let mut proxy = Proxy::start(&[old.address], &[]);
    assert_eq!(proxy.get("/").await.text(), "old");
    assert_eq!(old.open.load(Ordering::Relaxed), 1);
    proxy.change(vec![add(new.address), remove(old.address)]);
    // Within a second, without any request.
    until("it is closed", || old.open.load(Ordering::Relaxed) == 0).await;
    assert_eq!(proxy.get("/").await.text(), "new");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_idle_connections_than_the_limit() {
    let listener = TcpListener::bind(free_address()).await.unwrap();
    let limit = [("backend_persist_cache", "1")];
    let proxy = Proxy::start(&[listener.local_addr().unwrap()], &limit);
    let mut clients = vec![proxy.client().await, proxy.client().await];
    let mut backends = Vec::new();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        let (io, _) = soon(listener.accept()).await.unwrap();
        let mut backend = Client {
            io,
            input: Vec::new(),
        };
        backend.head().await;
        backends.push(backend);
    }
    for (client, backend) in clients.iter_mut().zip(&mut backends) {
        backend.send(ok("x")).await;
        client.response().await;
    }
    assert!(!backends[1].more().await, "the second is one too many");
    let state = Arc::clone(&proxy.view.load().pool("p").unwrap().backends()[0]);
    until("one is left", || state.open_connections() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_connections_are_verified() {
    let origin = Origin::start(|request| {
        Some(if request.head.starts_with("OPTIONS") {
            ok("verified")
        } else {
            ok("served")
        })
    })
    .await;
    let settings = [("verify_backend", "on"), ("verify_backend_path", "/up")];
    let proxy = Proxy::start(&[origin.address], &settings);
    let mut client = proxy.client().await;
    for _ in 0..3 {
        assert_eq!(
            client.ask("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.text(),
            "served"
        );
    }
    let heads: Vec<_> = origin.seen().into_iter().map(|request| request.head).collect();
    assert_eq!(heads[0], "OPTIONS /up HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert!(
        heads[1..].iter().all(|head| head.starts_with("GET")),
        "once a connection"
    );
    assert_eq!(origin.connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_keeps_no_connection_is_not_verified_again() {
    let origin = Origin::start(|_| {
        Some(b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx".to_vec())
    })
    .await;
    let proxy = Proxy::start(&[origin.address], &[("verify_backend", "on")]);
    for _ in 0..3 {
        assert_eq!(proxy.get("/").await.text(), "x");
    }
    let options = origin
        .seen()
        .iter()
        .filter(|r| r.head.starts_with("OPTIONS"))
        .count();
    assert_eq!((options, origin.connections()), (1, 4));
}
