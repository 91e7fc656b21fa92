//! A fleet of hundreds in one process: on two CPUs what a real one does on hundreds of machines.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use openraft::async_runtime::WatchReceiver as _;

use super::harness::{Fleet, Node, create, run, until};
use super::many::{VOTERS, join_together};
use crate::cluster::JoinToken;
use crate::wire::ConfigHasher;

const LEARNERS: usize = 200;

/// How many join at the same time.
const AT_ONCE: usize = 10;

const CHANGES: usize = 20;

/// How long all of them may take to know something on a small machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// How long changes may stop where a leader is lost.
const WITHOUT_LEADER: Duration = Duration::from_millis(1500);

/// What one node may take of the memory, its share of the test included.
const NODE_MEMORY: u64 = 32 << 20;

/// For how long the work of an idle fleet is counted.
const IDLE: Duration = Duration::from_secs(10);

#[test]
#[ignore = "works two CPUs for minutes; built as a release, see docs/benchmarks.md"]
fn two_hundred_learners_join_follow_every_change_and_outlive_their_leader() {
    let learners = from_environment("FLEETBAL_LEARNERS", LEARNERS);
    let at_once = from_environment("FLEETBAL_AT_ONCE", AT_ONCE);
    let mut fleet = Fleet::found();
    let token = run(fleet.nodes[0]
        .cluster
        .issue_token(Duration::from_hours(1), None, "test"))
    .unwrap();
    join_together(&mut fleet, &[2, 3, 4, 5], &token);
    fleet.wait_for_voters(VOTERS);
    fleet.share_threads();
    join_all(&mut fleet, learners, at_once, &token);

    let mut times: Vec<Duration> = (0..CHANGES).map(|number| change(&fleet, number)).collect();
    times.sort_unstable();
    println!(
        "a change until all have applied it: median {:?}, longest {:?}",
        times[CHANGES / 2],
        times[CHANGES - 1]
    );
    all_are_alike(&fleet);
    let memory = resident() / fleet.nodes.len() as u64;
    println!("memory of a node: {} KiB", memory >> 10);
    assert!(memory <= NODE_MEMORY, "{memory} bytes a node");
    tell_idle_work(&fleet);

    let leader = fleet.leader();
    fleet.kill(leader);
    let begin = Instant::now();
    fleet.nodes.last().unwrap().create("after").unwrap();
    let without = begin.elapsed();
    until("the change everywhere", PATIENCE, || {
        fleet.nodes.iter().all(|node| node.has_pool("after"))
    });
    println!(
        "a change after the leader's end: {without:?}, until all have it {:?}",
        begin.elapsed()
    );
    assert!(without <= WITHOUT_LEADER, "took {without:?}");
    all_are_alike(&fleet);
}

fn from_environment(name: &str, otherwise: usize) -> usize {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

fn join_all(fleet: &mut Fleet, learners: usize, at_once: usize, token: &JoinToken) {
    let begin = Instant::now();
    let numbers: Vec<usize> = (VOTERS + 1..=VOTERS + learners).collect();
    for group in numbers.chunks(at_once) {
        let asked = Instant::now();
        join_together(fleet, group, token);
        let (nodes, took) = (fleet.nodes.len(), asked.elapsed());
        println!(
            "{nodes} nodes after {:?}, the last {} in {took:?}",
            begin.elapsed(),
            group.len()
        );
    }
    let all = fleet.nodes.len();
    until("all to know all", PATIENCE, || {
        fleet.nodes.iter().all(|node| knows_all(node, all))
    });
    println!("all {all} know all after {:?}", begin.elapsed());
}

/// Whether a node knows so many members, with what each can apply.
fn knows_all(node: &Node, all: usize) -> bool {
    let metrics = node.cluster.0.raft.metrics();
    let metrics = metrics.borrow_watched();
    let membership = metrics.membership_config.membership();
    membership.voter_ids().count() == VOTERS
        && membership.nodes().count() == all
        && membership
            .nodes()
            .all(|(_, member)| member.feature_level.is_some())
}

/// Changes something at one of them, and tells how long it takes until each has it.
fn change(fleet: &Fleet, number: usize) -> Duration {
    let pool = format!("p{number}");
    let at = &fleet.nodes[(number * 10) % fleet.nodes.len()];
    let begin = Instant::now();
    run(at.cluster.propose(create(&pool), "test", PATIENCE)).unwrap();
    until("the change everywhere", PATIENCE, || {
        fleet.nodes.iter().all(|node| node.has_pool(&pool))
    });
    begin.elapsed()
}

fn all_are_alike(fleet: &Fleet) {
    let configs = fleet.nodes.iter().map(|node| {
        let config = Arc::clone(&node.cluster.feed().latest().state.config);
        (config.version, ConfigHasher::default().hash(&config))
    });
    let configs: BTreeSet<_> = configs.collect();
    assert_eq!(configs.len(), 1, "{configs:?}");
}

/// What the nodes do while nothing happens, and how much of it each does.
#[expect(clippy::cast_precision_loss, reason = "a few thousand ticks")]
fn tell_idle_work(fleet: &Fleet) {
    let leader = fleet.nodes[fleet.leader()].name.clone();
    let before = ticks();
    std::thread::sleep(IDLE);
    let after = ticks();
    let percent = |name: &str| {
        // Threads that began or ended meanwhile, for work that blocks, took next to nothing.
        let spent: u64 = after
            .iter()
            .filter(|((_, thread), _)| thread == name)
            .filter_map(|(task, ticks)| Some(ticks - before.get(task)?))
            .sum();
        // Linux counts in hundredths of a second.
        spent as f64 / IDLE.as_secs_f64()
    };
    let mut voters: Vec<f64> = fleet.nodes[..VOTERS]
        .iter()
        .filter(|node| node.name != leader)
        .map(|node| percent(&node.name))
        .collect();
    voters.sort_by(f64::total_cmp);
    let learners = (fleet.nodes.len() - VOTERS) as f64;
    println!(
        "idle, of a CPU: the leader {:.2} %, other voters {voters:.2?} %, a learner {:.2} %",
        percent(&leader),
        percent("shared") / learners,
    );
}

/// CPU time of each thread, by its id and name; a voter's threads have its name, learners share some.
fn ticks() -> BTreeMap<(OsString, String), u64> {
    let mut ticks = BTreeMap::new();
    for task in fs::read_dir("/proc/self/task").unwrap() {
        let task = task.unwrap();
        // A thread may end meanwhile.
        let Ok(stat) = fs::read_to_string(task.path().join("stat")) else {
            continue;
        };
        let (head, tail) = stat.rsplit_once(')').unwrap();
        let (_, name) = head.split_once('(').unwrap();
        let fields: Vec<&str> = tail.split_whitespace().collect();
        let spent: u64 = fields[11..13]
            .iter()
            .map(|field| field.parse::<u64>().unwrap())
            .sum();
        ticks.insert((task.file_name(), name.to_owned()), spent);
    }
    ticks
}

fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kib << 10
}
