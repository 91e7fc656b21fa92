//! Configuration changes, listeners, timeouts and drains while clients are there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fleetbal::sockets::Sockets;
use tokio::net::{TcpListener, TcpStream};

use crate::fixture::{
    Client, Origin, Proxy, add, enable, free_address, ok, remove, service, set, soon, until,
};

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn changes_under_load_fail_no_request() {
    let origins = [
        Origin::saying("a").await,
        Origin::saying("b").await,
        Origin::saying("c").await,
    ];
    let addresses: Vec<_> = origins.iter().map(|origin| origin.address).collect();
    let mut proxy = Proxy::start_with(2, &addresses, &[]);
    let stop = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicUsize::new(0));
    let mut clients = tokio::task::JoinSet::new();
    for kind in 0..6 {
        let (stop, answered, address) = (stop.clone(), answered.clone(), proxy.address);
        clients.spawn(async move {
            let mut client = Client::to(address).await;
            while !stop.load(Ordering::Relaxed) {
                let response = if kind % 2 == 0 {
                    client.ask(GET).await
                } else {
                    client
                        .ask("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody")
                        .await
                };
                assert_eq!(response.status(), 200, "{response:?}");
                answered.fetch_add(1, Ordering::Relaxed);
                if response.has("Connection: close") {
                    client = Client::to(address).await;
                }
            }
        });
    }
    for round in 0..60 {
        let before = answered.load(Ordering::Relaxed);
        let away = addresses[round % 3];
        let method = ["random", "round_robin"][round % 2];
        proxy.change(vec![remove(away), set("balance_method", method)]);
        until("requests go on", || {
            answered.load(Ordering::Relaxed) > before + 20
        })
        .await;
        let persist = ["on", "off"][round / 2 % 2];
        proxy.change(vec![
            add(away),
            set("persist_backend", persist),
            set("persist_client", persist),
        ]);
        until("requests go on", || {
            answered.load(Ordering::Relaxed) > before + 40
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    assert!(origins.iter().all(|origin| !origin.seen().is_empty()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_ends_by_the_rules_it_began_with() {
    let listener = TcpListener::bind(free_address()).await.unwrap();
    let backend = listener.local_addr().unwrap();
    let mut proxy = Proxy::start(&[backend], &[]);
    let mut client = proxy.client().await;
    client.send(GET).await;
    let (io, _) = soon(listener.accept()).await.unwrap();
    let mut origin = Client {
        io,
        input: Vec::new(),
    };
    origin.head().await;
    proxy.change(vec![remove(backend), enable(false)]);
    proxy.workers.close(&service());
    origin.send(ok("still")).await;
    let response = client.response().await;
    assert_eq!(response.text(), "still");
    assert!(response.has("Connection: keep-alive"));
    assert!(
        !origin.more().await,
        "the backend is gone, so its connection is closed"
    );
    let response = client.ask(GET).await;
    assert_eq!(
        (response.status(), response.has("Connection: close")),
        (503, true)
    );
    assert!(response.text().ends_with("The service is disabled."));
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_open_move_and_close() {
    let origin = Origin::saying("x").await;
    let mut proxy = Proxy::start_with(2, &[origin.address], &[]);
    assert_eq!(proxy.workers.address(&service()), Some(proxy.address));
    // Again is no error.
    proxy
        .workers
        .open(&service(), proxy.address, &Sockets::default())
        .unwrap();
    // A taken address is one, and leaves everything as it was.
    let taken = TcpListener::bind(free_address()).await.unwrap();
    let error = proxy
        .workers
        .open(&service(), taken.local_addr().unwrap(), &Sockets::default())
        .unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    assert_eq!(proxy.get("/").await.text(), "x");
    // Also one that another service has.
    let other = fleetbal_raft::model::ServiceName::parse("other").unwrap();
    let error = proxy
        .workers
        .open(&other, proxy.address, &Sockets::default())
        .unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    let old = std::mem::replace(&mut proxy.address, free_address());
    proxy
        .workers
        .open(&service(), proxy.address, &Sockets::default())
        .unwrap();
    assert_eq!(proxy.get("/").await.text(), "x");
    let give_up = Instant::now() + crate::fixture::PATIENCE;
    while TcpStream::connect(old).await.is_ok() {
        assert!(Instant::now() < give_up, "the old address is still open");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // Closed and opened again at once.
    for _ in 0..10 {
        proxy.workers.close(&service());
        proxy
            .workers
            .open(&service(), proxy.address, &Sockets::default())
            .unwrap();
        assert_eq!(proxy.get("/").await.text(), "x");
    }
    proxy.workers.close(&service());
    assert_eq!(proxy.workers.address(&service()), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_finishes_what_is_in_flight() {
    let listener = TcpListener::bind(free_address()).await.unwrap();
    let proxy = Arc::new(Proxy::start_with(2, &[listener.local_addr().unwrap()], &[]));
    let mut busy = proxy.client().await;
    busy.send(GET).await;
    let (io, _) = soon(listener.accept()).await.unwrap();
    let mut origin = Client {
        io,
        input: Vec::new(),
    };
    origin.head().await;
    let mut idle = proxy.client().await;
    until("both are there", || proxy.stats.open_connections() == 2).await;
    assert!(
        !proxy.workers.drain(Some(Duration::from_millis(50))).await,
        "they are still there"
    );
    let drained = tokio::spawn({
        let proxy = proxy.clone();
        async move { proxy.workers.drain(None).await }
    });
    let give_up = Instant::now() + crate::fixture::PATIENCE;
    while TcpStream::connect(proxy.address).await.is_ok() {
        assert!(Instant::now() < give_up, "it still accepts");
    }
    origin.send(ok("busy")).await;
    let response = busy.response().await;
    assert_eq!(
        (response.text(), response.has("Connection: close")),
        ("busy", true)
    );
    assert!(!drained.is_finished());
    // A connection that was idle is served once more.
    idle.send(GET).await;
    // On the connection that is kept, or on another, if another worker serves it.
    let serve = async {
        let other = tokio::select! {
            accepted = listener.accept() => Some(accepted.unwrap().0),
            more = origin.more() => { assert!(more); None }
        };
        if let Some(io) = other {
            origin = Client {
                io,
                input: Vec::new(),
            };
        }
        origin.head().await;
        origin.send(ok("idle")).await;
    };
    soon(serve).await;
    let response = idle.response().await;
    assert_eq!(
        (response.text(), response.has("Connection: close")),
        ("idle", true)
    );
    assert!(soon(drained).await.unwrap());
    assert_eq!(proxy.stats.open_connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_client_is_closed_in_time() {
    let origin = Origin::saying("x").await;
    let proxy = Proxy::start(&[origin.address], &[("persist_client_idle_timeout", "1")]);
    let mut client = proxy.client().await;
    assert!(client.ask(GET).await.has("Keep-Alive: timeout=1"));
    let start = Instant::now();
    assert!(client.rest().await.is_empty());
    let waited = start.elapsed();
    assert!(
        waited > Duration::from_millis(900) && waited < Duration::from_secs(5),
        "{waited:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_backend_is_504_and_half_a_request_408() {
    let listener = TcpListener::bind(free_address()).await.unwrap();
    let proxy = Proxy::start(&[listener.local_addr().unwrap()], &[("idle_timeout", "1")]);
    let mut waiting = proxy.client().await;
    let mut half = proxy.client().await;
    let mut silent = proxy.client().await;
    waiting.send(GET).await;
    half.send("GET / HT").await;
    let (_backend, _) = soon(listener.accept()).await.unwrap();
    assert_eq!(waiting.response().await.status(), 504);
    assert_eq!(half.response().await.status(), 408);
    assert!(silent.rest().await.is_empty(), "who asks nothing gets no answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_over_two_workers() {
    let origin = Origin::echo().await;
    let proxy = Arc::new(Proxy::start_with(2, &[origin.address], &[]));
    let mut clients = tokio::task::JoinSet::new();
    for n in 0..100 {
        let proxy = proxy.clone();
        clients.spawn(async move {
            let mut client = proxy.client().await;
            for m in 0..20 {
                let path = format!("/{n}/{m}");
                let response = client
                    .ask(&format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"))
                    .await;
                assert_eq!(response.text(), path);
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    until("all are counted", || proxy.stats.requests_total() == 2000).await;
    until("all are gone", || proxy.stats.open_connections() == 0).await;
    assert_eq!(proxy.stats.service(&service()).requests_in_flight(), 0);
}
