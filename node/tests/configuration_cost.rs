//! What a large configuration costs: 1,000 pools of 10 backends, 1,000 services. A change compiles what it touches,
//! and nothing else.

#![expect(clippy::unwrap_used, reason = "helpers of tests are part of them")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use fleetbal::manage::script;
use fleetbal::monitor::stats::Stats;
use fleetbal::snapshot::{NodeVariables, Publisher, Snapshot, View};
use fleetbal::sockets::Sockets;
use fleetbal::workers::Workers;
use fleetbal_raft::model::{BackendAddress, Batch, Change, FleetConfig, PoolName, ServiceName};

const OBJECTS: usize = 1_000;
const BACKENDS: usize = 10;

fn large() -> FleetConfig {
    let mut text = String::new();
    for number in 0..OBJECTS {
        let (high, low) = (number / 250, number % 250);
        writeln!(text, "CREATE POOL p{number}").unwrap();
        for last in 1..=BACKENDS {
            writeln!(text, "POOL p{number} ADD 10.{high}.{low}.{last}:80").unwrap();
        }
        writeln!(text, "CREATE SERVICE s{number}\nSET role = reverse_proxy").unwrap();
        writeln!(text, "SET listen = 127.1.{high}.{low}:80\nSET pool = p{number}").unwrap();
    }
    script::interpret(text.as_bytes(), |_| None).unwrap().config
}

/// Compiled objects that are others than before: pools, services, backends.
fn recompiled(before: &Snapshot, after: &Snapshot) -> (usize, usize, usize) {
    let pools: Vec<_> = after
        .pools()
        .filter(|(name, pool)| !before.pool(name.as_str()).is_some_and(|b| Arc::ptr_eq(b, pool)))
        .collect();
    let services = after
        .services()
        .filter(|(name, now)| !before.service(name.as_str()).is_some_and(|b| Arc::ptr_eq(b, now)));
    let backends = after.pools().flat_map(|(name, pool)| {
        let old = before.pool(name.as_str());
        let is_new = move |b: &&Arc<_>| !old.is_some_and(|old| old.holds(b));
        pool.backends().iter().filter(is_new)
    });
    (pools.len(), services.count(), backends.count())
}

struct Node {
    config: Arc<FleetConfig>,
    publisher: Publisher,
    view: View,
}

impl Node {
    fn large() -> Self {
        let (mut publisher, view) = Publisher::new(NodeVariables::default());
        let config = Arc::new(large());
        publisher.publish(&config);
        Self {
            config,
            publisher,
            view,
        }
    }

    /// What a change recompiles.
    fn change(&mut self, change: Change) -> (usize, usize, usize) {
        let before = Arc::clone(&self.view.load());
        self.publish(change);
        recompiled(&before, &self.view.load())
    }

    fn publish(&mut self, change: Change) {
        let batch = Batch::of(vec![change]);
        self.config = Arc::new(self.config.with_batch(&batch).unwrap());
        self.publisher.publish(&self.config);
    }
}

fn set(object: &str, key: &str, value: &str) -> Change {
    Change::Set {
        object: object.into(),
        key: key.into(),
        value: value.into(),
    }
}

fn pool(name: &str) -> PoolName {
    PoolName::parse(name).unwrap()
}

fn backend(address: &str) -> BackendAddress {
    BackendAddress::parse(address).unwrap()
}

#[test]
fn a_change_compiles_only_what_it_touches() {
    let mut node = Node::large();
    {
        let nothing = Snapshot::default();
        let first = node.view.load();
        assert_eq!(
            recompiled(&nothing, &first),
            (OBJECTS, OBJECTS, OBJECTS * BACKENDS)
        );
        assert_eq!(recompiled(&first, &first), (0, 0, 0));
    }
    let change = Change::PoolAdd {
        pool: pool("p500"),
        backend: backend("10.9.9.9:80"),
        weight: 1,
    };
    // The service points to its pool, so it is one more; the pool's other backends stay.
    assert_eq!(node.change(change), (1, 1, 1));
    let change = Change::PoolRemove {
        pool: pool("p500"),
        backend: backend("10.9.9.9:80"),
    };
    assert_eq!(node.change(change), (1, 1, 0));
    assert_eq!(node.change(set("p7", "balance_method", "round_robin")), (1, 1, 0));
    assert_eq!(node.change(set("s7", "idle_timeout", "9")), (0, 1, 0));
    assert_eq!(node.change(set("s7", "pool", "p8")), (0, 1, 0));
    // Now nobody points to it.
    assert_eq!(
        node.change(Change::PoolAdd {
            pool: pool("p7"),
            backend: backend("10.9.9.9:80"),
            weight: 1,
        }),
        (1, 0, 1)
    );
    assert_eq!(node.change(Change::CreatePool(pool("another"))), (1, 0, 0));
    assert_eq!(
        node.change(Change::CreateService(ServiceName::parse("one_more").unwrap())),
        (0, 1, 0)
    );
}

#[test]
fn a_thousand_changes_elsewhere_keep_a_pool_as_it_is() {
    let mut node = Node::large();
    let (kept, service) = {
        let first = node.view.load();
        let service = Arc::clone(first.service("s3").unwrap());
        (Arc::clone(first.pool("p3").unwrap()), service)
    };
    kept.backends()[0].count_answer(200, 1);
    let idle = kept.backends()[0].count_connection();
    for number in 0..1_000 {
        let object = 4 + number % (OBJECTS - 4);
        node.publish(Change::PoolAdd {
            pool: pool(&format!("p{object}")),
            backend: backend(&format!("10.200.{}.{}:80", number / 250, number % 250)),
            weight: 1,
        });
    }
    let last = node.view.load();
    assert!(Arc::ptr_eq(last.pool("p3").unwrap(), &kept));
    assert!(Arc::ptr_eq(last.service("s3").unwrap(), &service));
    let backend = &last.pool("p3").unwrap().backends()[0];
    assert_eq!((backend.requests_total(), backend.open_connections()), (1, 1));
    drop(idle);
}

/// So many requests are at the backend at the same time.
const AT_ONCE: usize = 4;

/// A backend that answers when it has as many requests, with the port that each came from.
fn backend_that_gathers() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let all = Arc::new(Barrier::new(AT_ONCE));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let all = Arc::clone(&all);
            thread::spawn(move || {
                let mut stream = stream;
                while read_until(&mut stream, b"\r\n\r\n").is_some() {
                    all.wait();
                    let port = stream.peer_addr().unwrap().port();
                    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n<{port:06}>");
                    stream.write_all(answer.as_bytes()).unwrap();
                }
            });
        }
    });
    address
}

/// What was read up to this end; none where the connection ends before.
fn read_until(stream: &mut TcpStream, end: &[u8]) -> Option<Vec<u8>> {
    let (mut read, mut byte) = (Vec::new(), [0]);
    while !read.ends_with(end) {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        read.extend_from_slice(&byte);
    }
    Some(read)
}

fn ask(client: &mut TcpStream) {
    client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
}

/// The ports from which the requests of these clients reached the backend.
fn ports(clients: &mut [TcpStream]) -> BTreeSet<Vec<u8>> {
    let port = |client: &mut TcpStream| {
        let answer = read_until(client, b">").unwrap();
        answer.strip_prefix(b"HTTP/1.1 200 OK\r\n").unwrap();
        answer.split(|byte| *byte == b'<').next_back().unwrap().to_vec()
    };
    clients.iter_mut().map(port).collect()
}

/// A service in front of a backend.
fn serve(node: &mut Node, backend: SocketAddr) -> (Workers, Arc<Stats>, SocketAddr) {
    let service = ServiceName::parse("kept").unwrap();
    node.publish(Change::CreatePool(pool("origin")));
    node.publish(Change::PoolAdd {
        pool: pool("origin"),
        backend: BackendAddress::parse(&backend.to_string()).unwrap(),
        weight: 1,
    });
    node.publish(Change::CreateService(service.clone()));
    let settings = [
        ("role", "reverse_proxy"),
        ("pool", "origin"),
        ("persist_client", "on"),
    ];
    let kept = [("persist_backend", "on"), ("backend_persist_cache", "9")];
    for (key, value) in settings.into_iter().chain(kept) {
        node.publish(set("kept", key, value));
    }
    node.publish(Change::SetEnabled {
        service: service.clone(),
        enabled: true,
    });
    let stats = Arc::new(Stats::new());
    let workers = Workers::start(1, node.view.clone(), Arc::clone(&stats)).unwrap();
    let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    workers.open(&service, listen, &Sockets::default()).unwrap();
    (workers, stats, listen)
}

#[test]
fn a_thousand_changes_elsewhere_keep_connections_counters_and_health() {
    let mut node = Node::large();
    let (_workers, stats, listen) = serve(&mut node, backend_that_gathers());
    let connect = |_| {
        let client = TcpStream::connect(listen).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        client
    };
    let mut clients: Vec<_> = (0..AT_ONCE).map(connect).collect();
    clients.iter_mut().for_each(ask);
    let before = ports(&mut clients);
    assert_eq!(before.len(), AT_ONCE, "each on a connection of its own");
    let origin = Arc::clone(&node.view.load().pool("origin").unwrap().backends()[0]);
    let now = Instant::now();
    origin.bar(now + Duration::from_hours(1), false);
    origin.skip_verification(now, Duration::from_hours(1));
    // One request is under way all the time, on one of the idle connections.
    ask(&mut clients[0]);
    for number in 0..1_000 {
        node.publish(Change::PoolAdd {
            pool: pool(&format!("p{}", number % OBJECTS)),
            backend: backend(&format!("10.200.{}.{}:80", number / 250, number % 250)),
            weight: 1,
        });
    }
    clients[1..].iter_mut().for_each(ask);
    assert_eq!(ports(&mut clients), before, "the very same connections");
    let kept = Arc::clone(&node.view.load().pool("origin").unwrap().backends()[0]);
    // A request is counted when its answer has gone out, which a client may see first.
    let service = stats.service(&ServiceName::parse("kept").unwrap());
    let until = Instant::now() + Duration::from_secs(20);
    let counted = || (kept.requests_total(), service.requests_by_code());
    while counted() != (8, vec![(200, 8)]) && Instant::now() < until {
        std::thread::yield_now();
    }
    assert!(Arc::ptr_eq(&kept, &origin));
    assert_eq!((kept.connects_total(), kept.open_connections()), (4, 4));
    assert_eq!((kept.requests_total(), kept.connect_failures_total()), (8, 1));
    assert!(kept.is_barred(Instant::now()) && kept.skips_verification(Instant::now()));
    assert_eq!(service.requests_by_code(), [(200, 8)]);
}
