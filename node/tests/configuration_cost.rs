//! What a large configuration costs: 1,000 pools of 10 backends, 1,000 services. A change compiles what it touches,
//! and nothing else.

#![expect(clippy::unwrap_used, reason = "helpers of tests are part of them")]

use std::fmt::Write as _;
use std::sync::Arc;

use fleetbal::manage::script;
use fleetbal::snapshot::{NodeVariables, Publisher, Snapshot, View};
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
        let batch = Batch {
            changes: vec![change],
            if_version: None,
        };
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
    kept.backends()[0].count_request();
    let idle = kept.backends()[0].count_connection();
    for number in 0..1_000 {
        let object = 4 + number % (OBJECTS - 4);
        node.publish(Change::PoolAdd {
            pool: pool(&format!("p{object}")),
            backend: backend(&format!("10.200.{}.{}:80", number / 250, number % 250)),
        });
    }
    let last = node.view.load();
    assert!(Arc::ptr_eq(last.pool("p3").unwrap(), &kept));
    assert!(Arc::ptr_eq(last.service("s3").unwrap(), &service));
    let backend = &last.pool("p3").unwrap().backends()[0];
    assert_eq!((backend.requests_total(), backend.open_connections()), (1, 1));
    drop(idle);
}
