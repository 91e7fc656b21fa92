//! Nodes, backends, and what happens to them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::super::probe::Check;
use super::super::table::Table;
use super::super::table::fixture::{backend, config, key, last, refused};
use super::judge::{self, Judge};
use super::links::{Letter, Links};
use crate::gossip::Voice;
use crate::health::{Seen, Told};
use crate::snapshot::{NodeVariables, Publisher, View};

/// One step of the clock.
pub(super) const STEP: Duration = Duration::from_millis(50);

/// How often a node tells the others.
const GOSSIP: Duration = Duration::from_millis(400);

/// How often a node uses each backend that it takes for up, and looks what came of it.
pub(super) const USE: Duration = Duration::from_secs(1);

/// After so long without a word a node is dead to another.
pub(super) const DEAD_AFTER: Duration = Duration::from_millis(2500);

/// How long things are broken, and how long nothing is at the end.
const FAULTS: Duration = Duration::from_mins(1);
const QUIET: Duration = Duration::from_secs(20);

/// What one node has heard of another.
#[derive(Debug, Clone)]
struct Heard {
    number: (u32, u64),
    told: Arc<Told>,
    at: Duration,
}

/// A node, in one of its lives.
pub(super) struct Node {
    pub(super) name: Arc<str>,
    pub(super) is_alive: bool,
    pub(super) table: Table,
    pub(super) view: View,
    /// How far its clock is from the world's.
    ahead: Duration,
    life: u32,
    letters: u64,
    told: Arc<Told>,
    heard: BTreeMap<usize, Heard>,
    /// Checks that run: when they end, when they began, and what they will have seen.
    running: Vec<(Duration, Instant, Check, Seen)>,
}

pub(super) struct World {
    pub(super) rng: StdRng,
    /// The nodes' clocks count from here.
    begin: Instant,
    pub(super) now: Duration,
    pub(super) nodes: Vec<Node>,
    pub(super) backends: u8,
    pub(super) is_active: bool,
    /// Backends that are down.
    pub(super) down: BTreeSet<u8>,
    /// Links from nodes to backends that are cut.
    pub(super) cut: BTreeSet<(usize, u8)>,
    links: Links,
    checks: u64,
}

/// What tells two schedules apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    checks: u64,
    turns: u64,
    down_at_the_end: BTreeSet<u8>,
}

pub(super) fn run(seed: u64) -> Outcome {
    let mut world = World::new(seed);
    let mut judge = Judge::new(&world);
    let mut next_fault = Duration::from_secs(2);
    while world.now < FAULTS {
        if world.now >= next_fault {
            world.one_fault(&mut judge);
            next_fault += Duration::from_millis(world.rng.random_range(100..6_000));
        }
        world.step(&mut judge);
    }
    world.mend(&mut judge);
    while world.now < FAULTS + QUIET {
        world.step(&mut judge);
    }
    judge::converged(&world);
    Outcome {
        checks: world.checks,
        turns: judge.turns,
        down_at_the_end: world.down,
    }
}

impl Node {
    fn new(number: usize, world_begin: (Instant, Duration), rng: &mut StdRng, settings: (u8, bool)) -> Self {
        let name: Arc<str> = format!("n{number}").into();
        let (begin, now) = world_begin;
        let ahead = Duration::from_millis(rng.random_range(0..3_600_000));
        let (mut publisher, view) = Publisher::new(NodeVariables::default());
        let (backends, is_active) = settings;
        let checked: &[(&str, &str)] = if is_active { &[("health_tcp", "on")] } else { &[] };
        publisher.publish(&config(backends, checked));
        let mut table = Table::new(&name);
        table.set_snapshot(&view.load(), begin + now + ahead);
        Self {
            name,
            is_alive: true,
            table,
            view,
            ahead,
            life: 0,
            letters: 0,
            told: Arc::default(),
            heard: BTreeMap::new(),
            running: Vec::new(),
        }
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let begin = Instant::now();
        let (nodes, backends) = (rng.random_range(2..7), rng.random_range(2..7));
        let is_active = rng.random_bool(0.6);
        let nodes = (1..=nodes)
            .map(|number| Node::new(number, (begin, Duration::ZERO), &mut rng, (backends, is_active)))
            .collect();
        Self {
            rng,
            begin,
            now: Duration::ZERO,
            nodes,
            backends,
            is_active,
            down: BTreeSet::new(),
            cut: BTreeSet::new(),
            links: Links::default(),
            checks: 0,
        }
    }

    /// The time by a node's own clock.
    pub(super) fn clock(&self, node: usize) -> Instant {
        self.begin + self.now + self.nodes[node].ahead
    }

    pub(super) fn alive(&self) -> Vec<usize> {
        (0..self.nodes.len())
            .filter(|node| self.nodes[*node].is_alive)
            .collect()
    }

    /// Whether a node gets a connection to a backend.
    pub(super) fn reaches(&self, node: usize, number: u8) -> bool {
        !self.down.contains(&number) && !self.cut.contains(&(node, number))
    }

    fn seen(&self, node: usize, number: u8) -> Seen {
        if self.reaches(node, number) {
            Seen::Up(Some(Duration::from_millis(1)))
        } else {
            refused()
        }
    }

    fn one_fault(&mut self, judge: &mut Judge) {
        let node = self.rng.random_range(0..self.nodes.len());
        let number = self.rng.random_range(1..=self.backends);
        match self.rng.random_range(0..10) {
            0..3 => toggle(&mut self.down, number),
            3 | 4 => toggle(&mut self.cut, (node, number)),
            5 => {
                let other = self.rng.random_range(0..self.nodes.len());
                toggle(&mut self.links.cut, (node, other));
            }
            6 => {
                for other in 0..self.nodes.len() {
                    self.links.cut.extend([(node, other), (other, node)]);
                }
            }
            7 => self.links.lost = self.rng.random_range(0..60),
            8 => self.links.heal(),
            _ if !self.nodes[node].is_alive => self.revive(node, judge),
            _ if self.alive().len() > 1 => {
                self.nodes[node].is_alive = false;
                judge.membership_moved(self.now);
            }
            _ => self.links.heal(),
        }
        judge.world_moved(self);
    }

    /// It comes back, and knows nothing.
    fn revive(&mut self, node: usize, judge: &mut Judge) {
        let life = self.nodes[node].life + 1;
        let begin = (self.begin, self.now);
        let settings = (self.backends, self.is_active);
        self.nodes[node] = Node {
            life,
            ..Node::new(node + 1, begin, &mut self.rng, settings)
        };
        judge.is_another(node);
        judge.membership_moved(self.now);
    }

    fn mend(&mut self, judge: &mut Judge) {
        self.links.heal();
        self.cut.clear();
        for node in 0..self.nodes.len() {
            if !self.nodes[node].is_alive {
                self.revive(node, judge);
            }
        }
        judge.world_moved(self);
    }

    fn step(&mut self, judge: &mut Judge) {
        self.now += STEP;
        self.deliver();
        for node in self.alive() {
            self.end_checks(node, judge);
            self.begin_checks(node);
            if self.is_time_for(node, USE) {
                self.use_backends(node, judge);
            }
            if self.is_time_for(node, GOSSIP) {
                self.tell(node);
                self.listen(node);
            }
        }
        judge.look(self);
    }

    /// Each node has its own beat.
    fn is_time_for(&self, node: usize, every: Duration) -> bool {
        let steps = every.as_millis() / STEP.as_millis();
        let now = self.now.as_millis() / STEP.as_millis();
        (now + u128::try_from(node).unwrap()).is_multiple_of(steps)
    }

    fn deliver(&mut self) {
        for letter in self.links.arrived(self.now) {
            let now = self.now;
            let node = &mut self.nodes[letter.to];
            let known = node.heard.get(&letter.from);
            // What is older than what is known says nothing, not even that its sender lives.
            if node.is_alive && known.is_none_or(|known| known.number < letter.number) {
                let heard = Heard {
                    number: letter.number,
                    told: letter.told,
                    at: now,
                };
                node.heard.insert(letter.from, heard);
            }
        }
    }

    fn tell(&mut self, from: usize) {
        let node = &mut self.nodes[from];
        if let Some(told) = node.table.take_told() {
            node.told = told;
        }
        node.letters += 1;
        let (number, told) = ((node.life, node.letters), Arc::clone(&node.told));
        for to in (0..self.nodes.len()).filter(|to| *to != from) {
            let letter = Letter {
                from,
                to,
                arrives: self.now,
                number,
                told: Arc::clone(&told),
            };
            self.links.send(&letter, self.now, &mut self.rng);
        }
    }

    fn listen(&mut self, own: usize) {
        let clock = self.clock(own);
        let names: Vec<_> = self.nodes.iter().map(|node| Arc::clone(&node.name)).collect();
        let now = self.now;
        let node = &mut self.nodes[own];
        let others = node.heard.iter().map(|(other, heard)| Voice {
            name: Arc::clone(&names[*other]),
            is_alive: now.saturating_sub(heard.at) < DEAD_AFTER,
            is_self: false,
            told: Arc::clone(&heard.told),
        });
        let voices: Vec<_> = others.collect();
        node.table.set_voices(&voices, clock);
    }

    fn begin_checks(&mut self, node: usize) {
        let clock = self.clock(node);
        for check in self.nodes[node].table.due(clock) {
            let seen = self.seen(node, last(check.address));
            let ends = self.now + Duration::from_millis(self.rng.random_range(0..200));
            self.nodes[node].running.push((ends, clock, check, seen));
        }
    }

    fn end_checks(&mut self, node: usize, judge: &mut Judge) {
        let (clock, now) = (self.clock(node), self.now);
        let running = &mut self.nodes[node].running;
        let ended: Vec<_> = running.extract_if(.., |(ends, ..)| *ends <= now).collect();
        for (_, started, check, seen) in ended {
            self.checks += 1;
            let is_up = matches!(seen, Seen::Up(_));
            judge.has_checked(node, last(check.address), is_up, now);
            self.nodes[node]
                .table
                .checked(&check, started, Some(&seen), clock);
        }
    }

    /// A request to each backend that the data plane would use.
    fn use_backends(&mut self, node: usize, judge: &mut Judge) {
        let (clock, now) = (self.clock(node), self.now);
        let snapshot = self.nodes[node].view.load();
        let mut answered = Vec::new();
        for state in snapshot.pool("web").unwrap().backends() {
            let number = last(state.address());
            if state.is_out() {
                continue;
            }
            if self.reaches(node, number) {
                state.count_answer(200, 1);
                answered.push(number);
            } else {
                judge.has_failed(node, number, now);
                self.nodes[node].table.saw(&key(number), &refused(), clock);
            }
        }
        self.nodes[node].table.look(clock);
        for number in answered {
            judge.has_answered(node, number, now);
        }
    }

    /// What a node makes of a backend.
    pub(super) fn is_up(&self, node: usize, number: u8) -> bool {
        let all = self.nodes[node].table.all(None, self.clock(node));
        all.iter()
            .find(|health| health.key.backend == backend(number))
            .unwrap()
            .is_up
    }
}

fn toggle<T: Ord>(set: &mut BTreeSet<T>, item: T) {
    if !set.remove(&item) {
        set.insert(item);
    }
}
