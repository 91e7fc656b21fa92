//! Fleets of many nodes on one machine.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::fleet::{Fleet, Plan};
use crate::{Result, wait};

/// Nodes that join at the same time: each takes a CPU for a moment.
const AT_ONCE: usize = 6;

/// How long so many processes may take on a small machine.
const PATIENCE: Duration = Duration::from_mins(3);

/// Founds a fleet, and has all others join it a few at a time.
///
/// # Errors
/// When one does not come up, or they do not agree.
pub fn of(nodes: usize) -> Result<Fleet> {
    let mut fleet = Fleet::prepare(&Plan {
        nodes,
        backends: 1,
        pooled: 1,
        ..Plan::default()
    })?;
    fleet.found()?;
    let token = fleet.token("")?;
    let numbers: Vec<usize> = (2..=nodes).collect();
    for some in numbers.chunks(AT_ONCE) {
        for &number in some {
            let flags = fleet.join_flags(number, &token)?;
            fleet.launch_only(number, flags)?;
        }
        for &number in some {
            fleet.wait_answers(number)?;
        }
    }
    wait_agreed(&fleet)?;
    Ok(fleet)
}

/// Waits until one of them sees all that run as alive, ready and of one version, with as many voters as there should be.
///
/// # Errors
/// When that does not come.
pub fn wait_agreed(fleet: &Fleet) -> Result {
    let running = fleet.running();
    let asked = *running.last().context("none runs")?;
    wait::for_true("all to agree", PATIENCE, || {
        let status = fleet.node(asked)?.status()?;
        for number in &running {
            let state = status.node_text(&format!("n{number}"), "state")?;
            ensure!(state == "alive", "n{number} is {state}");
        }
        let voters = status.quorum("voters")?;
        ensure!(voters == 5.min(running.len() as u64), "there are {voters} voters");
        ensure!(status.in_sync(), "they are not in sync");
        Ok(true)
    })
}

/// Types a change at a node that does not lead, and says how long it took until every running node had it.
///
/// # Errors
/// When it is refused, or does not get everywhere.
pub fn apply_everywhere(fleet: &Fleet, line: &str) -> Result<Duration> {
    let typist = *fleet.running().last().context("none runs")?;
    let mut eyes = Vec::new();
    for number in fleet.running() {
        eyes.push(fleet.node(number)?.manage()?);
    }
    let mut hand = fleet.node(typist)?.manage()?;
    let wanted = format!("version {}", fleet.node(typist)?.version()? + 1);
    let start = Instant::now();
    hand.change(line)?;
    for eye in &mut eyes {
        wait::for_true(&wanted, PATIENCE, || {
            Ok(eye.data("config version")?.contains(&wanted))
        })?;
    }
    Ok(start.elapsed())
}

/// Waits until every running node is at that version at least.
///
/// # Errors
/// When one is not.
pub fn wait_version(fleet: &Fleet, version: u64) -> Result {
    for number in fleet.running() {
        wait::for_true(format!("n{number} at version {version}"), PATIENCE, || {
            Ok(fleet.node(number)?.version()? >= version)
        })?;
    }
    Ok(())
}

/// Kills so many at the same moment: the leader, one more voter, so that a majority of five stays, and learners. Who.
///
/// # Errors
/// When one does not run.
pub fn kill_some(fleet: &mut Fleet, count: usize) -> Result<Vec<usize>> {
    let leader = fleet.leader()?;
    let status = fleet.node(leader)?.status()?;
    let with_role = |role: &str| -> Result<Vec<usize>> {
        let mut found = Vec::new();
        for number in fleet.running() {
            if status.node_text(&format!("n{number}"), "role")? == role {
                found.push(number);
            }
        }
        Ok(found)
    };
    let voter = with_role("voter")?.into_iter().next().context("no other voter")?;
    let mut killed = vec![leader, voter];
    killed.extend(with_role("learner")?.into_iter().take(count.saturating_sub(2)));
    fleet.kill_together(&killed)?;
    Ok(killed)
}
