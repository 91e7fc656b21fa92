//! `fleetbal demo`, as the README's first command runs it.

use std::time::Duration;

use anyhow::ensure;
use fleetbal_cluster_tests::{Result, ports, process};

#[test]
fn shows_a_fleet_and_ends_by_itself() -> Result {
    let _net = ports::claim_plain_net()?;
    let temp = tempfile::tempdir()?;
    let mut command = process::fleetbal()?;
    command
        .args(["demo", "--seconds", "5"])
        .env("TMPDIR", temp.path());
    let ended = process::run(command, Duration::from_secs(90))?;
    ensure!(ended.code == Some(0), "{ended:?}");
    for wanted in [
        "n1",
        "n2",
        "n3",
        "curl http://",
        "kill -9",
        "fleet demo, leader n",
        "quorum 3/3",
        "POOL web ADD",
        "POOL web REMOVE",
    ] {
        ensure!(
            ended.stdout.contains(wanted),
            "no '{wanted}' in\n{}",
            ended.stdout
        );
    }
    ensure!(!ended.stdout.contains('\x1b'), "colours without a terminal");
    let left: Vec<_> = std::fs::read_dir(temp.path())?.collect();
    ensure!(left.is_empty(), "it left {left:?} behind");
    Ok(())
}
