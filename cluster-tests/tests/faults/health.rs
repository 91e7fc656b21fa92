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

/// What `health` says of a backend on a node, in one word.
fn standing(fleet: &Fleet, node: usize, backend: &str) -> Result<String> {
    let lines = fleet.node(node)?.manage()?.data("health web")?;
    let line = lines.iter().find(|line| line.split(' ').nth(1) == Some(backend));
    let line = line.with_context(|| format!("no {backend} in {lines:?}"))?;
    Ok(line.split(' ').nth(2).unwrap_or_default().to_owned())
}

fn wait_standing(fleet: &Fleet, nodes: &[usize], backend: &str, wanted: &str) -> Result {
    for &node in nodes {
        wait::for_true(
            format!("n{node} to hold {backend} for {wanted}"),
            wait::PATIENCE * 2,
            || Ok(standing(fleet, node, backend)? == wanted),
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
                standing(&fleet, number, backend)? == "up",
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
