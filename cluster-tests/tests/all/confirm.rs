//! `commit confirm SECONDS`: what nobody confirms is undone by the fleet itself, whoever is left of it.

use std::time::{Duration, Instant};

use anyhow::ensure;
use fleetbal_cluster_tests::{Fleet, Manage, Plan, Result, oracle, wait};

fn fleet() -> Result<Fleet> {
    Fleet::start(&Plan {
        pooled: 1,
        ..Plan::default()
    })
}

fn commit(manage: &mut Manage, pool: &str, seconds: u64) -> Result {
    manage.change("begin")?;
    manage.change(&format!("CREATE POOL {pool}"))?;
    manage.change(&format!("commit confirm {seconds}"))
}

fn wait_undone(fleet: &Fleet, number: usize, version: u64) -> Result {
    wait::for_true("the version to be undone", wait::PATIENCE, || {
        Ok(fleet.node(number)?.version()? > version)
    })
}

#[test]
fn what_is_confirmed_stays_and_the_rest_is_undone() -> Result {
    let fleet = fleet()?;
    let version = fleet.node(2)?.version()?;
    let mut manage = fleet.node(2)?.manage()?;
    commit(&mut manage, "kept", 60)?;
    // No other node changes anything now, until one of them confirms.
    let mut other = fleet.node(3)?.manage()?;
    other.change("sync")?;
    let refused = other.refused("CREATE POOL late")?;
    ensure!(
        refused == format!("version {} waits for confirm", version + 1),
        "{refused}"
    );
    other.change("confirm")?;
    let refused = manage.refused("confirm")?;
    ensure!(refused == "no version waits for confirm", "{refused}");
    other.change("CREATE POOL late")?;

    let committed = Instant::now();
    commit(&mut other, "gone", 1)?;
    wait_undone(&fleet, 1, version + 3)?;
    let took = committed.elapsed();
    ensure!(took >= Duration::from_secs(1), "undone after {took:?}");
    fleet.wait_settled()?;
    let dump = oracle::same_bytes(fleet.nodes())?;
    ensure!(
        dump.contains("CREATE POOL kept") && dump.contains("CREATE POOL late"),
        "{dump}"
    );
    ensure!(!dump.contains("CREATE POOL gone"), "{dump}");
    let last = fleet.node(3)?.manage()?.data("config history 1")?.join("\n");
    let what = format!("version {} was not confirmed", version + 3);
    ensure!(last.ends_with(&what), "{last}");
    other.change("CREATE POOL next")?;
    fleet.passed()
}

#[test]
fn it_is_undone_without_the_typists_node_and_the_leader() -> Result {
    let mut fleet = fleet()?;
    let before = fleet.node(1)?.dump()?;
    for seconds in [1, 4] {
        let leader = fleet.leader()?;
        let version = fleet.node(leader)?.version()?;
        let mut manage = fleet.node(leader)?.manage()?;
        let committed = Instant::now();
        commit(&mut manage, "gone", seconds)?;
        fleet.kill(leader)?;
        let left = fleet.running();
        wait_undone(&fleet, left[0], version + 1)?;
        let took = committed.elapsed();
        ensure!(took >= Duration::from_secs(seconds), "undone after {took:?}");
        for number in left {
            wait::for_true(format!("n{number} to have it no more"), wait::PATIENCE, || {
                Ok(fleet.node(number)?.dump()? == before)
            })?;
        }
        fleet.restart(leader)?;
        fleet.wait_settled()?;
        ensure!(oracle::same_bytes(fleet.nodes())? == before);
    }
    fleet.passed()
}

/// All nodes are gone when the time is over: the log knows what waits.
#[test]
fn it_is_undone_after_a_restart_of_all() -> Result {
    let mut fleet = fleet()?;
    let version = fleet.node(3)?.version()?;
    let before = fleet.node(3)?.dump()?;
    commit(&mut fleet.node(3)?.manage()?, "gone", 2)?;
    fleet.kill_together(&[1, 2, 3])?;
    for number in 1..=3 {
        let flags = fleet.node(number)?.flags.clone();
        fleet.launch_only(number, flags)?;
    }
    for number in 1..=3 {
        fleet.wait_answers(number)?;
    }
    wait_undone(&fleet, 1, version + 1)?;
    fleet.wait_settled()?;
    ensure!(oracle::same_bytes(fleet.nodes())? == before);
    fleet.passed()
}
