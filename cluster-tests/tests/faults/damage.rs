//! What a crash leaves half written, and bits that change on the disk: noticed, named, and never a wrong answer.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::node::Node;
use fleetbal_cluster_tests::{Fleet, Manage, Plan, Result, churn, oracle, wait};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Enough for a snapshot, and for entries behind it.
const CHANGES: usize = 1_500;

/// Flips in each file.
const FLIPS: usize = 2;

/// The exit code of a start that a person must look at.
const CONFIGURATION: i32 = 78;

/// The files below a directory with what they hold.
fn files(dir: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            let bytes = fs::read(&path)?;
            found.insert(path, bytes);
        }
    }
    Ok(found)
}

fn put_back(dir: &Path, kept: &BTreeMap<PathBuf, Vec<u8>>) -> Result {
    for path in files(dir)?.into_keys() {
        if !kept.contains_key(&path) {
            fs::remove_file(path)?;
        }
    }
    for (path, bytes) in kept {
        if fs::read(path).ok().as_ref() != Some(bytes) {
            fs::write(path, bytes)?;
        }
    }
    Ok(())
}

/// How a start with damaged files went.
#[derive(Debug, PartialEq, Eq)]
enum Start {
    /// It takes commands.
    Up,
    /// It ended, and said what is damaged.
    Named,
}

/// Starts a node whose files are damaged: it comes up, or ends with 78 and the name of something below its directory.
fn start_damaged(fleet: &mut Fleet, number: usize) -> Result<Start> {
    let before = fleet.node(number)?.log_text().len();
    let flags = fleet.node(number)?.flags.clone();
    fleet.launch_only(number, flags)?;
    let address = fleet.node(number)?.management();
    let process = fleet.process(number)?;
    let ended = wait::until(format!("n{number} to come up or to end"), wait::PATIENCE, || {
        if let Some(status) = process.ended()? {
            return Ok(Some(Some(status)));
        }
        Manage::connect(address)?.data("uptime")?;
        Ok(Some(None))
    })?;
    let Some(status) = ended else {
        return Ok(Start::Up);
    };
    fleet.wait_gone(number, wait::PATIENCE)?;
    let node = fleet.node(number)?;
    let said = node.log_text().split_off(before);
    let last = said.lines().last().unwrap_or_default();
    ensure!(
        status.code() == Some(CONFIGURATION) && last.contains(&node.data.display().to_string()),
        "it ended with {status:?} and said: {said}"
    );
    Ok(Start::Named)
}

/// All that a node says of its configuration.
fn told(node: &Node) -> Result<String> {
    let mut manage = node.manage()?;
    let mut lines = manage.data("dumpconfig")?;
    lines.extend(manage.data("config verify")?);
    lines.extend(manage.data("config version")?);
    Ok(lines.join("\n"))
}

#[test]
fn a_flipped_bit_in_any_file_is_noticed_or_changes_nothing() -> Result {
    let mut fleet = Fleet::start(&Plan {
        nodes: 1,
        ..Plan::default()
    })?;
    churn::changes(&fleet, CHANGES)?;
    let before = told(fleet.node(1)?)?;
    fleet.kill(1)?;
    let dir = fleet.node(1)?.data.clone();
    let kept = files(&dir)?;
    let names: Vec<_> = kept
        .keys()
        .filter_map(|path| path.file_name()?.to_str())
        .collect();
    for wanted in ["identity.json", "db", "snapshot", "synced", "committed"] {
        ensure!(names.contains(&wanted), "no {wanted} among {names:?}");
    }
    let seed = std::env::var("FLEETBAL_SEED").map_or(Ok(1), |text| text.parse())?;
    let mut rng = StdRng::seed_from_u64(seed);
    let mut noticed = 0;
    for (path, bytes) in &kept {
        // Where a file is empty space at its end, nobody would miss a bit of it.
        let Some(used) = bytes.iter().rposition(|byte| *byte != 0) else {
            continue;
        };
        for _ in 0..FLIPS {
            let (place, bit) = (rng.random_range(0..=used), rng.random_range(0..8));
            let mut damaged = bytes.clone();
            *damaged.get_mut(place).context("no such byte")? ^= 1 << bit;
            fs::write(path, &damaged)?;
            let what = format!("bit {bit} of byte {place} of {}", path.display());
            let start = start_damaged(&mut fleet, 1).with_context(|| what.clone())?;
            if start == Start::Up {
                let now = told(fleet.node(1)?).with_context(|| what.clone())?;
                ensure!(
                    now == before,
                    "with {what} flipped it says\n{now}\nand not\n{before}"
                );
                fleet.kill(1)?;
            } else {
                noticed += 1;
            }
            put_back(&dir, &kept)?;
        }
    }
    ensure!(
        noticed >= kept.len(),
        "only {noticed} of {} flips were noticed",
        kept.len() * FLIPS
    );
    fleet.restart(1)?;
    ensure!(told(fleet.node(1)?)? == before, "something was not put back");
    fleet.passed()
}

/// What was told durable is missed; what was not, is not.
#[test]
fn a_log_whose_end_was_torn_off_is_noticed_and_the_node_can_join_again() -> Result {
    let mut fleet = Fleet::of_three()?;
    fleet.node(1)?.manage()?.change("cluster transfer n1")?;
    let mut rng = StdRng::seed_from_u64(2);
    for round in 0..3 {
        for number in 0..20 {
            fleet
                .node(1)?
                .manage()?
                .change(&format!("CREATE POOL p{round}x{number}"))?;
        }
        fleet.wait_settled()?;
        fleet.kill(3)?;
        let log = fleet.node(3)?.data.join("raft/log/sled/db");
        let bytes = fs::read(&log)?;
        let used = bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .context("an empty log")?;
        let torn = used.saturating_sub(rng.random_range(0..2_000));
        fs::File::options().write(true).open(&log)?.set_len(torn as u64)?;
        let start = start_damaged(&mut fleet, 3).with_context(|| format!("cut at {torn} of {used}"))?;
        if start == Start::Named {
            // What the message says: an empty directory, and a new join.
            fleet.node(1)?.manage()?.change("cluster remove n3")?;
            fs::remove_dir_all(&fleet.node(3)?.data)?;
            let token = fleet.token("")?;
            fleet.join(3, &token)?;
        }
        fleet.wait_settled()?;
        oracle::same_bytes(fleet.nodes())?;
    }
    fleet.passed()
}
