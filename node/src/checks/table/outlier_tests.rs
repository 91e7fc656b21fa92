use fleetbal_raft::model::{Batch, Change, FleetConfig, PoolName};

use super::super::fixture::{Fleet, SECOND, backend, key, pool, refused};
use super::*;
use crate::health::{Observation, Rule};

const ERRORS: &[(&str, &str)] = &[("outlier_5xx", "5"), ("outlier_eject_time", "10")];

#[test]
fn errors_take_a_backend_out_on_that_node_alone_and_for_longer_each_time() {
    let mut fleet = Fleet::new(4, 4, ERRORS);
    let mut lengths = Vec::new();
    for _ in 0..3 {
        let now = fleet.now;
        fleet.nodes[0].table.erred(&key(1), 5, now);
        fleet.gossip();
        assert!(!fleet.is_up(0, 1) && fleet.state(0, 1).is_out());
        let why = fleet.why(0, 1);
        assert_eq!(why.rule, Rule::Outcome);
        assert_eq!(why.health.reason.as_deref(), Some("5 requests in a row failed"));
        // The others are told, and go by what they see.
        assert_eq!(&fleet.seen_up(1)[1..], [true; 3]);
        let told = Observation::Ejected("5 requests in a row failed".to_owned());
        let evidence = fleet.why(1, 1).evidence;
        let evidence = evidence.iter().find(|evidence| evidence.node == "n1").unwrap();
        assert_eq!(evidence.observation.as_ref(), Some(&told));
        while !fleet.is_up(0, 1) {
            fleet.pass(SECOND / 2);
        }
        lengths.push(fleet.now.saturating_duration_since(now).as_secs());
        assert!(!fleet.state(0, 1).is_out());
    }
    assert_eq!(lengths, [10, 20, 30]);
    assert_eq!(fleet.take_checks(), [0; 4], "it was never thought down");
    assert!(fleet.nodes.iter().all(|node| node.told.is_empty()));
}

#[test]
fn no_more_are_out_than_may_be_and_never_the_last() {
    let ejected = |most: &str, backends: u8| {
        let mut settings = ERRORS.to_vec();
        settings.push(("outlier_max_ejected", most));
        let mut fleet = Fleet::new(1, backends, &settings);
        let now = fleet.now;
        for number in 1..=backends {
            fleet.nodes[0].table.erred(&key(number), 5, now);
        }
        (1..=backends).filter(|number| !fleet.is_up(0, *number)).count()
    };
    assert_eq!(ejected("30", 10), 3);
    assert_eq!(ejected("30", 2), 1);
    assert_eq!(ejected("100", 10), 9);
    assert_eq!(ejected("0", 10), 0);
    assert_eq!(ejected("100", 1), 0);
    // Who was let back makes room for others.
    let mut fleet = Fleet::new(1, 4, ERRORS);
    for number in [1, 2, 1, 3] {
        let now = fleet.now;
        fleet.nodes[0].table.erred(&key(number), 5, now);
        let up: Vec<_> = (1..=4).map(|other| fleet.is_up(0, other)).collect();
        assert_eq!(up.iter().filter(|up| !**up).count(), 1);
        assert!(!up[usize::from(number) - 1], "{number}: {up:?}");
        fleet.pass(SECOND * 40);
    }
}

#[test]
fn what_is_switched_off_lets_everybody_back() {
    let mut fleet = Fleet::new(1, 4, ERRORS);
    let now = fleet.now;
    fleet.nodes[0].table.erred(&key(1), 5, now);
    assert!(!fleet.is_up(0, 1));
    let off = Change::Set {
        object: "web".to_owned(),
        key: "outlier_5xx".to_owned(),
        value: "none".to_owned(),
    };
    let node = &mut fleet.nodes[0];
    let config = node.view.load().config.with_batch(&Batch::of(vec![off])).unwrap();
    node.publisher.publish(&Arc::new(config));
    node.table.set_snapshot(&node.view.load(), now);
    assert!(fleet.is_up(0, 1) && !fleet.state(0, 1).is_out());
}

#[test]
fn who_takes_much_longer_than_the_others_is_taken_out() {
    let mut fleet = Fleet::new(1, 4, &[("outlier_latency", "3"), ("outlier_eject_time", "10")]);
    let mut looks = 0;
    while fleet.is_up(0, 4) {
        for (number, millis) in [(1, 10), (2, 11), (3, 25), (4, 100)] {
            let state = fleet.state(0, number);
            (0..10).for_each(|_| state.took(Duration::from_millis(millis)));
        }
        looks += 1;
        assert!(looks < 10);
        let now = fleet.now;
        fleet.nodes[0].table.look(now);
        fleet.now += SECOND;
    }
    assert_eq!(looks, 3);
    assert_eq!(&fleet.seen_up(3), &[true]);
    let reason = fleet.why(0, 4).health.reason.unwrap();
    assert_eq!(reason, "answers took 100.0 ms, where 11.0 ms are normal");
}

#[test]
fn who_comes_back_begins_slowly_if_there_are_others() {
    let mut fleet = Fleet::new(1, 3, &[("slow_start", "10")]);
    let part = |fleet: &Fleet, number| fleet.state(0, number).part(fleet.now);
    assert_eq!(part(&fleet, 1), None, "it was never away");
    fleet.down.insert(1);
    fleet.fails(0, 1);
    fleet.down.clear();
    while !fleet.is_up(0, 1) {
        fleet.pass(SECOND / 20);
    }
    assert_eq!(part(&fleet, 1), Some(100));
    fleet.pass(SECOND * 5);
    let half = part(&fleet, 1).unwrap();
    assert!((480..=540).contains(&half), "{half}");
    assert_eq!(fleet.why(0, 1).health.part, Some(half));
    // Alone it has all.
    fleet.down.extend([2, 3]);
    fleet.fails(0, 2);
    assert!(part(&fleet, 1).is_some());
    fleet.fails(0, 3);
    assert_eq!(part(&fleet, 1), None);
    fleet.down.clear();
    fleet.pass(SECOND * 2);
    assert!(part(&fleet, 2).is_some() && part(&fleet, 3).is_some());
    fleet.pass(SECOND * 10);
    assert_eq!([1, 2, 3].map(|number| part(&fleet, number)), [None; 3]);
}

/// Two pools with a backend in common.
fn two_pools(settings: &[(&str, &str, &str)]) -> Arc<FleetConfig> {
    let other = PoolName::parse("other").unwrap();
    let mut changes = Vec::new();
    for name in [pool(), other] {
        changes.push(Change::CreatePool(name.clone()));
        changes.push(Change::PoolAdd {
            pool: name,
            backend: backend(1),
            weight: 1,
        });
    }
    changes.extend(settings.iter().map(|(object, key, value)| Change::Set {
        object: (*object).to_owned(),
        key: (*key).to_owned(),
        value: (*value).to_owned(),
    }));
    Arc::new(FleetConfig::default().with_batch(&Batch::of(changes)).unwrap())
}

#[test]
fn a_backend_in_two_pools_is_checked_once_where_they_ask_the_same() {
    let checks = |settings: &[(&str, &str, &str)]| {
        let mut fleet = Fleet::with(3, &two_pools(settings));
        fleet.pass(SECOND * 4);
        fleet.take_checks();
        fleet.pass(SECOND * 20);
        fleet.take_checks().iter().sum::<u32>()
    };
    let both = |key, value| [("web", key, value), ("other", key, value)];
    let same = [both("health_path", "/ok"), both("health_fall", "2")].concat();
    let once = checks(&same);
    assert!((19..=21).contains(&once), "{once}");
    let different = [("web", "health_path", "/ok"), ("other", "health_path", "/fine")];
    let twice = checks(&different);
    assert!((38..=42).contains(&twice), "{twice}");
}

#[test]
fn what_one_check_finds_holds_for_both_pools() {
    let mut fleet = Fleet::with(3, &two_pools(&[]));
    let both_up = |fleet: &Fleet, node: usize| -> Vec<bool> {
        let all = fleet.nodes[node].table.all(None, fleet.now);
        all.iter().map(|health| health.is_up).collect()
    };
    fleet.down.insert(1);
    fleet.fails(0, 1);
    fleet.pass(SECOND * 3);
    for node in 0..3 {
        assert_eq!(both_up(&fleet, node), [false; 2], "n{}", node + 1);
    }
    fleet.take_checks();
    fleet.pass(SECOND * 10);
    let checks: u32 = fleet.take_checks().iter().sum();
    assert!(
        (18..=22).contains(&checks),
        "two checkers, one check a second each: {checks}"
    );
    fleet.down.clear();
    fleet.pass(SECOND * 3);
    for node in 0..3 {
        assert_eq!(both_up(&fleet, node), [true; 2], "n{}", node + 1);
    }
    let now = fleet.now;
    fleet.nodes[0].table.saw(&key(1), &refused(), now);
    assert!(fleet.nodes[0].told.is_empty());
}
