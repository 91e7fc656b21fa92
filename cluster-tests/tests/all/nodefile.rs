//! A pool that follows a file: each node watches its own, and what one sees change is the fleet's.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use fleetbal_cluster_tests::{Fleet, Result, wait};

const DIFFERS: &str = "differs from the members of the pool";

const WITHIN: Duration = Duration::from_secs(10);

fn path(fleet: &Fleet, number: usize) -> PathBuf {
    fleet.dir().join(format!("n{number}.nodes"))
}

fn write(fleet: &mut Fleet, number: usize, backends: &[usize]) -> Result {
    let mut lines = vec!["# the pool's members".to_owned()];
    for backend in backends {
        lines.push(fleet.backend(*backend)?.address().to_string());
    }
    Ok(fs::write(path(fleet, number), lines.join("\n"))?)
}

fn wait_logged(fleet: &Fleet, number: usize, words: &str) -> Result {
    wait::for_true(format!("n{number} logs '{words}'"), WITHIN, || {
        Ok(fleet.node(number)?.log_text().contains(words))
    })
}

#[test]
fn what_one_node_sees_change_in_its_file_is_the_fleets() -> Result {
    let mut fleet = Fleet::of_three()?;
    for number in 1..=3 {
        write(&mut fleet, number, &[1])?;
    }
    let mut manage = fleet.node(2)?.manage()?;
    let missing = fleet.dir().join("nothing");
    let refused = manage.refused(&format!("SET web.nodefile = {}", missing.display()))?;
    ensure!(refused == "File not found", "{refused}");
    let dir = fleet.dir().display().to_string();
    manage.change(&format!("SET www.nodefile = {dir}/${{node:name}}.nodes"))?;
    manage.change("barrier 10")?;
    let loaded = fleet.node(2)?.version()?;
    for number in 1..=3 {
        fleet.wait_served_within(number, &["b1"], WITHIN)?;
        wait_logged(&fleet, number, "watching a nodefile")?;
    }

    write(&mut fleet, 1, &[2, 3, 3])?;
    for number in 1..=3 {
        fleet.wait_served_within(number, &["b2", "b3"], WITHIN)?;
    }
    let dump = fleet.node(3)?.dump()?;
    let twice = format!("POOL ADD web {} weight 2", fleet.backend(3)?.address());
    ensure!(dump.contains(&twice), "no '{twice}' in:\n{dump}");
    // The others' files come to say the same, which is no change.
    write(&mut fleet, 2, &[2, 3, 3])?;
    wait_logged(&fleet, 2, "a nodefile changed to what the pool has")?;
    let version = fleet.node(1)?.version()?;
    ensure!(version == loaded + 1, "{version} is not one above {loaded}");

    // What changes while a node is away is reported when it is back, and left alone.
    fleet.terminate(3)?;
    write(&mut fleet, 3, &[1, 2])?;
    let before = fleet.node(3)?.log_text().len();
    fleet.restart(3)?;
    wait::for_true("n3 reports that its file differs", WITHIN, || {
        let log = fleet.node(3)?.log_text();
        Ok(log.get(before..).is_some_and(|log| log.contains(DIFFERS)))
    })?;
    ensure!(
        fleet.node(3)?.version()? == version,
        "the file was taken in at the start"
    );
    fleet.wait_served_within(3, &["b2", "b3"], WITHIN)?;

    fleet.node(1)?.manage()?.change("SET web.nodefile = none")?;
    let dump = fleet.node(1)?.dump()?;
    ensure!(!dump.contains("nodefile"), "still watched:\n{dump}");
    fleet.passed()
}
