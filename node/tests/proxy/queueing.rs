//! Who waits for a backend, in which order, and for how long; over all workers.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fleetbal::role::Queue;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::fixture::{Client, Origin, Proxy, add, free_address, ok, remove, service, set, soon, until};

/// A backend with one process: it serves one connection, then the next. It verifies at once, and answers a request for
/// each permit.
struct Single {
    address: SocketAddr,
    /// The paths of its requests.
    seen: Arc<Mutex<Vec<String>>>,
    permits: Arc<Semaphore>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Single {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Single {
    async fn start() -> Self {
        let listener = TcpListener::bind(free_address()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, permits) = (Arc::<Mutex<Vec<String>>>::default(), Arc::new(Semaphore::new(0)));
        let (log, gate) = (seen.clone(), permits.clone());
        let task = tokio::spawn(async move {
            loop {
                let (io, _) = listener.accept().await.unwrap();
                serve(io, &log, &gate).await;
            }
        });
        Self {
            address,
            seen,
            permits,
            task,
        }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(io: tokio::net::TcpStream, log: &Mutex<Vec<String>>, gate: &Semaphore) {
    let mut io = Client {
        io,
        input: Vec::new(),
    };
    loop {
        while !io.input.windows(4).any(|w| w == b"\r\n\r\n") {
            if tokio::io::AsyncReadExt::read_buf(&mut io.io, &mut io.input)
                .await
                .unwrap_or(0)
                == 0
            {
                return;
            }
        }
        let head = io.head().await;
        if !head.starts_with("OPTIONS") {
            log.lock()
                .unwrap()
                .push(head.split(' ').nth(1).unwrap().to_owned());
            gate.acquire().await.unwrap().forget();
        }
        if io.io.write_all(&ok("x")).await.is_err() {
            return;
        }
    }
}

fn queue(proxy: &Proxy) -> Arc<Queue> {
    proxy.workers.queues().of(&service())
}

/// A client that has sent a GET.
async fn asking(proxy: &Proxy, path: &str) -> Client {
    let mut client = proxy.client().await;
    client
        .send(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"))
        .await;
    client
}

const VERIFY: (&str, &str) = ("verify_backend", "on");

/// One request is with the backend, so that all others wait.
async fn busy(proxy: &Proxy, backend: &Single) -> Client {
    let first = asking(proxy, "/first").await;
    until("the backend is busy", || backend.seen() == ["/first"]).await;
    first
}

#[tokio::test(flavor = "multi_thread")]
async fn the_order_of_priorities_holds_over_workers() {
    let backend = Single::start().await;
    let high = ("high_priority_uri_pattern", "^/high");
    let proxy = Proxy::start_with(2, &[backend.address], &[VERIFY, high]);
    let queue = queue(&proxy);
    let mut clients = vec![busy(&proxy, &backend).await];
    let mut expected = vec!["/first".to_owned()];
    for n in 0..12 {
        clients.push(asking(&proxy, &format!("/normal/{n}")).await);
        until("it waits", || queue.waiting() == n + 1).await;
    }
    for n in 0..12 {
        clients.push(asking(&proxy, &format!("/high/{n}")).await);
        until("it waits", || queue.waiting() == n + 13).await;
    }
    expected.extend((0..12).map(|n| format!("/high/{n}")));
    expected.extend((0..12).map(|n| format!("/normal/{n}")));
    let [high, normal, low] = queue.lengths(Instant::now() + Duration::from_secs(9));
    assert_eq!((high.count, normal.count, low.count), (12, 12, 0));
    assert!(normal.age >= high.age && high.age >= Duration::from_secs(9));
    backend.permits.add_permits(25);
    for client in &mut clients {
        assert_eq!(client.response().await.status(), 200);
    }
    assert_eq!(backend.seen(), expected);
    assert_eq!(queue.waiting(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_starves_behind_one_connection() {
    let backend = Single::start().await;
    backend.permits.add_permits(100_000);
    let proxy = Arc::new(Proxy::start_with(2, &[backend.address], &[VERIFY]));
    let mut clients = tokio::task::JoinSet::new();
    for n in 0..40 {
        let proxy = proxy.clone();
        clients.spawn(async move {
            let mut client = proxy.client().await;
            for m in 0..25 {
                let get = format!("GET /{n}/{m} HTTP/1.1\r\nHost: h\r\n\r\n");
                assert_eq!(client.ask(&get).await.status(), 200);
            }
        });
    }
    while let Some(ended) = soon(clients.join_next()).await {
        ended.unwrap();
    }
    assert_eq!(backend.seen().len(), 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_normal_queue_is_relieved() {
    let backend = Single::start().await;
    let settings = [
        VERIFY,
        ("high_priority_uri_pattern", "^/high"),
        ("queue_relief_size", "2"),
        ("queue_relief_chance", "100"),
    ];
    let proxy = Proxy::start_with(1, &[backend.address], &settings);
    let queue = queue(&proxy);
    let mut clients = vec![busy(&proxy, &backend).await];
    for (n, path) in ["/high/0", "/normal/0", "/normal/1", "/normal/2"]
        .iter()
        .enumerate()
    {
        clients.push(asking(&proxy, path).await);
        until("it waits", || queue.waiting() == n + 1).await;
    }
    backend.permits.add_permits(5);
    for client in &mut clients {
        assert_eq!(client.response().await.status(), 200);
    }
    // Passed over while two or more of normal priority wait.
    let expected = ["/first", "/normal/0", "/normal/1", "/high/0", "/normal/2"];
    assert_eq!(backend.seen(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_503_at_once() {
    let backend = Single::start().await;
    let proxy = Proxy::start_with(2, &[backend.address], &[VERIFY, ("queue_limit", "2")]);
    let queue = queue(&proxy);
    let mut clients = vec![busy(&proxy, &backend).await];
    for n in 0..2 {
        clients.push(asking(&proxy, "/waits").await);
        until("it waits", || queue.waiting() == n + 1).await;
    }
    let mut refused = proxy.client().await;
    let response = refused.ask("GET /no HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert_eq!(response.status(), 503);
    assert!(response.has("Retry-After: 5"), "{}", response.head);
    backend.permits.add_permits(4);
    for client in &mut clients {
        assert_eq!(client.response().await.status(), 200);
    }
    // Who was refused is still connected, and may ask again.
    let get = "GET /again HTTP/1.1\r\nHost: h\r\n\r\n";
    assert_eq!(refused.ask(get).await.status(), 200);
    assert!(!backend.seen().contains(&"/no".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_too_long_gets_503() {
    let backend = Single::start().await;
    let proxy = Proxy::start(&[backend.address], &[VERIFY, ("queue_timeout", "1")]);
    let queue = queue(&proxy);
    let mut first = busy(&proxy, &backend).await;
    let start = Instant::now();
    let response = asking(&proxy, "/no").await.response().await;
    assert_eq!(response.status(), 503);
    assert!(response.has("Retry-After: 5"));
    assert!(
        start.elapsed() > Duration::from_millis(900),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(queue.waiting(), 0);
    backend.permits.add_permits(1);
    assert_eq!(first.response().await.status(), 200);
    assert_eq!(backend.seen(), ["/first"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_a_backend_is_opened_at_a_time() {
    // It accepts, and verifies nothing.
    let mute = TcpListener::bind(free_address()).await.unwrap();
    let proxy = Proxy::start_with(2, &[mute.local_addr().unwrap()], &[VERIFY]);
    let queue = queue(&proxy);
    let mut clients = Vec::new();
    for n in 0..8 {
        clients.push(asking(&proxy, "/").await);
        until("it waits", || queue.waiting() == n + 1).await;
    }
    let opening = queue.openings();
    assert_eq!(opening.len(), 1);
    let (mut io, _) = soon(mute.accept()).await.unwrap();
    until("it is being verified", || opening[0].stage.is_verifying()).await;
    let another = tokio::time::timeout(Duration::from_millis(100), mute.accept()).await;
    assert!(another.is_err(), "there is another one");
    // Once it is verified, the next one is opened.
    soon(io.write_all(&ok(""))).await.unwrap();
    soon(mute.accept()).await.unwrap();
    assert_eq!(queue.waiting(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_idle_at_one_worker_serves_the_others() {
    for method in ["random", "round_robin"] {
        let origin = Origin::saying("x").await;
        let proxy = Proxy::start_with(4, &[origin.address], &[("balance_method", method)]);
        for n in 0..40 {
            assert_eq!(proxy.get(&format!("/{n}")).await.status(), 200);
            let queue = queue(&proxy);
            until("the connection is idle", || queue.connections().idle() == 1).await;
        }
        assert_eq!(origin.connections(), 1, "{method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_kept_connections_is_the_nodes() {
    let origin = Origin::start(|_| {
        std::thread::sleep(Duration::from_millis(2));
        Some(ok("x"))
    })
    .await;
    let proxy = Arc::new(Proxy::start_with(
        4,
        &[origin.address],
        &[("backend_persist_cache", "3")],
    ));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let proxy = proxy.clone();
        clients.spawn(async move { proxy.get("/").await.status() });
    }
    while let Some(status) = clients.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
    let queue = queue(&proxy);
    // One that was opened and not needed is closed some seconds later.
    until("all others are closed", || {
        (1..=3).contains(&queue.connections().open())
            && queue.connections().open() == queue.connections().idle()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_opened_ahead_and_replaced() {
    let origin = Origin::echo().await;
    let mut proxy = Proxy::start(&[origin.address], &[("connect_ahead", "2")]);
    let queue = queue(&proxy);
    until("two are open", || {
        origin.connections() == 2 && queue.connections().idle() == 2
    })
    .await;
    assert!(origin.seen().is_empty());
    assert_eq!(proxy.get("/a").await.text(), "/a");
    assert!(origin.seen()[0].connection < 2, "it was opened before");
    // The one that is idle again counts as well.
    until("two are idle", || queue.connections().idle() >= 2).await;
    proxy.change(vec![set("connect_ahead", "0"), remove(origin.address)]);
    until("none is kept", || queue.connections().open() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opened_connection_that_nobody_used_is_soon_too_old() {
    let origin = Origin::echo().await;
    let proxy = Proxy::start(&[origin.address], &[("connect_ahead", "1")]);
    until("a fresh one took its place", || origin.connections() >= 2).await;
    assert!(queue(&proxy).connections().open() <= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn those_that_are_told_to_close_soon_are_not_used() {
    let origin = Origin::start(|_| {
        Some(b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=2\r\nContent-Length: 1\r\n\r\nx".to_vec())
    })
    .await;
    let proxy = Proxy::start(&[origin.address], &[]);
    for _ in 0..3 {
        assert_eq!(proxy.get("/").await.status(), 200);
    }
    assert_eq!(origin.connections(), 3);
    let origin = Origin::start(|_| {
        Some(b"HTTP/1.1 200 OK\r\nKeep-Alive: max=9, timeout=60\r\nContent-Length: 1\r\n\r\nx".to_vec())
    })
    .await;
    let proxy = Proxy::start(&[origin.address], &[]);
    for _ in 0..3 {
        assert_eq!(proxy.get("/").await.status(), 200);
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_serves_no_more_requests_than_it_may() {
    let origin = Origin::saying("x").await;
    let proxy = Proxy::start(&[origin.address], &[("max_backend_uses", "2")]);
    for _ in 0..6 {
        assert_eq!(proxy.get("/").await.status(), 200);
    }
    let connections: Vec<_> = origin.seen().iter().map(|request| request.connection).collect();
    assert_eq!(connections, [0, 0, 1, 1, 2, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_who_wait_for_the_dead_are_told() {
    for method in ["random", "round_robin", "least_connections"] {
        let dead: Vec<_> = (0..3).map(|_| free_address()).collect();
        let proxy = Proxy::start_with(2, &dead, &[("balance_method", method)]);
        let mut clients = Vec::new();
        for _ in 0..10 {
            clients.push(asking(&proxy, "/").await);
        }
        for client in &mut clients {
            assert_eq!(client.response().await.status(), 503, "{method}");
        }
        assert_eq!(queue(&proxy).waiting(), 0);
        let listener = TcpListener::bind(dead[1]).await.unwrap();
        let served = asking(&proxy, "/").await;
        // Each was asked again, though all had just failed.
        let (mut io, _) = soon(listener.accept()).await.unwrap();
        soon(io.write_all(&ok("x"))).await.unwrap();
        let mut served = served;
        assert_eq!(served.response().await.status(), 200, "{method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_backend_that_is_removed_goes_to_another() {
    let mute = TcpListener::bind(free_address()).await.unwrap();
    let origin = Origin::saying("x").await;
    let address = mute.local_addr().unwrap();
    let mut proxy = Proxy::start(&[address], &[VERIFY, ("balance_method", "least_connections")]);
    let mut client = asking(&proxy, "/").await;
    let (_io, _) = soon(mute.accept()).await.unwrap();
    proxy.change(vec![add(origin.address), remove(address)]);
    assert_eq!(client.response().await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_is_tried_again_as_often_as_it_may() {
    let errors = Arc::new(Mutex::new(0));
    let counted = errors.clone();
    let origin = Origin::start(move |request| {
        let mut errors = counted.lock().unwrap();
        let is_error = request.head.contains("/always") || *errors < 2;
        *errors += u32::from(is_error);
        Some(if is_error {
            b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno".to_vec()
        } else {
            ok("yes")
        })
    })
    .await;
    let settings = [("enable_error_retries", "on"), ("error_retry_schedule", "0,.3")];
    let mut proxy = Proxy::start(&[origin.address], &settings);
    let mut client = proxy.client().await;
    let start = Instant::now();
    let response = client.ask("GET /now HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert_eq!((response.status(), response.text()), (200, "yes"));
    assert!(start.elapsed() >= Duration::from_millis(300));
    let connections: Vec<_> = origin.seen().iter().map(|request| request.connection).collect();
    assert_eq!(connections, [0, 1, 2], "each error closed its connection");
    // The budget is each request's.
    let response = client.ask("GET /always HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert_eq!((response.status(), response.text()), (500, "no"));
    assert_eq!(origin.seen().len(), 6);
    // Not what may have had an effect.
    let post = "POST /always HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx";
    assert_eq!(client.ask(post).await.status(), 500);
    assert_eq!(
        client
            .ask("DELETE /always HTTP/1.1\r\nHost: h\r\n\r\n")
            .await
            .status(),
        500
    );
    assert_eq!(origin.seen().len(), 8);
    proxy.change(vec![set("enable_error_retries", "off")]);
    assert_eq!(
        client
            .ask("GET /always HTTP/1.1\r\nHost: h\r\n\r\n")
            .await
            .status(),
        500
    );
    assert_eq!(origin.seen().len(), 9);
}

/// In which order those are asked for that wait for the backend, with a hook in Lua that is true for `/chosen`.
async fn order(hook: &str, paths: &[&str]) -> Vec<String> {
    let backend = Single::start().await;
    let mut proxy = Proxy::start_with(1, &[backend.address], &[VERIFY]);
    let is_chosen = "return request:uri() == '/chosen'";
    crate::plugins::plug(&mut proxy, "Own", &crate::hooks::hooking(hook, is_chosen));
    let queue = queue(&proxy);
    let mut clients = vec![busy(&proxy, &backend).await];
    for (n, path) in paths.iter().enumerate() {
        clients.push(asking(&proxy, path).await);
        until("it waits", || queue.waiting() == n + 1).await;
    }
    backend.permits.add_permits(clients.len());
    for client in &mut clients {
        assert_eq!(client.response().await.status(), 200);
    }
    backend.seen().split_off(1)
}

#[tokio::test(flavor = "multi_thread")]
async fn plugins_choose_a_place_among_those_who_wait() {
    let paths = ["/1", "/chosen", "/3"];
    assert_eq!(order("make_high_priority", &paths).await, ["/chosen", "/1", "/3"]);
    assert_eq!(order("make_low_priority", &paths).await, ["/1", "/3", "/chosen"]);
}
