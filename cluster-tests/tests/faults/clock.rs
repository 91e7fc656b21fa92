//! A node whose wall clock is wrong, and jumps. Debian's `faketime` changes it from outside, for that process alone; the clock
//! that only goes forward stays as it is, as on a machine whose time is set.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{io::Write as _, thread};

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::{Fleet, Load, Plan, Result, oracle, wait};

/// A busy machine may make an election now and then; a clock that disturbs the leader makes one each time.
const ATTEMPTS: usize = 4;

/// Where the library is, by machine.
fn library() -> Option<PathBuf> {
    let machines = fs::read_dir("/usr/lib").ok()?;
    let paths = machines
        .flatten()
        .map(|dir| dir.path().join("faketime/libfaketimeMT.so.1"));
    let found = paths.into_iter().find(|path| path.is_file());
    if found.is_none() {
        // Past the harness, which keeps what passing tests print to itself.
        drop(writeln!(
            std::io::stderr(),
            "\n!!!! SKIPPED, NOTHING WAS TESTED: no libfaketime (package faketime)\n"
        ));
    }
    found
}

fn set(clock: &Path, offset: &str) -> Result {
    Ok(fs::write(clock, format!("{offset}\n"))?)
}

fn term(fleet: &Fleet) -> Result<u64> {
    let status = fleet.node(1)?.status()?;
    status.node("n1", "term")?.as_u64().context("no term")
}

/// Changes at every node between any two jumps, under traffic; whether the leader stayed.
fn jump_about(fleet: &Fleet, leader: usize, attempt: usize, clock: &Path) -> Result<bool> {
    // The first word of it may meet an election that a busy machine made.
    wait::for_true("the leader to be chosen", wait::PATIENCE, || {
        let line = format!("cluster transfer n{leader}");
        fleet.node(1)?.manage()?.change(&line)?;
        Ok(true)
    })?;
    fleet.wait_settled()?;
    let before = term(fleet)?;
    let loads = (1..=3)
        .map(|number| Load::start(fleet.node(number)?.traffic(), 2))
        .collect::<Result<Vec<_>>>()?;
    for (round, offset) in ["-400d", "+0", "+10y", "-3600", "+86400", "+0"]
        .into_iter()
        .enumerate()
    {
        set(clock, offset)?;
        for number in 1..=3 {
            let line = format!("CREATE POOL l{leader}a{attempt}r{round}n{number}");
            fleet.node(number)?.manage()?.change(&line)?;
        }
        thread::sleep(Duration::from_millis(100));
    }
    for load in loads {
        load.pass(20)?;
        load.finish().expect_flawless()?;
    }
    Ok(term(fleet)? == before && fleet.leader()? == leader)
}

fn today(offset: &str) -> Result<String> {
    let said = Command::new("date")
        .args(["-u", "+%Y-%m-%d", "-d", offset])
        .output()?;
    Ok(String::from_utf8(said.stdout)?.trim().to_owned())
}

/// Who joins 400 days ahead is told so, with both times and what to do, and is no member.
fn refused_with_both_clocks(fleet: &mut Fleet, token: &str) -> Result {
    let flags = fleet.join_flags(2, token)?;
    fleet.launch_only(2, flags)?;
    let (theirs, ours) = (today("+400 days")?, today("now")?);
    let code = fleet.wait_gone(2, wait::PATIENCE)?;
    ensure!(code == Some(78), "it ended with {code:?}");
    let log = fleet.node(2)?.log_text();
    let last = log.lines().last().unwrap_or_default();
    for word in [
        format!("the clock of n2 says {theirs}"),
        format!("that of n1, which leads the fleet, {ours}"),
        "set the wrong one".to_owned(),
    ] {
        ensure!(last.contains(&word), "no '{word}' in: {last}");
    }
    let nodes = fleet.node(1)?.status()?.nodes()?.len();
    ensure!(nodes == 1, "the fleet has {nodes} nodes");
    Ok(())
}

#[test]
fn a_clock_that_is_wrong_and_jumps_disturbs_neither_the_leader_nor_retries_nor_traffic() -> Result {
    let Some(library) = library() else {
        return Ok(());
    };
    let mut fleet = Fleet::prepare(&Plan::default())?;
    let clock = fleet.dir().join("clock");
    set(&clock, "+400d")?;
    fleet.lead_with(
        2,
        &[
            "env".to_owned(),
            format!("LD_PRELOAD={}", library.display()),
            format!("FAKETIME_TIMESTAMP_FILE={}", clock.display()),
            "FAKETIME_NO_CACHE=1".to_owned(),
            "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
        ],
    )?;
    fleet.found()?;
    let token = fleet.token("")?;
    refused_with_both_clocks(&mut fleet, &token)?;
    // A small difference is none; what comes later is not looked at.
    set(&clock, "+120")?;
    fleet.join(2, &token)?;
    fleet.join(3, &token)?;
    fleet.wait_settled()?;
    // It leads, and it follows.
    for leader in [2, 3] {
        let mut undisturbed = false;
        for attempt in 0..ATTEMPTS {
            undisturbed = jump_about(&fleet, leader, attempt, &clock)?;
            if undisturbed {
                break;
            }
        }
        ensure!(undisturbed, "each time there was an election");
    }
    oracle::same_bytes(fleet.nodes())?;
    // Who wonders what a token is worth reads why.
    set(&clock, "+400d")?;
    let refused = fleet.node(2)?.manage()?.refused("cluster token")?;
    ensure!(
        refused.contains("clock of n2 is 345") && refused.contains("ahead"),
        "it says: {refused}"
    );
    set(&clock, "+0")?;
    fleet.node(2)?.manage()?.data("cluster token")?;
    fleet.passed()
}
