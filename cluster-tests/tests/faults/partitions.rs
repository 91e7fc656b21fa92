//! Networks that break between nodes whose clients still reach them.

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::world::{Stay, World};
use fleetbal_cluster_tests::{Fleet, Load, Plan, Result, oracle, wait};

/// A fleet of three in a world, one backend of two in its pool.
fn fleet_of_three() -> Result<Option<(Stay, Fleet)>> {
    let Some(world) = World::enter(3)? else {
        return Ok(None);
    };
    let fleet = Fleet::start(&Plan {
        backends: 2,
        pooled: 1,
        ..Plan::default()
    })?;
    Ok(Some((world, fleet)))
}

/// Traffic at each node.
fn loads(fleet: &Fleet) -> Result<Vec<Load>> {
    fleet
        .nodes()
        .iter()
        .map(|node| Load::start(node.traffic(), 2))
        .collect()
}

fn flawless(loads: Vec<Load>) -> Result {
    for load in loads {
        load.pass(20)?;
        load.finish().expect_flawless()?;
    }
    Ok(())
}

/// Waits until a node takes this change.
fn change_at(fleet: &Fleet, number: usize, line: &str) -> Result {
    let address = fleet.node(number)?.manage()?;
    let mut manage = address;
    wait::for_true(format!("n{number} to take '{line}'"), wait::PATIENCE * 2, || {
        manage.change(line)?;
        Ok(true)
    })
}

fn whole_again(fleet: &Fleet, pools: &[&str]) -> Result {
    fleet.wait_settled()?;
    let dump = oracle::same_bytes(fleet.nodes())?;
    for pool in pools {
        let line = format!("CREATE POOL {pool}");
        ensure!(
            dump.lines().any(|dumped| dumped == line),
            "no '{line}' in\n{dump}"
        );
    }
    Ok(())
}

fn small(number: usize) -> Result<u8> {
    Ok(u8::try_from(number)?)
}

#[test]
fn a_leader_that_is_cut_off_takes_no_change_and_carries_on_with_traffic() -> Result {
    let Some((world, fleet)) = fleet_of_three()? else {
        return Ok(());
    };
    let loads = loads(&fleet)?;
    let old = fleet.leader()?;
    let other = *fleet.followers()?.first().context("no follower")?;
    world.isolate(small(old)?)?;
    // The first may be out before the leader knows that nobody hears it.
    let mut cut_off = fleet.node(old)?.manage()?;
    let first = cut_off.refused("CREATE POOL lost")?;
    let unknown = first
        .strip_prefix("outcome unknown (request ")
        .map(|id| id.trim_end_matches(')'));
    ensure!(
        unknown.is_some() || first.contains("no quorum (1 of 3"),
        "it says: {first}"
    );
    let second = cut_off.refused("CREATE POOL lost")?;
    ensure!(second.contains("no quorum (1 of 3"), "it says: {second}");
    change_at(&fleet, other, "CREATE POOL kept")?;
    // It reads what it had, and says so only when asked for nothing fresher.
    ensure!(!fleet.node(old)?.dump()?.contains("kept"), "news came over a cut");
    let fresh = fleet.node(old)?.manage()?.refused("sync")?;
    ensure!(fresh.contains("no quorum"), "it says: {fresh}");
    world.heal()?;
    whole_again(&fleet, &["kept"])?;
    if let Some(id) = unknown {
        let told = cut_off.data(&format!("config request {id}"))?;
        ensure!(told == ["never applied"], "it says: {told:?}");
    }
    ensure!(
        !fleet.node(1)?.dump()?.contains("CREATE POOL lost"),
        "a refused change is there"
    );
    flawless(loads)?;
    fleet.passed()
}

#[test]
fn a_network_that_is_cut_one_way_still_gets_a_leader_that_takes_changes() -> Result {
    let Some((world, fleet)) = fleet_of_three()? else {
        return Ok(());
    };
    let loads = loads(&fleet)?;
    let leader = fleet.leader()?;
    let followers = fleet.followers()?;
    // First the leader hears nobody, then nobody hears the leader.
    for (round, deaf) in [true, false].into_iter().enumerate() {
        for &follower in &followers {
            let (from, to) = if deaf {
                (follower, leader)
            } else {
                (leader, follower)
            };
            world.cut_one_way(small(from)?, small(to)?)?;
        }
        change_at(
            &fleet,
            *followers.first().context("no follower")?,
            &format!("CREATE POOL way{round}"),
        )?;
        world.heal()?;
        whole_again(&fleet, &[&format!("way{round}")])?;
        // The first try may meet an election that is still going on.
        change_at(&fleet, leader, &format!("cluster transfer n{leader}"))?;
        fleet.wait_settled()?;
    }
    flawless(loads)?;
    fleet.passed()
}

#[test]
fn a_line_that_comes_and_goes_and_one_that_loses_packets_lose_no_change() -> Result {
    let Some((world, fleet)) = fleet_of_three()? else {
        return Ok(());
    };
    let loads = loads(&fleet)?;
    let mut pools = Vec::new();
    for round in 0..6 {
        let victim = round % 3 + 1;
        world.isolate(small(victim)?)?;
        let name = format!("flap{round}");
        change_at(&fleet, victim % 3 + 1, &format!("CREATE POOL {name}"))?;
        pools.push(name);
        world.heal()?;
    }
    world.lose(20)?;
    for number in 1..=3 {
        let name = format!("lossy{number}");
        change_at(&fleet, number, &format!("CREATE POOL {name}"))?;
        pools.push(name);
    }
    world.heal()?;
    let pools: Vec<_> = pools.iter().map(String::as_str).collect();
    whole_again(&fleet, &pools)?;
    flawless(loads)?;
    fleet.passed()
}

#[test]
fn a_follower_that_only_lost_the_leader_does_not_unseat_it() -> Result {
    let Some((world, fleet)) = fleet_of_three()? else {
        return Ok(());
    };
    let leader = fleet.leader()?;
    let followers = fleet.followers()?;
    let (lonely, other) = (
        *followers.first().context("no follower")?,
        *followers.last().context("no follower")?,
    );
    let term = fleet
        .node(leader)?
        .status()?
        .node(&format!("n{leader}"), "term")?
        .clone();
    world.cut(small(lonely)?, small(leader)?)?;
    for round in 0..20 {
        fleet
            .node(other)?
            .manage()?
            .change(&format!("CREATE POOL steady{round}"))?;
    }
    world.heal()?;
    whole_again(&fleet, &["steady0", "steady19"])?;
    let status = fleet.node(leader)?.status()?;
    ensure!(
        *status.node(&format!("n{leader}"), "term")? == term,
        "there was an election: {}",
        status.json
    );
    fleet.passed()
}

#[test]
fn a_leader_that_was_stopped_for_a_while_tells_nothing_old() -> Result {
    let mut fleet = Fleet::start(&Plan {
        pooled: 1,
        ..Plan::default()
    })?;
    for round in 0..3 {
        let old = fleet.leader()?;
        let other = *fleet.followers()?.first().context("no follower")?;
        fleet.freeze(old)?;
        change_at(&fleet, other, &format!("CREATE POOL meanwhile{round}"))?;
        fleet.thaw(old)?;
        let mut manage = fleet.node(old)?.manage()?;
        wait::for_true("a fresh read", wait::PATIENCE, || {
            manage.change("sync")?;
            Ok(true)
        })?;
        let dump = manage.data("dumpconfig")?.join("\n");
        ensure!(
            dump.contains(&format!("meanwhile{round}")),
            "what was read after `sync` at n{old} is older than it:\n{dump}"
        );
        fleet.wait_settled()?;
    }
    fleet.passed()
}

#[test]
fn restarts_one_by_one_and_all_at_once_lose_nothing() -> Result {
    let mut fleet = Fleet::of_three()?;
    for number in 1..=3 {
        let other = number % 3 + 1;
        let load = Load::start(fleet.node(other)?.traffic(), 2)?;
        ensure!(fleet.terminate(number)? == Some(0), "n{number} did not end well");
        change_at(&fleet, other, &format!("CREATE POOL without{number}"))?;
        fleet.restart(number)?;
        fleet.wait_settled()?;
        load.finish().expect_flawless()?;
    }
    let before = oracle::same_bytes(fleet.nodes())?;
    for number in 1..=3 {
        ensure!(fleet.terminate(number)? == Some(0), "n{number} did not end well");
    }
    for number in 1..=3 {
        let flags = fleet.node(number)?.flags.clone();
        fleet.launch_only(number, flags)?;
    }
    for number in 1..=3 {
        fleet.wait_answers(number)?;
    }
    fleet.wait_settled()?;
    ensure!(
        oracle::same_bytes(fleet.nodes())? == before,
        "they came back with something else"
    );
    fleet.passed()
}
