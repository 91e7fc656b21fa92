//! Backups, and what is done with them; and what is done without one when most voters are lost.

use std::fs;
use std::path::Path;

use anyhow::ensure;
use fleetbal_cluster_tests::process::{self, Ended};
use fleetbal_cluster_tests::{Fleet, Manage, Plan, Result, wait};

/// `fleetbal cluster …`, asked of a node.
fn cluster(fleet: &Fleet, number: usize, words: &[&str]) -> Result<Ended> {
    let mut command = process::fleetbal()?;
    let server = fleet.node(number)?.management().to_string();
    command
        .args(["cluster", "--server", &server])
        .args(words)
        .current_dir(fleet.dir());
    process::run(command, wait::PATIENCE)
}

fn expect(ended: &Ended, code: i32, told: &str) -> Result {
    ensure!(ended.code == Some(code), "ended with {ended:?}");
    let all = format!("{}{}", ended.stdout, ended.stderr);
    ensure!(all.contains(told), "no '{told}' in {all}");
    Ok(())
}

/// `cluster recover` on the data directory of a node.
fn recover(fleet: &Fleet, number: usize, words: &[&str]) -> Result<Ended> {
    let data = fleet.node(number)?.data.display().to_string();
    let mut command = process::fleetbal()?;
    command
        .args(["cluster", "recover", "--data-dir", &data])
        .args(words);
    process::run(command, wait::PATIENCE)
}

#[test]
fn a_backup_of_any_node_makes_a_new_fleet_what_the_old_one_was() -> Result {
    let old = Fleet::start(&Plan {
        extra: "CREATE POOL spare\nPOOL spare ADD 127.0.0.1:9 weight 3\nPOOL spare DRAIN 127.0.0.1:9\n\
                DEFAULT persist_client = on\nHEADER www INSERT x-node: ${node:name}\n"
            .to_owned(),
        ..Plan::default()
    })?;
    let mut contents = Vec::new();
    for number in 1..=3 {
        old.node(number)?
            .manage()?
            .change(&format!("CREATE POOL late{number}"))?;
        // A backup of another node than the one that was told: it has what was acknowledged all the same.
        let (from, file) = (number % 3 + 1, format!("backup-{number}"));
        let version = old.node(number)?.version()?;
        expect(
            &cluster(&old, from, &["backup", &file])?,
            0,
            &format!("version {version},"),
        )?;
        contents.push(old.dir().join(file));
    }
    let last = contents
        .last()
        .map(|path| path.display().to_string())
        .unwrap_or_default();
    let wanted = old.node(1)?.dump()?;

    let mut new = Fleet::prepare(&Plan {
        nodes: 3,
        backends: 3,
        pooled: 0,
        extra: String::new(),
    })?;
    fs::write(new.config_path(), "")?;
    new.found()?;
    let token = new.token("")?;
    new.join(2, &token)?;
    new.join(3, &token)?;
    new.wait_settled()?;
    damaged_backups_are_refused(&new, Path::new(&last))?;
    expect(
        &cluster(&new, 2, &["restore", &last])?,
        0,
        "of fleet acme as version 1",
    )?;
    new.wait_settled()?;
    for number in 1..=3 {
        ensure!(new.node(number)?.dump()? == wanted, "n{number} says otherwise");
        // It balances by it too: the old fleet's backends answer.
        new.wait_served_by(number, &["b1", "b2", "b3"])?;
    }
    let again = cluster(&new, 1, &["restore", &last])?;
    expect(&again, 1, "has a configuration already")?;
    new.node(1)?.manage()?.change("CREATE POOL another")?;
    expect(
        &cluster(&new, 3, &["restore", "--replace", &last])?,
        0,
        "as version 3",
    )?;
    ensure!(new.node(3)?.dump()? == wanted, "n3 says otherwise");
    old.passed()?;
    new.passed()
}

fn damaged_backups_are_refused(fleet: &Fleet, whole: &Path) -> Result {
    let mut bytes = fs::read(whole)?;
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 1;
    }
    let damaged = fleet.dir().join("damaged");
    fs::write(&damaged, &bytes)?;
    let damaged = damaged.display().to_string();
    expect(&cluster(fleet, 1, &["restore", &damaged])?, 1, "checksum")?;
    fs::write(&damaged, "CREATE POOL x\n")?;
    expect(&cluster(fleet, 1, &["restore", &damaged])?, 1, "not a backup")?;
    // The node looks for itself too.
    let address = fleet.node(1)?.management();
    let mut http = fleetbal_cluster_tests::client::Http::connect(address)?;
    http.send(
        format!(
            "PUT /api/v1/backup HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/octet-stream\r\n\
             Content-Length: {}\r\n\r\n",
            bytes.len()
        )
        .as_bytes(),
    )?;
    http.send(&bytes)?;
    let answer = http.response(fleetbal_cluster_tests::message::Kind::Response)?;
    ensure!(answer.status()? == 400, "answered '{}'", answer.start);
    ensure!(fleet.node(1)?.version()? == 0, "something was changed");
    Ok(())
}

#[test]
fn without_a_majority_a_backup_says_that_it_may_be_stale() -> Result {
    let mut fleet = Fleet::of_three()?;
    fleet.kill_together(&[1, 2])?;
    let refused = cluster(&fleet, 3, &["backup", "b"])?;
    expect(&refused, 1, "no quorum (1 of 3 voters reachable)")?;
    ensure!(!fleet.dir().join("b").exists(), "a file was left");
    expect(&cluster(&fleet, 3, &["backup", "--stale", "b"])?, 0, "fleet acme")?;
    for number in [1, 2] {
        fleet.restart(number)?;
    }
    fleet.wait_settled()?;
    fleet.passed()
}

#[test]
fn one_node_goes_on_alone_when_the_majority_is_lost() -> Result {
    let mut fleet = Fleet::start(&Plan {
        nodes: 4,
        backends: 2,
        pooled: 1,
        extra: "CLUSTER SET voters = 3\n".to_owned(),
    })?;
    expect(&recover(&fleet, 3, &["--yes"])?, 1, "in use by another process")?;
    // Acknowledged, and by the answer of the node itself on its disk.
    fleet.node(3)?.manage()?.change("CREATE POOL acknowledged")?;
    let wanted = fleet.node(3)?.dump()?;
    let version = fleet.node(3)?.version()?;
    fleet.kill_together(&[1, 2, 3, 4])?;

    let plan = recover(&fleet, 3, &[])?;
    expect(&plan, 0, &format!("n3 alone, at version {version}"))?;
    expect(&plan, 0, "removed from it: n1, n2, n4;")?;
    expect(&plan, 0, "nothing was changed")?;
    fleet.restart(3)?;
    let refused = fleet.node(3)?.manage()?.refused("CREATE POOL never")?;
    ensure!(refused.contains("no quorum (1 of 3"), "it says: {refused}");
    fleet.kill(3)?;

    expect(
        &recover(&fleet, 3, &["--yes"])?,
        0,
        "done; what was there before is in",
    )?;
    fleet.restart(3)?;
    ensure!(fleet.node(3)?.dump()? == wanted, "another configuration");
    let mut manage: Manage = fleet.node(3)?.manage()?;
    wait::for_true("a change by the one", wait::PATIENCE, || {
        manage.change("CREATE POOL afterwards")?;
        Ok(true)
    })?;
    ensure!(fleet.node(3)?.version()? == version + 1, "versions do not go on");
    fleet.wait_served_by(3, &["b1"])?;

    // One of the lost comes back with its old data: it has no part in this fleet any more.
    let flags = fleet.node(1)?.flags.clone();
    fleet.launch_only(1, flags)?;
    let code = fleet.wait_gone(1, wait::PATIENCE * 2)?;
    ensure!(code == Some(0), "n1 ended with {code:?}");
    // With an empty directory and a token of the new fleet it is welcome, under its old name.
    fs::remove_dir_all(&fleet.node(1)?.data)?;
    let token = manage.data("cluster token")?.join("");
    let mut flags = fleet.place_flags(1)?;
    flags.extend(["--join".to_owned(), fleet.node(3)?.cluster().to_string()]);
    flags.extend(["--token".to_owned(), token]);
    fleet.launch(1, flags)?;
    wait::for_true("n1 to have the configuration", wait::PATIENCE, || {
        Ok(fleet.node(1)?.dump()? == fleet.node(3)?.dump()?)
    })?;
    fleet.passed()
}
