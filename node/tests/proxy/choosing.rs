//! How each balance method shares requests out, with real backends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fleetbal_raft::model::BalanceMethod;
use tokio::net::TcpListener;

use crate::fixture::{
    Client, Origin, Proxy, Response, add_weighing, drain, free_address, ok, remove, soon, until,
};

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

async fn origins(count: usize) -> Vec<Origin> {
    let mut origins = Vec::new();
    for _ in 0..count {
        origins.push(Origin::saying("x").await);
    }
    origins
}

/// A proxy of two workers over backends of these weights.
fn proxy(origins: &[Origin], weights: &[u32], settings: &[(&str, &str)]) -> Proxy {
    let addresses: Vec<_> = origins.iter().map(|origin| origin.address).collect();
    let mut proxy = Proxy::start_with(2, &addresses, settings);
    let again = addresses.iter().zip(weights);
    proxy.change(
        again
            .map(|(address, weight)| add_weighing(*address, *weight))
            .collect(),
    );
    proxy
}

/// Some clients send so many requests each, one after the other. All are answered.
async fn load(address: SocketAddr, clients: usize, requests: usize) {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..clients {
        tasks.spawn(async move {
            let mut client = Client::to(address).await;
            for _ in 0..requests {
                assert_eq!(client.ask(GET).await.status(), 200);
            }
        });
    }
    soon(tasks.join_all()).await;
}

fn requests(origins: &[Origin]) -> Vec<usize> {
    origins.iter().map(|origin| origin.seen().len()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_share_requests_out() {
    for (method, slack) in [("round_robin", 0), ("weighted", 70), ("least_connections", 70)] {
        let origins = origins(3).await;
        let proxy = proxy(&origins, &[1, 2, 5], &[("balance_method", method)]);
        // One after the other for `least_connections`, as it takes more to tell what many at once should do.
        let clients = if method == "least_connections" { 1 } else { 4 };
        load(proxy.address, clients, 640 / clients).await;
        let seen = requests(&origins);
        for (seen, weight) in seen.iter().zip([1, 2, 5]) {
            assert!(
                seen.abs_diff(80 * weight) <= slack,
                "{method}: {seen} of weight {weight}"
            );
        }
        // One goes: the others share its part by their weights.
        let mut proxy = proxy;
        proxy.change(vec![remove(origins[2].address)]);
        load(proxy.address, clients, 300 / clients).await;
        let more: Vec<_> = requests(&origins)
            .iter()
            .zip(&seen)
            .map(|(now, then)| now - then)
            .collect();
        assert_eq!(more[2], 0);
        assert!(more[0].abs_diff(100) <= slack.max(1), "{method}: {more:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn least_connections_evens_out_what_is_in_flight() {
    let mut listeners = Vec::new();
    for _ in 0..3 {
        listeners.push(TcpListener::bind(free_address()).await.unwrap());
    }
    let addresses: Vec<_> = listeners.iter().map(|l| l.local_addr().unwrap()).collect();
    let mut proxy = Proxy::start_with(2, &addresses, &[("balance_method", "least_connections")]);
    let weights = addresses.iter().zip([1, 2, 3]);
    proxy.change(
        weights
            .map(|(address, weight)| add_weighing(*address, weight))
            .collect(),
    );
    // Nobody answers, so each request stays in flight.
    let (mut clients, mut taken, mut counts) = (Vec::new(), Vec::new(), [0; 3]);
    for _ in 0..12 {
        let mut client = proxy.client().await;
        client.send(GET).await;
        clients.push(client);
        let [one, two, three] = &listeners[..] else {
            panic!("three were started");
        };
        let (at, io) = tokio::select! {
            io = soon(one.accept()) => (0, io),
            io = soon(two.accept()) => (1, io),
            io = soon(three.accept()) => (2, io),
        };
        let mut backend = Client {
            io: io.unwrap().0,
            input: Vec::new(),
        };
        backend.head().await;
        counts[at] += 1;
        taken.push(backend);
    }
    assert_eq!(counts, [2, 4, 6]);
    // What nobody answers any more is in flight no more.
    drop((listeners, taken, clients));
    let pool = Arc::clone(proxy.view.load().pool("p").unwrap());
    until("nothing is in flight", || {
        pool.backends().iter().all(|backend| backend.in_flight() == 0)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn response_time_keeps_away_from_a_slow_backend() {
    let slow = Arc::new(AtomicBool::new(true));
    let is_slow = Arc::clone(&slow);
    let origins = vec![
        Origin::saying("x").await,
        Origin::start(move |_| {
            if is_slow.load(Ordering::Relaxed) {
                // It really is.
                tokio::task::block_in_place(|| std::thread::sleep(Duration::from_millis(100)));
            }
            Some(ok("x"))
        })
        .await,
        Origin::saying("x").await,
    ];
    let proxy = proxy(&origins, &[1, 1, 1], &[("balance_method", "response_time")]);
    load(proxy.address, 4, 100).await;
    let seen = requests(&origins);
    // At random it would get 133, and a third of the clients would always be waiting for it.
    assert!((1..40).contains(&seen[1]), "{seen:?}");
    assert!(seen[0] > 60 && seen[2] > 60, "{seen:?}");
    // A backend that is new gets its part at once.
    let fresh = Origin::saying("x").await;
    let mut proxy = proxy;
    proxy.change(vec![add_weighing(fresh.address, 1)]);
    load(proxy.address, 4, 50).await;
    assert!(fresh.seen().len() > 20, "{}", fresh.seen().len());
}

fn loaded(header: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n{header}\r\n\r\nx").into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn reported_load_keeps_away_from_a_loaded_backend() {
    let orca = [
        "Endpoint-Load-Metrics: TEXT cpu_utilization=0.2, mem_utilization=0.9",
        r#"endpoint-load-metrics: JSON {"cpu_utilization": 0.95}"#,
        "endpoint-load-metrics: TEXT application_utilization=0.2",
    ];
    let own = ["X-Load: 10", "X-Load: 50", "X-Load: 10"];
    for (headers, setting) in [(orca, None), (own, Some(("load_header", "X-Load")))] {
        let mut origins = Vec::new();
        for header in headers {
            origins.push(Origin::start(move |_| Some(loaded(header))).await);
        }
        let settings: Vec<_> = [("balance_method", "reported_load")]
            .into_iter()
            .chain(setting)
            .collect();
        let proxy = proxy(&origins, &[1, 1, 1], &settings);
        load(proxy.address, 1, 200).await;
        let seen = requests(&origins);
        // Once each has said how it does, the loaded one is the worse of any two.
        assert!((1..20).contains(&seen[1]), "{seen:?}");
        assert!(seen[0] > 60 && seen[2] > 60, "{seen:?}");
    }
}

/// Waits for some more requests.
async fn others_go_on(origins: &[Origin]) {
    let all = || requests(origins).iter().sum::<usize>();
    let so_far = all();
    until("some are served", || all() > so_far + 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_and_undraining_lose_no_request() {
    for method in BalanceMethod::ALL {
        let origins = origins(3).await;
        let mut proxy = proxy(&origins, &[1, 1, 1], &[("balance_method", method.name())]);
        let (stop, address) = (Arc::new(AtomicBool::new(false)), proxy.address);
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..3 {
            let stop = Arc::clone(&stop);
            clients.spawn(async move {
                let mut client = Client::to(address).await;
                let mut answered = 0;
                while !stop.load(Ordering::Relaxed) {
                    let response: Response = client.ask(GET).await;
                    assert_eq!(response.status(), 200, "{}", response.head);
                    answered += 1;
                }
                answered
            });
        }
        for _ in 0..5 {
            for origin in &origins {
                proxy.change(vec![drain(origin.address, true)]);
                // What had begun ends, what is idle closes, and nothing new comes.
                others_go_on(&origins).await;
                until("it is drained", || origin.open.load(Ordering::Relaxed) == 0).await;
                let before = origin.seen().len();
                others_go_on(&origins).await;
                assert_eq!(origin.seen().len(), before, "{method}");
                proxy.change(vec![drain(origin.address, false)]);
            }
        }
        stop.store(true, Ordering::Relaxed);
        let answered: usize = soon(clients.join_all()).await.into_iter().sum();
        let seen: usize = requests(&origins).iter().sum();
        assert_eq!(answered, seen, "{method}: none was lost, and none was sent twice");
    }
}

/// Which backend each of so many paths goes to.
async fn owners(proxy: &Proxy, origins: &[Origin]) -> Vec<usize> {
    let mut owners = Vec::new();
    for number in 0..60 {
        let before = requests(origins);
        // Each on a connection of its own, at any of the workers.
        assert_eq!(proxy.get(&format!("/{number}")).await.status(), 200);
        let after = requests(origins);
        owners.push(
            after
                .iter()
                .zip(&before)
                .position(|(after, before)| after > before)
                .unwrap(),
        );
    }
    owners
}

#[tokio::test(flavor = "multi_thread")]
async fn hash_keeps_a_key_at_its_backend_on_every_node() {
    let origins = origins(3).await;
    let settings = [("balance_method", "hash"), ("hash_by", "uri")];
    let mut node = proxy(&origins, &[1, 1, 1], &settings);
    let first = owners(&node, &origins).await;
    for at in 0..3 {
        assert!(
            first.iter().filter(|owner| **owner == at).count() > 5,
            "{first:?}"
        );
    }
    assert_eq!(owners(&node, &origins).await, first);
    let other = proxy(&origins, &[1, 1, 1], &settings);
    assert_eq!(owners(&other, &origins).await, first);
    // One drains: its keys go elsewhere, nobody else's do, and they come back.
    node.change(vec![drain(origins[1].address, true)]);
    for (now, before) in owners(&node, &origins).await.iter().zip(&first) {
        assert!(if *before == 1 { *now != 1 } else { now == before });
    }
    node.change(vec![drain(origins[1].address, false)]);
    assert_eq!(owners(&node, &origins).await, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_left_when_all_drain() {
    let origins = origins(1).await;
    let mut proxy = proxy(&origins, &[1], &[]);
    proxy.change(vec![drain(origins[0].address, true)]);
    assert_eq!(proxy.get("/").await.status(), 503);
    proxy.change(vec![drain(origins[0].address, false)]);
    assert_eq!(proxy.get("/").await.status(), 200);
}
