//! How long a command takes from a follower until all three nodes have applied it, beside the disk's own fsync.

use std::fs::File;
use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::{Fleet, Plan, Result};

use crate::report::{Bound, Table, millis};

const COMMANDS: usize = 1_000;

/// Left out at the start: connections and caches are warm then.
const WARM_UP: usize = 50;

/// About what an entry of the log takes.
const RECORD: [u8; 200] = [7; 200];

pub(crate) fn measure() -> Result<Table> {
    let fleet = Fleet::start(&Plan {
        backends: 1,
        pooled: 1,
        ..Plan::default()
    })?;
    let typist = *fleet.followers()?.first().context("no follower")?;
    let mut hand = fleet.node(typist)?.manage()?;
    let mut eyes = Vec::new();
    for node in fleet.nodes() {
        eyes.push(node.manage()?);
    }
    let mut plain = File::create(fleet.dir().join("plain"))?;
    let mut version = fleet.node(typist)?.version()?;
    let (mut answered, mut everywhere, mut synced) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..WARM_UP + COMMANDS {
        let word = if round % 2 == 0 { "ADD" } else { "REMOVE" };
        let start = Instant::now();
        hand.change(&format!("POOL web {word} 127.0.0.1:9"))?;
        let until_ok = start.elapsed();
        version += 1;
        let awaited = format!("version {version}");
        for eye in &mut eyes {
            while !eye.data("config version")?.contains(&awaited) {
                ensure!(start.elapsed() < Duration::from_secs(30), "{awaited} never came");
            }
        }
        let all = start.elapsed();
        // On the same file system, between two commands, so that both meet the same machine.
        let start = Instant::now();
        plain.write_all(&RECORD)?;
        plain.sync_data()?;
        if round >= WARM_UP {
            answered.push(until_ok);
            everywhere.push(all);
            synced.push(start.elapsed());
        }
    }
    let mut table = Table::new("a command typed at a follower of three");
    table.times("`write` and `fdatasync` of 200 bytes", &mut synced, None)?;
    let fsync = synced
        .get(synced.len() / 2)
        .map(millis)
        .context("nothing was synced")?;
    let bound = Bound {
        must: 3.0 * fsync + 5.0,
        aim: 3.0,
    };
    table.times("until `OK`", &mut answered, None)?;
    table.times("until all three have applied it", &mut everywhere, Some(bound))?;
    drop((hand, eyes));
    fleet.passed()?;
    Ok(table)
}
