//! Nodes that cannot reach backends, or each other, and backends that are not what they seem.

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::world::{Stay, World};
use fleetbal_cluster_tests::{Fleet, Load, Plan, Result, wait};

/// A fleet in a world, all of whose backends are in its pool.
fn fleet_in_a_world(nodes: u8, backends: usize, extra: &str) -> Result<Option<(Stay, Fleet)>> {
    let Some(world) = World::enter(nodes)? else {
        return Ok(None);
    };
    let fleet = Fleet::start(&Plan {
        nodes: nodes.into(),
        backends,
        pooled: backends,
        extra: extra.to_owned(),
    })?;
    Ok(Some((world, fleet)))
}

fn wait_standing(fleet: &Fleet, nodes: &[usize], backend: &str, wanted: &str) -> Result {
    for &node in nodes {
        wait::for_true(
            format!("n{node} to hold {backend} for {wanted}"),
            wait::PATIENCE * 2,
            || Ok(fleet.node(node)?.manage()?.standing(backend)? == wanted),
        )?;
    }
    Ok(())
}

#[test]
fn a_node_that_alone_reaches_no_backend_leaves_the_vip_and_comes_back() -> Result {
    let Some((world, mut fleet)) = fleet_in_a_world(3, 2, "")? else {
        return Ok(());
    };
    let backends = [
        fleet.backend(1)?.address().to_string(),
        fleet.backend(2)?.address().to_string(),
    ];
    let loads = [
        Load::start(fleet.node(1)?.traffic(), 2)?,
        Load::start(fleet.node(2)?.traffic(), 2)?,
    ];
    for backend in [1, 2] {
        world.cut_backend(3, backend)?;
    }
    wait::for_true("n3 to say why it is not ready", wait::PATIENCE * 2, || {
        // Only who has traffic can know.
        let answered = fleet.node(3)?.get("/who");
        drop(answered);
        let said = fleet.node(3)?.ready().err().context("it is ready")?.to_string();
        ensure!(
            said.contains("none of its backends can be reached"),
            "it says: {said}"
        );
        Ok(true)
    })?;
    for number in [1, 2] {
        fleet.node(number)?.ready()?;
        for backend in &backends {
            ensure!(
                fleet.node(number)?.manage()?.standing(backend)? == "up",
                "one node's broken line emptied the pool of n{number}"
            );
        }
    }
    for load in loads {
        load.pass(20)?;
        load.finish().expect_flawless()?;
    }
    world.heal()?;
    wait::for_true("n3 to be ready again", wait::PATIENCE, || fleet.node(3)?.ready())?;
    for backend in &backends {
        wait_standing(&fleet, &[1, 2, 3], backend, "up")?;
    }
    fleet.passed()
}

#[test]
fn one_node_that_says_down_of_all_empties_no_pool_but_its_own() -> Result {
    let Some((world, mut fleet)) = fleet_in_a_world(4, 3, "")? else {
        return Ok(());
    };
    let backends: Vec<_> = (1..=3)
        .map(|number| Ok(fleet.backend(number)?.address().to_string()))
        .collect::<Result<_>>()?;
    let loads: Vec<_> = (2..=4)
        .map(|number| Load::start(fleet.node(number)?.traffic(), 2))
        .collect::<Result<_>>()?;
    for backend in 1..=3 {
        world.cut_backend(1, backend)?;
    }
    // Whether it checks them or not, it says so of each: one voice.
    for backend in &backends {
        wait::for_true(
            format!("n1 to hold {backend} for down"),
            wait::PATIENCE * 2,
            || {
                drop(fleet.node(1)?.get("/who"));
                Ok(fleet.node(1)?.manage()?.standing(backend)? == "down")
            },
        )?;
    }
    wait::for_true("the others to hear of it", wait::PATIENCE, || {
        for backend in &backends {
            let why = fleet.node(2)?.manage()?.data(&format!("health why {backend}"))?;
            let row = why.iter().find(|line| line.starts_with("n1 ")).context("no n1")?;
            ensure!(row.contains(" down "), "n1 says: {row}");
        }
        Ok(true)
    })?;
    for load in &loads {
        load.pass(200)?;
    }
    for number in 2..=4 {
        for backend in &backends {
            ensure!(
                fleet.node(number)?.manage()?.standing(backend)? == "up",
                "n{number} believes one voice about {backend}"
            );
        }
    }
    for load in loads {
        load.finish().expect_flawless()?;
    }
    world.heal()?;
    for backend in &backends {
        wait_standing(&fleet, &[1, 2, 3, 4], backend, "up")?;
    }
    fleet.passed()
}

#[test]
fn each_side_of_a_split_goes_by_what_it_sees() -> Result {
    let Some((world, mut fleet)) =
        fleet_in_a_world(3, 2, "SET web.health_tcp = on\nSET web.health_interval = 1\n")?
    else {
        return Ok(());
    };
    let backend = fleet.backend(1)?.address().to_string();
    world.isolate(3)?;
    // Their words are old soon, and count for nothing: the side checks for itself.
    wait::for_true("each side to be alone", wait::PATIENCE, || {
        for (number, wanted) in [(1, 2), (2, 2), (3, 1)] {
            let why = fleet
                .node(number)?
                .manage()?
                .data(&format!("health why {backend}"))?;
            let checkers = why
                .iter()
                .filter(|line| line.split_whitespace().nth(1) == Some("yes"));
            let count = checkers.count();
            ensure!(count == wanted, "n{number} has {count} checkers: {why:?}");
        }
        Ok(true)
    })?;
    world.cut_backend(3, 1)?;
    wait_standing(&fleet, &[3], &backend, "down")?;
    wait_standing(&fleet, &[1, 2], &backend, "up")?;
    fleet.backend(1)?.stop();
    wait_standing(&fleet, &[1, 2], &backend, "down")?;
    fleet.backend(1)?.restart()?;
    wait_standing(&fleet, &[1, 2], &backend, "up")?;
    ensure!(
        fleet.node(3)?.manage()?.standing(&backend)? == "down",
        "its line is cut"
    );
    for number in 1..=3 {
        ensure!(fleet.node(number)?.get("/who")?.status()? == 200);
    }
    world.heal()?;
    wait_standing(&fleet, &[1, 2, 3], &backend, "up")?;
    fleet.wait_settled()?;
    fleet.passed()
}
