use super::fixture::{Fleet, SECOND, config, key, pool, refused};
use super::*;
use crate::checks::report::Standing;
use crate::health::{Failure, Rule};
use crate::snapshot::{NodeVariables, Publisher};

#[test]
fn a_dead_backend_is_known_to_all_and_only_its_checkers_go_on_asking() {
    let mut fleet = Fleet::new(6, 3, &[]);
    let (checkers, others) = fleet.checkers(1);
    assert_eq!(checkers.len(), 2);
    fleet.pass(SECOND * 5);
    assert_eq!(
        fleet.take_checks(),
        [0; 6],
        "nobody checks what nobody has trouble with"
    );
    fleet.down.insert(1);
    fleet.fails(others[0], 1);
    assert_eq!(
        fleet.seen_up(1).iter().filter(|up| !**up).count(),
        1,
        "one voice is not enough"
    );
    fleet.pass(SECOND / 10);
    assert_eq!(fleet.seen_up(1), [false; 6]);
    assert!(fleet.nodes[others[1]].view.load().pool("web").unwrap().backends()[0].is_out());
    fleet.pass(SECOND * 2);
    fleet.take_checks();
    fleet.pass(SECOND * 10);
    let checks = fleet.take_checks();
    for node in 0..6 {
        let expected = if checkers.contains(&node) { 9..=11 } else { 0..=0 };
        assert!(expected.contains(&checks[node]), "{checks:?}");
    }
    fleet.down.clear();
    fleet.pass(SECOND + SECOND / 10);
    assert_eq!(fleet.seen_up(1), [true; 6]);
    fleet.pass(SECOND * 5);
    fleet.take_checks();
    fleet.pass(SECOND * 5);
    assert_eq!(fleet.take_checks(), [0; 6], "all is well again, and nobody asks");
    assert!(fleet.nodes.iter().all(|node| node.told.is_empty()));
}

#[test]
fn a_broken_link_takes_a_backend_from_that_node_alone() {
    for node in 0..4 {
        let mut fleet = Fleet::new(4, 2, &[]);
        fleet.nodes[node].cut.insert(1);
        fleet.fails(node, 1);
        for _ in 0..20 {
            let expected: Vec<_> = (0..4).map(|other| other != node).collect();
            assert_eq!(fleet.seen_up(1), expected, "the link of n{} is broken", node + 1);
            fleet.pass(SECOND / 2);
        }
        fleet.nodes[node].cut.clear();
        fleet.pass(SECOND * 2);
        assert_eq!(fleet.seen_up(1), [true; 4]);
    }
}

#[test]
fn checkers_with_broken_links_do_not_empty_a_node_whose_own_works() {
    let mut fleet = Fleet::new(4, 2, &[]);
    let (checkers, others) = fleet.checkers(1);
    for checker in &checkers {
        fleet.nodes[*checker].cut.insert(1);
    }
    let served = Arc::clone(&fleet.nodes[others[0]].view.load().pool("web").unwrap().backends()[0]);
    for round in 0..10 {
        served.count_answer(200, 1);
        let now = fleet.now;
        fleet.nodes[others[0]].table.look(now);
        if round == 0 {
            fleet.fails(checkers[0], 1);
        }
        fleet.pass(SECOND);
        assert!(fleet.is_up(others[0], 1), "its own requests are answered");
        assert!(!fleet.is_up(checkers[0], 1) && !fleet.is_up(checkers[1], 1));
        if round > 0 {
            assert!(!fleet.is_up(others[1], 1), "it knows no better than the checkers");
        }
    }
}

#[test]
fn a_liar_is_one_voice() {
    let mut fleet = Fleet::new(4, 2, &[]);
    let (checkers, _) = fleet.checkers(1);
    let lie = Observation::Down("I say so".to_owned());
    fleet.nodes[checkers[0]].is_alive = false;
    fleet.gossip();
    fleet.nodes[checkers[0]].told = Arc::new([(key(1), lie.clone()), (key(2), lie)].into());
    for step in 0..40 {
        // It tells, and never checks.
        fleet.nodes[checkers[0]].is_alive = true;
        fleet.gossip();
        for node in (0..4).filter(|node| *node != checkers[0]) {
            assert!(fleet.is_up(node, 1) && fleet.is_up(node, 2), "step {step}");
            let checks = fleet.nodes[node].table.due(fleet.now);
            for check in checks {
                let now = fleet.now;
                fleet.nodes[node]
                    .table
                    .checked(&check, now, Some(&Seen::Up(None)), now);
            }
        }
        fleet.now += SECOND / 4;
    }
    assert_eq!(fleet.why(checkers[1], 1).rule, Rule::Own);
}

#[test]
fn who_dies_is_heard_no_more_and_another_checks() {
    let mut fleet = Fleet::new(6, 1, &[("health_tcp", "on")]);
    fleet.pass(SECOND * 4);
    fleet.take_checks();
    fleet.pass(SECOND * 20);
    let before = fleet.take_checks();
    assert_eq!(
        before.iter().filter(|checks| **checks > 0).count(),
        2,
        "{before:?}"
    );
    assert!((19..=21).contains(&before.iter().sum::<u32>()), "{before:?}");
    let (checkers, others) = fleet.checkers(1);
    fleet.nodes[checkers[0]].is_alive = false;
    fleet.pass(SECOND * 4);
    let after = fleet.take_checks();
    let newcomers: Vec<_> = others.iter().filter(|node| after[**node] > 0).collect();
    assert_eq!(newcomers.len(), 1, "no gap longer than two intervals: {after:?}");
    assert!(after[checkers[1]] >= 1);
}

#[test]
fn who_checks_in_the_place_of_the_dead_begins_soon() {
    for wanted in ["1", "2", "3"] {
        let settings = [
            ("health_path", "/ok"),
            ("health_interval", "8"),
            ("health_checkers", wanted),
        ];
        let mut fleet = Fleet::new(9, 4, &settings);
        fleet.pass(SECOND * 16);
        let others = |number: &u8| !fleet.checkers(*number).0.contains(&0);
        let number = (1..=4).find(others).unwrap();
        let dead = fleet.checkers(number).0;
        for node in &dead {
            fleet.nodes[*node].is_alive = false;
        }
        // Meanwhile the backend dies, too, and nobody sees it.
        fleet.down.insert(number);
        fleet.pass(SECOND * 2);
        let evidence = fleet.why(0, number).evidence;
        let heirs: Vec<_> = evidence.iter().filter(|heir| heir.is_checker).collect();
        assert_eq!(heirs.len(), dead.len());
        assert!(heirs.iter().all(|heir| heir.observation.is_some()), "{heirs:?}");
        assert!(!fleet.is_up(0, number));
    }
}

#[test]
fn a_partition_has_each_side_go_by_what_it_sees() {
    let mut fleet = Fleet::new(4, 2, &[]);
    fleet.down.insert(1);
    fleet.fails(0, 1);
    fleet.pass(SECOND);
    assert_eq!(fleet.seen_up(1), [false; 4]);
    // Seen from the side of n1 and n2, the others are gone; nothing of theirs counts any more.
    fleet.nodes[2].is_alive = false;
    fleet.nodes[3].is_alive = false;
    fleet.pass(SECOND * 5);
    assert_eq!(fleet.checkers(1).0, [0, 1]);
    assert!(!fleet.is_up(0, 1) && !fleet.is_up(1, 1));
    fleet.down.clear();
    fleet.pass(SECOND * 2);
    assert!(fleet.is_up(0, 1) && fleet.is_up(1, 1));
}

#[test]
fn panic_uses_all_and_ends() {
    let mut fleet = Fleet::new(1, 4, &[]);
    let is_out = |fleet: &Fleet| -> Vec<bool> {
        let snapshot = fleet.nodes[0].view.load();
        let pool = snapshot.pool("web").unwrap();
        pool.backends().iter().map(|backend| backend.is_out()).collect()
    };
    for number in [1, 2] {
        fleet.down.insert(number);
        fleet.fails(0, number);
    }
    assert_eq!(is_out(&fleet), [true, true, false, false]);
    fleet.down.insert(3);
    fleet.fails(0, 3);
    assert_eq!(is_out(&fleet), [false; 4], "25 % are less than 30 %");
    let all = fleet.nodes[0].table.all(Some(&pool()), fleet.now);
    assert!(all[0].is_panic && all[0].standing == Standing::Down);
    fleet.down.remove(&2);
    fleet.pass(SECOND * 2);
    assert_eq!(is_out(&fleet), [true, false, true, false]);
}

#[test]
fn a_flapping_backend_is_told_of_at_most_once_for_each_check() {
    let mut fleet = Fleet::new(6, 2, &[("health_rise", "3")]);
    fleet.down.insert(1);
    fleet.fails(0, 1);
    let mut turns = 0;
    let mut before = fleet.is_up(5, 1);
    for round in 0..40 {
        if round % 2 == 0 {
            fleet.down.remove(&1);
        } else {
            fleet.down.insert(1);
        }
        fleet.pass(SECOND);
        turns += u32::from(std::mem::replace(&mut before, fleet.is_up(5, 1)) != before);
    }
    assert!(
        turns <= 2,
        "it rises only once three checks in a row were good: {turns} turns"
    );
}

#[test]
fn checks_fall_slowly_where_a_backend_is_slow_and_at_once_where_it_refuses() {
    let slow = Seen::Down(Failure::other("no answer"));
    for (fall, seen, needed) in [
        ("none", slow.clone(), 3),
        ("none", refused(), 1),
        ("1", slow.clone(), 1),
        ("5", slow, 5),
        ("5", refused(), 5),
    ] {
        let mut fleet = Fleet::new(1, 1, &[("health_path", "/ok"), ("health_fall", fall)]);
        let mut checks = 0;
        while fleet.is_up(0, 1) {
            fleet.now += SECOND / 20;
            let now = fleet.now;
            for check in fleet.nodes[0].table.due(now) {
                checks += 1;
                fleet.nodes[0].table.checked(&check, now, Some(&seen), now);
            }
            assert!(checks < 10);
        }
        assert_eq!(checks, needed);
    }
}

#[test]
fn a_return_is_known_to_all_within_as_many_intervals_as_it_has_to_rise() {
    for rise in 1..=4_u32 {
        let mut fleet = Fleet::new(6, 2, &[("health_rise", &rise.to_string())]);
        fleet.down.insert(1);
        fleet.fails(0, 1);
        fleet.pass(SECOND * 3);
        assert_eq!(fleet.seen_up(1), [false; 6]);
        let start = fleet.now;
        fleet.down.clear();
        while fleet.seen_up(1) != [true; 6] {
            fleet.pass(SECOND / 20);
        }
        let took = fleet.now - start;
        assert!(
            took > SECOND * (rise - 1) && took <= SECOND * (rise + 1),
            "{rise} good checks, a second apart: {took:?}"
        );
    }
}

#[test]
fn a_backend_that_comes_back_as_another_begins_anew() {
    let mut fleet = Fleet::new(1, 2, &[]);
    fleet.down.insert(1);
    fleet.fails(0, 1);
    assert!(!fleet.is_up(0, 1));
    let now = fleet.now + SECOND * 2;
    let old = fleet.nodes[0].table.due(now);
    assert_eq!(old.len(), 1);
    let (mut publisher, view) = Publisher::new(NodeVariables::default());
    publisher.publish(&config(2, &[]));
    fleet.nodes[0].table.set_snapshot(&view.load(), now);
    assert!(fleet.is_up(0, 1));
    fleet.nodes[0].table.checked(&old[0], now, Some(&refused()), now);
    assert!(fleet.is_up(0, 1), "that was said of another");
    assert!(fleet.nodes[0].table.take_told().unwrap().is_empty());
}

#[test]
fn a_pool_without_backends_is_told_with_who_has_seen_it() {
    let mut fleet = Fleet::new(4, 2, &[]);
    let unreachable = |fleet: &Fleet, node: usize| fleet.nodes[node].table.unreachable(fleet.now);
    let (checkers, others) = fleet.checkers(1);
    fleet.down.extend([1, 2]);
    for number in [1, 2] {
        fleet.fails(others[0], number);
    }
    assert_eq!(unreachable(&fleet, others[0]), [], "no service uses it");
    fleet.serve();
    fleet.pass(SECOND * 6);
    for node in 0..4 {
        let found = unreachable(&fleet, node);
        assert_eq!(found.len(), 1, "n{node}");
        let checks_both = fleet.checkers(1).0.contains(&node) && fleet.checkers(2).0.contains(&node);
        assert!(found[0].is_seen_here || !checks_both, "n{node}");
        assert!(found[0].since >= SECOND * 5 && found[0].patience < SECOND * 5);
    }
    fleet.down.remove(&2);
    fleet.pass(SECOND * 2);
    assert_eq!(unreachable(&fleet, checkers[0]), []);
}
