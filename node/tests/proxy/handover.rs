//! Reproxying: the cache, other services, and limits.

use std::time::{Duration, Instant};

use fleetbal_raft::model::{BackendAddress, Change, HeaderRule, PoolName, ServiceName, Template};

use crate::fixture::{Origin, PATIENCE, Proxy, free_address, ok, service, set, soon, until};
use crate::reproxy::{LETTERS, app, asking, get, target};

/// Changes that make a service of this role, with a pool of its own.
fn another(name: &str, role: &str, backend: &Origin) -> Vec<Change> {
    let pool = PoolName::parse(&format!("{name}_pool")).unwrap();
    let set = |key: &str, value: &str| Change::Set {
        object: name.into(),
        key: key.into(),
        value: value.into(),
    };
    let mut changes = vec![
        Change::CreatePool(pool.clone()),
        Change::PoolAdd {
            pool: pool.clone(),
            backend: BackendAddress::parse(&backend.address.to_string()).unwrap(),
            weight: 1,
        },
        Change::CreateService(ServiceName::parse(name).unwrap()),
        set("role", role),
    ];
    if role == "reverse_proxy" {
        changes.push(set("pool", pool.as_str()));
    }
    changes
}

fn figures(proxy: &Proxy) -> (usize, u64, u64) {
    let view = proxy.view.load();
    let rules = view.service("s").unwrap().settings.reproxy.cache();
    let figures = proxy.workers.reproxy().cache(&service()).figures(rules);
    (figures.size, figures.hits, figures.lookups)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_cache_knows_needs_no_backend() {
    let target = target().await;
    let modified = "Last-Modified: Tue, 24 Nov 2026 10:00:00 GMT\r\n";
    let origin = app(format!(
        "X-REPROXY-URL: http://{}/letters\r\nX-REPROXY-CACHE-FOR: 600; Content-Type Last-Modified\r\n\
         Content-Type: text/x\r\n{modified}",
        target.address
    ))
    .await;
    let settings = [("enable_reproxy", "on"), ("reproxy_cache_maxsize", "2")];
    let mut proxy = Proxy::start(&[origin.address], &settings);
    let mut client = proxy.client().await;
    assert_eq!(client.ask(&get("/a", "")).await.text(), LETTERS);
    let known = client.ask(&get("/a", "")).await;
    assert_eq!((known.status(), known.text()), (200, LETTERS));
    assert!(known.has("Content-Type: text/x") && known.head.contains("\r\nDate: ") && !known.has("X-Own: 1"));
    let part = client.ask(&get("/a", "Range: bytes=2-4\r\n")).await;
    assert_eq!((part.status(), part.text()), (206, "cde"));
    let asked = target.seen().len();
    let since = modified.replace("Last-Modified", "If-Modified-Since");
    assert_eq!(client.ask(&get("/a", &since)).await.status(), 304);
    assert_eq!(target.seen().len(), asked, "nothing is fetched");
    assert_eq!(
        client
            .ask(&get("/a", "If-Modified-Since: never\r\n"))
            .await
            .status(),
        200
    );
    assert_eq!(origin.seen().len(), 1);
    assert_eq!(figures(&proxy), (1, 4, 5));
    // Another host is another answer; a body is never answered without the backend.
    client.ask("GET /a HTTP/1.1\r\nHost: other\r\n\r\n").await;
    client
        .ask("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx")
        .await;
    assert_eq!(origin.seen().len(), 3);
    // The one that was used longest ago goes: that of the other host comes before it.
    client.ask(&get("/a", "")).await;
    client.ask(&get("/b", "")).await;
    assert_eq!(origin.seen().len(), 4);
    client.ask(&get("/a", "")).await;
    assert_eq!(origin.seen().len(), 4);
    client.ask("GET /a HTTP/1.1\r\nHost: other\r\n\r\n").await;
    assert_eq!(origin.seen().len(), 5);
    // Without a cache everything is the backend's again.
    proxy.change(vec![set("reproxy_cache_maxsize", "0")]);
    client.ask(&get("/a", "")).await;
    assert_eq!(origin.seen().len(), 6);
    let stats = proxy.stats.service(&service());
    until("no request is in flight", || stats.requests_in_flight() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_out_of_date_is_asked_for_again() {
    let target = target().await;
    let origin = app(format!(
        "X-REPROXY-URL: http://{}/letters\r\nX-REPROXY-CACHE-FOR: 1\r\n",
        target.address
    ))
    .await;
    let settings = [("enable_reproxy", "on"), ("reproxy_cache_maxsize", "2")];
    let proxy = Proxy::start(&[origin.address], &settings);
    let began = Instant::now();
    proxy.get("/").await;
    while origin.seen().len() < 2 {
        assert!(began.elapsed() < PATIENCE, "it is never asked again");
        assert_eq!(proxy.get("/").await.text(), LETTERS);
    }
    assert!(began.elapsed() >= Duration::from_secs(1), "it was kept");
    assert!(figures(&proxy).1 > 0, "and used");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_is_forgotten() {
    let target = target().await;
    let origin = app(format!(
        "X-REPROXY-URL: http://{}/letters\r\nX-REPROXY-CACHE-FOR: 600\r\n",
        target.address
    ))
    .await;
    let settings = [("enable_reproxy", "on"), ("reproxy_cache_maxsize", "2")];
    let proxy = Proxy::start(&[origin.address], &settings);
    let mut client = proxy.client().await;
    assert_eq!(client.ask(&get("/", "")).await.status(), 200);
    drop(target);
    until("the target's connection is gone", || {
        proxy.workers.reproxy().targets.figures().is_empty()
    })
    .await;
    assert_eq!(client.ask(&get("/", "")).await.status(), 503);
    assert_eq!(origin.seen().len(), 1);
    assert_eq!(figures(&proxy).0, 0);
    assert_eq!(client.ask(&get("/plain", "")).await.text(), "plain");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_service_answers_by_its_own_rules() {
    let other = Origin::echo().await;
    let origin = app("X-REPROXY-SERVICE: T\r\n".into()).await;
    let settings = [("enable_reproxy", "on"), ("always_trusted", "on")];
    let mut proxy = Proxy::start(&[origin.address], &settings);
    let mut changes = another("t", "reverse_proxy", &other);
    changes.push(Change::Header {
        service: ServiceName::parse("t").unwrap(),
        rule: HeaderRule::Insert {
            name: "x-new".into(),
            value: Template::parse("1").unwrap(),
        },
    });
    proxy.change(changes);
    let mut client = proxy.client().await;
    let asked = get("/a?b", "X-Forwarded-For: 1.2.3.4\r\nA: 1\r\n");
    let both = [asked.clone(), get("/plain", "")].concat();
    client.send(both).await;
    let response = client.response().await;
    assert_eq!((response.status(), response.text()), (200, "/a?b"));
    assert!(
        response.has("Connection: keep-alive"),
        "the outer service says that"
    );
    assert_eq!(client.response().await.text(), "plain");
    let got = other.seen()[0].head.clone();
    assert!(
        got.starts_with("GET /a?b HTTP/1.1\r\nHost: h\r\nA: 1\r\n"),
        "{got}"
    );
    assert!(got.contains("\r\nX-Forwarded-For: 127.0.0.1\r\n") && got.contains("\r\nx-new: 1\r\n"));
    assert!(
        !got.contains("X-Proxy-Capabilities"),
        "that is the outer service's"
    );
    // Its connections are its own, and so are its counters.
    assert_eq!(client.ask(&get("/c", "")).await.text(), "/c");
    let counted = |name: &str| {
        let stats = proxy.stats.service(&ServiceName::parse(name).unwrap());
        let all: u64 = stats.requests_by_code().iter().map(|(_, count)| count).sum();
        (stats.requests_total(), all, stats.requests_in_flight())
    };
    until("who answers counts", || {
        (counted("s"), counted("t")) == ((1, 1, 0), (2, 2, 0))
    })
    .await;
    proxy.change(vec![set("persist_client", "off")]);
    assert!(client.ask(&get("/d", "")).await.has("Connection: close"));
    assert!(client.rest().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn not_every_service_can_answer() {
    let origin = Origin::start(|request| {
        let name = &request.head.split(' ').nth(1).unwrap()[1..];
        Some(asking("200 OK", &format!("X-REPROXY-SERVICE: {name}\r\n")))
    })
    .await;
    let mut proxy = Proxy::start(&[origin.address], &[("enable_reproxy", "on")]);
    let mut changes = another("m", "management", &origin);
    changes.extend(another("u", "upload_tracker", &origin));
    proxy.change(changes);
    let mut client = proxy.client().await;
    for (name, status, text) in [
        ("none", 404, "Vhost twiddling not configured for requested pair."),
        (
            "no-name",
            404,
            "Vhost twiddling not configured for requested pair.",
        ),
        ("m", 500, "Can't map to service type management"),
        ("u", 500, "Can't map to service type upload_tracker"),
    ] {
        let response = client.ask(&get(&format!("/{name}"), "")).await;
        assert_eq!(response.status(), status, "{name}");
        assert!(response.text().ends_with(text), "{name}: {}", response.text());
    }
    let posted = client
        .ask("POST /s HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx")
        .await;
    assert_eq!(posted.status(), 500);
    let before = origin.seen().len();
    let circle = client.ask(&get("/s", "")).await;
    assert_eq!(circle.status(), 500);
    assert!(circle.text().contains("without end"));
    assert_eq!(origin.seen().len(), before + 6);
    assert_eq!(client.ask(&get("/none", "")).await.status(), 404, "it stays open");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_connections_to_a_target_than_allowed() {
    let hold = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let shared = hold.clone();
    let target = Origin::start(move |_| {
        // In place, so that no other task waits for this thread.
        tokio::task::block_in_place(|| {
            while shared.load(std::sync::atomic::Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Some(ok("x"))
    })
    .await;
    let origin = app(format!("X-REPROXY-URL: http://{}/\r\n", target.address)).await;
    let mut proxy = Proxy::start_with(2, &[origin.address], &[("enable_reproxy", "on")]);
    proxy.change(vec![Change::SetReproxyLimit {
        target: None,
        limit: 1,
    }]);
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = proxy.client().await;
        client.send(get("/", "")).await;
        clients.push(client);
    }
    let targets = &proxy.workers.reproxy().targets;
    until("all but one wait", || {
        targets.figures().iter().any(|of| of.waiting == 3)
    })
    .await;
    hold.store(false, std::sync::atomic::Ordering::Relaxed);
    for client in &mut clients {
        assert_eq!(soon(client.response()).await.text(), "x");
    }
    assert_eq!(target.connections(), 1);
    // Nobody is there: all are told.
    let nobody = app(format!("X-REPROXY-URL: http://{}/\r\n", free_address())).await;
    proxy.change(vec![
        crate::fixture::add(nobody.address),
        crate::fixture::remove(origin.address),
    ]);
    assert_eq!(proxy.get("/").await.status(), 503);
}
