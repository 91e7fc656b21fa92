//! What an earlier release wrote is read. `cluster-tests/fixtures` holds a data directory of the first format as that release
//! left it: a node's identity (its keys serve nothing else), a log, a vote and a snapshot of format 2.

use std::fs;
use std::process::Command;

use anyhow::ensure;
use fleetbal_cluster_tests::{Fleet, Plan, Result, process, wait, world};

/// The version at which it was left.
const VERSION: u64 = 1212;

#[test]
fn a_data_directory_of_the_first_format_is_resumed_with_all_that_it_holds() -> Result {
    let mut fleet = Fleet::prepare(&Plan {
        nodes: 1,
        backends: 1,
        pooled: 0,
        ..Plan::default()
    })?;
    let fixtures = process::workspace().join("cluster-tests/fixtures");
    let data = fleet.node(1)?.data.clone();
    fs::create_dir_all(&data)?;
    world::run(
        Command::new("tar")
            .arg("xzf")
            .arg(fixtures.join("format-1.tar.gz"))
            .arg("-C")
            .arg(&data),
    )?;
    let flags = fleet.place_flags(1)?;
    fleet.launch(1, flags)?;
    let node = fleet.node(1)?;
    ensure!(node.version()? == VERSION, "it is at version {}", node.version()?);
    let dump = node.dump()?;
    let now: Vec<_> = dump.lines().map(str::trim).collect();
    for line in fs::read_to_string(fixtures.join("format-1.dump"))?.lines() {
        ensure!(now.contains(&line.trim()), "'{line}' is not in\n{dump}");
    }
    let mut manage = node.manage()?;
    let verified = manage.data("config verify")?;
    ensure!(verified.contains(&"records 20".to_owned()), "{verified:?}");
    let tokens = manage.data("cluster tokens")?;
    ensure!(
        tokens.iter().any(|line| line.contains("05146e824bf1")),
        "{tokens:?}"
    );
    // It was elsewhere then.
    wait::for_true("its address to be known", wait::PATIENCE, || {
        let address = node.cluster().to_string();
        Ok(node.status()?.node_text("n1", "address")? == address)
    })?;
    manage.change("CREATE POOL afterwards")?;
    drop(manage);
    fleet.kill(1)?;
    fleet.restart(1)?;
    let dump = fleet.node(1)?.dump()?;
    ensure!(dump.contains("CREATE POOL afterwards"), "{dump}");
    fleet.passed()
}
