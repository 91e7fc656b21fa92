//! What must be true, by what the world knows and the nodes do not.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::links::LATEST;
use super::world::{DEAD_AFTER, STEP, USE, World};
use crate::checks::table::fixture::backend;

/// Between two checks of a backend by one node, where the pool has checks.
const INTERVAL: Duration = Duration::from_secs(2);

/// While there is trouble, and where the pool has none.
const IN_TROUBLE: Duration = Duration::from_secs(1);

/// How long a check takes at most.
const CHECK: Duration = Duration::from_millis(200);

/// How long it takes until all know that a node died, or that one came.
fn noticed() -> Duration {
    DEAD_AFTER + LATEST + STEP * 4
}

pub(super) struct Judge {
    /// What each node saw last of each backend, and when.
    seen: BTreeMap<(usize, u8), (bool, Duration)>,
    /// When each node checked each backend last.
    checked: BTreeMap<(usize, u8), Duration>,
    /// When a node came or died last.
    membership_moved: Duration,
    /// Since when each backend and its links are as they are.
    since: BTreeMap<u8, (bool, BTreeSet<usize>, Duration)>,
    verdicts: BTreeMap<(usize, u8), bool>,
    /// How often a verdict turned.
    pub(super) turns: u64,
    is_active: bool,
}

impl Judge {
    pub(super) fn new(world: &World) -> Self {
        let mut judge = Self {
            seen: BTreeMap::new(),
            checked: BTreeMap::new(),
            membership_moved: Duration::ZERO,
            since: BTreeMap::new(),
            verdicts: BTreeMap::new(),
            turns: 0,
            is_active: world.is_active,
        };
        judge.world_moved(world);
        judge
    }

    /// For how long an observation is fresh.
    fn window(&self) -> Duration {
        3 * if self.is_active { INTERVAL } else { IN_TROUBLE }
    }

    pub(super) fn has_checked(&mut self, node: usize, number: u8, is_up: bool, now: Duration) {
        self.seen.insert((node, number), (is_up, now));
        self.checked.insert((node, number), now);
    }

    pub(super) fn has_failed(&mut self, node: usize, number: u8, now: Duration) {
        self.seen.insert((node, number), (false, now));
    }

    /// An answer may be to an older request: it says nothing while the backend is seen down.
    pub(super) fn has_answered(&mut self, node: usize, number: u8, now: Duration) {
        let seen = self.seen.entry((node, number)).or_insert((true, now));
        if seen.0 {
            seen.1 = now;
        }
    }

    /// It begins anew.
    pub(super) fn is_another(&mut self, node: usize) {
        self.seen.retain(|(other, _), _| *other != node);
        self.verdicts.retain(|(other, _), _| *other != node);
    }

    pub(super) fn membership_moved(&mut self, now: Duration) {
        self.membership_moved = now;
    }

    pub(super) fn world_moved(&mut self, world: &World) {
        for number in 1..=world.backends {
            let is_up = !world.down.contains(&number);
            let cut = world.cut.iter().filter(|(_, other)| *other == number);
            let cut: BTreeSet<_> = cut.map(|(node, _)| *node).collect();
            let known = self.since.get(&number);
            if known.is_none_or(|(up, links, _)| (*up, links) != (is_up, &cut)) {
                self.since.insert(number, (is_up, cut, world.now));
            }
        }
    }

    pub(super) fn look(&mut self, world: &World) {
        for node in world.alive() {
            let verdicts: BTreeMap<u8, bool> = (1..=world.backends)
                .map(|number| (number, world.is_up(node, number)))
                .collect();
            for (number, is_up) in &verdicts {
                self.own_sight_wins(world, node, *number, *is_up);
                self.one_broken_link_is_one_nodes(world, node, *number, *is_up);
                let before = self.verdicts.insert((node, *number), *is_up);
                self.turns += u64::from(before.is_some_and(|before| before != *is_up));
            }
            only_panic_overrules(world, node, &verdicts);
        }
        if self.is_active {
            for number in 1..=world.backends {
                self.two_check(world, number);
            }
        }
    }

    /// What a node has seen itself a moment ago decides, whatever the others say.
    fn own_sight_wins(&self, world: &World, node: usize, number: u8, is_up: bool) {
        let Some((saw_up, at)) = self.seen.get(&(node, number)) else {
            return;
        };
        if world.now.saturating_sub(*at) + STEP < self.window() {
            assert_eq!(
                is_up,
                *saw_up,
                "at {:?} n{} does not believe what it saw of backend {number} at {at:?}",
                world.now,
                node + 1
            );
        }
    }

    /// A backend that is up is up to each node whose own link works, where no more than one has a broken one.
    fn one_broken_link_is_one_nodes(&self, world: &World, node: usize, number: u8, is_up: bool) {
        let Some((true, cut, since)) = self.since.get(&number) else {
            return;
        };
        let settled = self.window() + noticed() + 2 * USE + 2 * INTERVAL;
        let has_settled = world.now >= *since.max(&self.membership_moved) + settled;
        if has_settled && cut.len() <= 1 && !cut.contains(&node) {
            assert!(
                is_up,
                "at {:?} backend {number} is up and n{} reaches it; broken links: {cut:?}",
                world.now,
                node + 1
            );
        }
    }

    /// Two live nodes check it, or all where there are fewer, and a death makes no gap beyond what it takes to notice.
    fn two_check(&self, world: &World, number: u8) {
        let alive = world.alive();
        let beat = 2 * INTERVAL + CHECK + STEP * 2;
        let ages = alive.iter().filter_map(|node| {
            let at = self.checked.get(&(*node, number))?;
            Some(world.now.saturating_sub(*at))
        });
        let mut ages: Vec<_> = ages.collect();
        ages.sort_unstable();
        let is_settled = world.now >= self.membership_moved + noticed() + beat;
        if is_settled {
            let wanted = alive.len().min(2);
            let checkers = ages.iter().filter(|age| **age <= beat).count();
            assert!(
                checkers >= wanted,
                "at {:?} backend {number} has {checkers} checkers of {} live nodes",
                world.now,
                alive.len()
            );
        }
    }
}

/// All that was broken is mended for a while: everybody thinks what is true.
pub(super) fn converged(world: &World) {
    for node in world.alive() {
        for number in 1..=world.backends {
            assert_eq!(
                world.is_up(node, number),
                !world.down.contains(&number),
                "backend {number} in the eyes of n{}",
                node + 1
            );
        }
    }
}

/// The data plane leaves out what is down, unless so little is up that all is used.
fn only_panic_overrules(world: &World, node: usize, verdicts: &BTreeMap<u8, bool>) {
    let up = verdicts.values().filter(|up| **up).count();
    let is_panic = up * 100 < verdicts.len() * 30;
    let snapshot = world.nodes[node].view.load();
    let pool = snapshot.pool("web").unwrap();
    for (number, is_up) in verdicts {
        let is_out = pool.backend(backend(*number)).unwrap().is_out();
        assert_eq!(
            is_out,
            !is_up && !is_panic,
            "at {:?} backend {number} at n{}, of which {up} of {} are up",
            world.now,
            node + 1,
            verdicts.len()
        );
    }
}
