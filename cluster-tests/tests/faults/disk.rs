//! Disks that are full or cannot be written, and that what is acknowledged is on them.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::world::Mount;
use fleetbal_cluster_tests::{Fleet, Load, Plan, Result, oracle, wait};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Room for a node, and not for much more.
const ROOM_KIB: u32 = 24 * 1024;

/// The same on a disk that can fail.
const IMAGE_MIB: u64 = 64;

/// Takes all room that is left.
fn fill(dir: &Path) -> Result {
    let written = Command::new("dd")
        .args(["if=/dev/zero", "bs=4k"])
        .arg(format!("of={}", dir.join("filler").display()))
        .stderr(Stdio::null())
        .status()?;
    ensure!(!written.success(), "the disk is not full");
    Ok(())
}

/// Changes at a node until another one's log cannot take them.
fn change_until_it_shows(fleet: &Fleet, typed_at: usize, full: usize, told: &str) -> Result {
    let mut manage = fleet.node(typed_at)?.manage()?;
    let filler = "x".repeat(4_000);
    manage.change("CREATE SERVICE big")?;
    manage.change("SET big.role = reverse_proxy")?;
    for round in 0..2_000 {
        manage.change(&format!("HEADER big INSERT x-filler: {round}{filler}"))?;
        if fleet.node(full)?.log_text().contains(told) {
            return Ok(());
        }
    }
    anyhow::bail!("n{full} never noticed '{told}'")
}

#[test]
fn a_full_disk_is_named_and_costs_no_request_and_no_change() -> Result {
    let mut fleet = Fleet::prepare(&Plan::default())?;
    fleet.found()?;
    let token = fleet.token("")?;
    fleet.join(2, &token)?;
    let data = fleet.node(3)?.data.clone();
    let Some(mount) = Mount::of_size(&data, ROOM_KIB)? else {
        return fleet.passed();
    };
    fleet.join(3, &token)?;
    fleet.wait_settled()?;
    let load = Load::start(fleet.node(3)?.traffic(), 2)?;
    fill(&data)?;
    change_until_it_shows(&fleet, 1, 3, "No space left on device")?;
    let seen = wait::until("the failure to be told", wait::PATIENCE, || {
        let lines = fleet.node(2)?.manage()?.data("effects")?;
        Ok(lines
            .into_iter()
            .find(|line| line.contains("n3") && line.contains("store")))
    })?;
    ensure!(seen.contains("No space left on device"), "it says: {seen}");
    wait::for_true("n3 not to be ready", wait::PATIENCE, || {
        Ok(fleet.node(3)?.ready().is_err())
    })?;
    let refused = fleet.node(3)?.manage()?.refused("CREATE POOL never")?;
    ensure!(
        refused.contains("takes no part in its fleet"),
        "it says: {refused}"
    );
    // The other two go on, and n3 with its traffic.
    fleet.node(2)?.manage()?.change("CREATE POOL afterwards")?;
    load.pass(50)?;
    load.finish().expect_flawless()?;

    fs::remove_file(data.join("filler"))?;
    let ended = fleet.terminate(3)?;
    ensure!(ended == Some(0), "n3 ended with {ended:?}");
    fleet.restart(3)?;
    fleet.wait_settled()?;
    oracle::same_bytes(fleet.nodes())?;
    fleet.passed()?;
    drop(mount);
    Ok(())
}

/// Waits until n2 knows what became of n3's disk.
fn wait_told(fleet: &Fleet, what: &str) -> Result {
    wait::for_true("the failure to be told", wait::PATIENCE, || {
        let lines = fleet.node(2)?.manage()?.data("effects")?;
        Ok(lines
            .iter()
            .any(|line| line.contains("n3") && line.contains(what)))
    })
}

/// Three nodes, the third on a disk that can fail.
fn third_on_a_disk() -> Result<Option<(Fleet, Mount)>> {
    let mut fleet = Fleet::prepare(&Plan::default())?;
    fleet.found()?;
    let token = fleet.token("")?;
    fleet.join(2, &token)?;
    let Some(mount) = Mount::in_file(&fleet.node(3)?.data, IMAGE_MIB)? else {
        fleet.passed()?;
        return Ok(None);
    };
    fleet.join(3, &token)?;
    fleet.wait_settled()?;
    Ok(Some((fleet, mount)))
}

#[test]
fn a_disk_that_fails_while_the_node_runs_is_named_and_costs_no_request_and_no_change() -> Result {
    let Some((mut fleet, mount)) = third_on_a_disk()? else {
        return Ok(());
    };
    let load = Load::start(fleet.node(3)?.traffic(), 2)?;
    mount.fail()?;
    change_until_it_shows(&fleet, 1, 3, "Read-only file system")?;
    wait_told(&fleet, "Read-only file system")?;
    fleet.node(2)?.manage()?.change("CREATE POOL afterwards")?;
    load.pass(50)?;
    load.finish().expect_flawless()?;

    fleet.kill(3)?;
    mount.remove()?;
    let mended = Mount::in_file(&fleet.node(3)?.data, IMAGE_MIB)?;
    fleet.restart(3)?;
    fleet.wait_settled()?;
    oracle::same_bytes(fleet.nodes())?;
    fleet.passed()?;
    drop(mended);
    Ok(())
}

#[test]
fn a_leader_with_a_full_disk_is_followed_by_another() -> Result {
    let mut fleet = Fleet::prepare(&Plan::default())?;
    let data = fleet.node(1)?.data.clone();
    let Some(_mount) = Mount::of_size(&data, ROOM_KIB)? else {
        return fleet.passed();
    };
    fleet.found()?;
    let token = fleet.token("")?;
    fleet.join(2, &token)?;
    fleet.join(3, &token)?;
    fleet.wait_settled()?;
    fleet.node(1)?.manage()?.change("cluster transfer n1")?;
    fill(&data)?;
    let mut acknowledged = 0;
    let mut manage = fleet.node(2)?.manage()?;
    wait::for_true("another leader", wait::PATIENCE * 2, || {
        manage.change(&format!("CREATE POOL p{acknowledged}"))?;
        acknowledged += 1;
        Ok(fleet
            .node(2)?
            .status()?
            .leader()
            .is_some_and(|leader| leader != "n1"))
    })?;
    manage.change("CREATE POOL afterwards")?;
    // Of what was acknowledged nothing is lost, also not what the failing leader answered.
    let dump = oracle::same_bytes([fleet.node(2)?, fleet.node(3)?])?;
    for number in 0..acknowledged {
        ensure!(
            dump.contains(&format!("CREATE POOL p{number}\n")),
            "p{number} is lost"
        );
    }
    fs::remove_file(data.join("filler"))?;
    fleet.kill(1)?;
    fleet.restart(1)?;
    fleet.wait_settled()?;
    oracle::same_bytes(fleet.nodes())?;
    fleet.passed()
}

#[test]
fn a_disk_that_cannot_be_written_ends_the_start_with_its_name() -> Result {
    let mut fleet = Fleet::of_three()?;
    fleet.kill(3)?;
    let data = fleet.node(3)?.data.clone();
    let Some(mount) = Mount::read_only(&data)? else {
        return fleet.passed();
    };
    let flags = fleet.node(3)?.flags.clone();
    fleet.launch_only(3, flags)?;
    let code = fleet.wait_gone(3, wait::PATIENCE)?;
    ensure!(code == Some(78), "it ended with {code:?}");
    let log = fleet.node(3)?.log_text();
    let last = log.lines().last().unwrap_or_default();
    let named = last.contains(&data.display().to_string()) && last.contains("Read-only file system");
    ensure!(named, "it says: {last}");
    drop(mount);
    fleet.restart(3)?;
    fleet.wait_settled()?;
    fleet.passed()
}

/// `fdatasync` of the log, as the kernel saw it, on a majority, for each change that was acknowledged.
#[test]
fn what_is_acknowledged_was_synced_on_a_majority() -> Result {
    const CHANGES: usize = 20;
    let mut fleet = Fleet::of_three()?;
    let mut outputs = Vec::new();
    let mut straces = Vec::new();
    for number in 1..=3 {
        let pid = fleet.process(number)?.pid();
        let out = fleet.dir().join(format!("trace-{number}"));
        let strace = Command::new("strace")
            .args([
                "-f",
                "-y",
                "-e",
                "trace=fdatasync,fsync",
                "-e",
                "status=successful",
                "-p",
            ])
            .arg(pid.to_string())
            .arg("-o")
            .arg(&out)
            .stderr(Stdio::piped())
            .spawn();
        straces.push(strace.context("strace is needed")?);
        outputs.push(out);
        let status = Path::new("/proc").join(pid.to_string()).join("status");
        wait::for_true("the tracer to be there", wait::PATIENCE, || {
            Ok(!fs::read_to_string(&status)?.contains("TracerPid:\t0"))
        })?;
    }
    let synced = || -> Result<Vec<usize>> {
        let count = |path| -> Result<usize> {
            let text = fs::read_to_string(path)?;
            let of_the_log = |line: &&str| line.contains("fdatasync(") && line.contains("/sled/db>");
            Ok(text.lines().filter(of_the_log).count())
        };
        outputs.iter().map(count).collect()
    };
    let before = synced()?;
    let mut manage = fleet.node(1)?.manage()?;
    for number in 0..CHANGES {
        let word = if number % 2 == 0 { "ADD" } else { "REMOVE" };
        // A node whose every system call is watched may be too slow for an election timeout.
        wait::for_true("a change under strace", wait::PATIENCE, || {
            manage.change(&format!("POOL web {word} 127.0.0.1:9"))?;
            Ok(true)
        })?;
    }
    for strace in &mut straces {
        // strace leaves the node running.
        kill(Pid::from_raw(i32::try_from(strace.id())?), Signal::SIGTERM)?;
        strace.wait()?;
    }
    let after = synced()?;
    let enough = before
        .iter()
        .zip(&after)
        .filter(|(before, after)| **after >= **before + CHANGES);
    ensure!(
        enough.count() >= 2,
        "{CHANGES} changes were acknowledged one after the other, but synced {before:?} to {after:?} times"
    );
    fleet.passed()
}
