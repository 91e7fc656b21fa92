use std::time::{Duration, Instant};

use fleetbal_raft::model::{BackendAddress, Batch, Change, FleetConfig, PoolName};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::super::{NodeVariables, Publisher, View, millis};
use super::*;
use crate::balance::{self, Pick};

fn name() -> PoolName {
    PoolName::parse("p").unwrap()
}

fn backend(last: u8) -> BackendAddress {
    BackendAddress::parse(&format!("10.0.0.{last}")).unwrap()
}

fn add(last: u8, weight: u32) -> Change {
    Change::PoolAdd {
        pool: name(),
        backend: backend(last),
        weight,
    }
}

fn drain(last: u8, draining: bool) -> Change {
    Change::PoolDrain {
        pool: name(),
        backend: backend(last),
        draining,
    }
}

fn set(key: &str, value: &str) -> Change {
    Change::Set {
        object: "p".into(),
        key: key.into(),
        value: value.into(),
    }
}

struct Node {
    config: Arc<FleetConfig>,
    publisher: Publisher,
    view: View,
}

impl Node {
    /// A node with one pool: three backends of weights 1, 2 and 5.
    fn new(method: &str) -> Self {
        let (publisher, view) = Publisher::new(NodeVariables::default());
        let mut node = Self {
            config: Arc::default(),
            publisher,
            view,
        };
        let members = [add(1, 1), add(2, 2), add(3, 5)];
        let mut changes = vec![Change::CreatePool(name()), set("balance_method", method)];
        changes.extend(members);
        node.change(changes);
        node
    }

    fn change(&mut self, changes: Vec<Change>) -> Arc<PoolView> {
        let batch = Batch::of(changes);
        self.config = Arc::new(self.config.with_batch(&batch).unwrap());
        self.publisher.publish(&self.config);
        self.pool()
    }

    fn pool(&self) -> Arc<PoolView> {
        Arc::clone(self.view.load().pool("p").unwrap())
    }
}

/// How often each is picked, of so many requests with hashes of their own.
fn picks(pool: &PoolView, count: usize) -> Vec<usize> {
    let mut rng = StdRng::seed_from_u64(1);
    let mut seen = vec![0; pool.backends().len()];
    for turn in 0..count {
        let request = Pick {
            turn,
            hash: turn as u64,
            now: Instant::now(),
        };
        let usable = |at: usize| !pool.is_draining(at);
        seen[balance::pick(pool, request, usable, &mut rng).unwrap()] += 1;
    }
    seen
}

#[test]
fn every_method_keeps_to_weights_where_nothing_else_speaks() {
    for method in BalanceMethod::ALL {
        let mut node = Node::new(method.name());
        let pool = node.pool();
        assert_eq!([0, 1, 2].map(|at| pool.weight_of(at)), [1, 2, 5]);
        let seen = picks(&pool, 8_000);
        if !matches!(method, BalanceMethod::ResponseTime) {
            for (seen, weight) in seen.iter().zip([1, 2, 5]) {
                assert!(
                    seen.abs_diff(1_000 * weight) < 200,
                    "{method}: {seen} of {weight}"
                );
            }
        }
        let pool = node.change(vec![drain(3, true)]);
        let seen = picks(&pool, 3_000);
        assert_eq!(seen[2], 0, "{method}");
        assert!(seen[0].abs_diff(1_000) < 200, "{method}: {seen:?}");
    }
}

#[test]
fn draining_is_undone_and_keeps_the_plan() {
    let mut node = Node::new("hash");
    let table = |pool: &PoolView| {
        let Plan::Hash(table) = pool.plan() else {
            panic!("{:?}", pool.plan());
        };
        Arc::clone(table)
    };
    let before = node.pool();
    let draining = node.change(vec![drain(2, true)]);
    let two = &before.backends()[1];
    assert!(before.holds(two) && !draining.holds(two));
    assert!(draining.is_draining(1) && !draining.is_draining(0) && !draining.is_draining(9));
    assert!(Arc::ptr_eq(&table(&before), &table(&draining)));
    let back = node.change(vec![drain(2, false), set("load_header", "X-Load")]);
    assert!(back.holds(two) && back.load_header() == Some("x-load"));
    assert!(Arc::ptr_eq(&table(&before), &table(&back)));
    let other = node.change(vec![add(2, 3)]);
    assert!(!Arc::ptr_eq(&table(&before), &table(&other)));
    assert!(other.holds(two), "it was never gone");
}

#[test]
fn requests_in_flight_are_counted_until_they_end() {
    let pool = Node::new("least_connections").pool();
    let heavy = &pool.backends()[2];
    let mut one = heavy.count_connection();
    let mut other = heavy.count_connection();
    let now = Instant::now();
    one.begin_request(now);
    one.begin_request(now);
    other.begin_request(now);
    assert_eq!((heavy.in_flight(), heavy.open_connections()), (2, 2));
    assert_eq!(picks(&pool, 100)[2], 0);
    one.end_request();
    one.end_request();
    drop(other);
    assert_eq!((heavy.in_flight(), heavy.open_connections()), (0, 1));
    assert!(picks(&pool, 100)[2] > 0);
}

#[test]
fn what_was_learned_decides() {
    let pool = Node::new("response_time").pool();
    let now = Instant::now();
    for (backend, millis) in pool.backends().iter().zip([1, 1, 50]) {
        backend.answered(now, Duration::from_millis(millis));
    }
    let seen = picks(&pool, 1_000);
    assert!(seen[2] == 0 && seen[0] > 0 && seen[1] > seen[0], "{seen:?}");
    let pool = Node::new("reported_load").pool();
    for (backend, load) in pool.backends().iter().zip([0.2, 0.2, 0.9]) {
        backend.reported(now, load);
    }
    let seen = picks(&pool, 1_000);
    assert!(seen[2] == 0 && seen[0] > 0 && seen[1] > seen[0], "{seen:?}");
}

#[test]
fn a_request_without_an_answer_makes_its_backend_no_better() {
    let pool = Node::new("response_time").pool();
    let backend = &pool.backends()[0];
    let begin = || {
        let mut connection = backend.count_connection();
        connection.begin_request(Instant::now());
        connection
    };
    let seconds = || backend.pace(millis(Instant::now())).seconds;
    let mut answered = begin();
    assert!(answered.request_answered(Instant::now()).is_some());
    drop(answered);
    assert_eq!(seconds(), None, "only the answer itself says how long it took");
    drop(begin());
    assert!(seconds().unwrap() > 0.9);
}

#[test]
fn the_part_of_one_that_came_back_grows_with_time() {
    for (method, expected_by) in [
        ("weighted", [1.0, 2.0, 5.0]),
        ("round_robin", [1.0, 2.0, 5.0]),
        ("hash", [1.0, 2.0, 5.0]),
    ] {
        let pool = Node::new(method).pool();
        let back = &pool.backends()[2];
        let start = Instant::now();
        back.warm_up(start, Duration::from_secs(10));
        let mut rng = StdRng::seed_from_u64(3);
        for (seconds, part) in [(0, 0.1), (2, 0.2), (5, 0.5), (9, 0.9), (11, 1.0)] {
            let mut seen = vec![0; 3];
            for number in 0..20_000_u32 {
                // Requests come when they come.
                let now =
                    start + Duration::from_secs(seconds) + Duration::from_nanos(u64::from(number) * 997);
                let request = Pick {
                    turn: number.try_into().unwrap(),
                    hash: balance::hash::mixed(number.into()),
                    now,
                };
                let usable = |at: usize| !pool.backends()[at].is_barred(now);
                let at = balance::pick(&pool, request, usable, &mut rng).unwrap();
                seen[at] += 1;
            }
            // What it leaves goes to the others by their weights.
            let [one, two, five] = expected_by;
            let left = five * (1.0 - part) / (one + two);
            let expected = [one * (1.0 + left), two * (1.0 + left), five * part];
            let within = |seen: u64, expected: f64| {
                let due: f64 = expected / 8.0 * 20_000.0;
                #[expect(clippy::cast_precision_loss, reason = "it is at most 20,000")]
                let off = seen as f64 - due;
                // A table of places is a little off; else five standard deviations.
                off.abs() < 5.0 * due.sqrt() + due * 0.02
            };
            assert!(
                seen.iter()
                    .zip(expected)
                    .all(|(seen, expected)| within(*seen, expected)),
                "{method}, {seconds} s: {seen:?} instead of {expected:?}"
            );
        }
        assert_eq!(back.part(start + Duration::from_secs(11)), None);
    }
}
