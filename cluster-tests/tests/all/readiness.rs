//! `/readyz`: what one node suffers from takes it out of a VIP, what all suffer from takes nobody out.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::{Fleet, Plan, Result, client, wait};

/// What `/readyz` says on a node; none: it is ready.
fn not_ready(fleet: &Fleet, node: usize) -> Result<Option<String>> {
    let answer = client::get(fleet.node(node)?.management(), "/readyz")?;
    Ok((answer.status()? != 200).then(|| answer.text().trim().to_owned()))
}

fn wait_ready(fleet: &Fleet, node: usize) -> Result {
    wait::for_true(format!("n{node} to be ready"), wait::PATIENCE, || {
        fleet.node(node)?.ready()
    })
}

#[test]
fn an_effect_that_fails_on_one_node_alone_takes_it_out_and_back() -> Result {
    let fleet = Fleet::of_three()?;
    let mut address = fleet.node(3)?.traffic();
    address.set_port(9090);
    let taken = TcpListener::bind(address)?;
    let mut manage = fleet.node(1)?.manage()?;
    for line in [
        "CREATE SERVICE extra",
        "SET role = reverse_proxy",
        "SET pool = web",
        "SET listen = ${node:ip}:9090",
    ] {
        manage.change(line)?;
    }
    let refused = manage.refused("ENABLE extra")?;
    ensure!(refused.contains("enabled, but n3"), "{refused}");
    let wanted = format!("service extra: cannot listen on {address}: Address already in use");
    wait::for_true("n3 to say why it is not ready", wait::PATIENCE, || {
        let said = not_ready(&fleet, 3)?.context("it is ready")?;
        ensure!(said.contains(&wanted), "it says: {said}");
        Ok(true)
    })?;
    for number in [1, 2] {
        ensure!(not_ready(&fleet, number)?.is_none(), "n{number} is not ready");
    }
    // The listener that it has goes on.
    ensure!(fleet.node(3)?.get("/who")?.status()? == 200, "n3 serves no more");
    drop(taken);
    wait_ready(&fleet, 3)?;
    fleet.passed()
}

#[test]
fn a_backend_that_is_dead_for_all_empties_no_vip() -> Result {
    let mut fleet = Fleet::start(&Plan {
        backends: 1,
        pooled: 1,
        ..Plan::default()
    })?;
    fleet.backend(1)?.stop();
    // A moment longer than any node would wait for the others to know better.
    let long_enough = 6;
    let mut for_seconds = 0;
    wait::until("all to have it down for a while", wait::PATIENCE, || {
        for number in 1..=3 {
            let status = fleet.node(number)?.get("/who")?.status()?;
            if status < 500 {
                return Ok(None);
            }
            if let Some(reason) = not_ready(&fleet, number)? {
                // Not an error: those are waited away.
                return Ok(Some(Err(anyhow::anyhow!("n{number} left the VIP: {reason}"))));
            }
        }
        let mut times = Vec::new();
        for number in 1..=3 {
            let lines = fleet.node(number)?.manage()?.data("health web")?;
            let line = lines.first().context("no backend")?;
            let words: Vec<_> = line.split(' ').collect();
            ensure!(words.get(2) == Some(&"down"), "n{number}: {line}");
            times.push(words.get(3).context("no time")?.parse::<u64>()?);
        }
        for_seconds = times.into_iter().min().unwrap_or_default();
        Ok((for_seconds >= long_enough).then_some(Ok(())))
    })??;
    fleet.backend(1)?.restart()?;
    for number in 1..=3 {
        wait::for_true(format!("n{number} to serve"), wait::PATIENCE, || {
            Ok(fleet.node(number)?.get("/who")?.status()? == 200)
        })?;
        wait_ready(&fleet, number)?;
    }
    fleet.passed()
}

#[test]
fn who_finds_no_leader_is_ready_after_five_seconds_with_what_it_knew() -> Result {
    let mut fleet = Fleet::of_three()?;
    fleet.kill_together(&[1, 2, 3])?;
    let start = Instant::now();
    fleet.restart(2)?;
    let mut said = Vec::new();
    wait::for_true("n2 to be ready", wait::PATIENCE, || {
        let reason = not_ready(&fleet, 2)?;
        let is_ready = reason.is_none();
        said.extend(reason);
        Ok(is_ready)
    })?;
    let took = start.elapsed();
    ensure!(took >= Duration::from_secs(5), "ready after {took:?}");
    ensure!(took < Duration::from_secs(10), "ready after {took:?} only");
    ensure!(
        said.iter()
            .any(|reason| reason.contains("catching up with the fleet")),
        "it said {said:?}"
    );
    fleet.wait_served_by(2, &["b1", "b2", "b3"])?;
    // With a leader it catches up, however long that takes.
    fleet.restart(1)?;
    fleet.restart(3)?;
    fleet.wait_settled()?;
    fleet.passed()
}
