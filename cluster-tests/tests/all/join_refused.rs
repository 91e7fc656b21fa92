//! Joins that must not work: each ends with one clear error and 78, and takes nobody in.

use std::time::Duration;

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::process::{self, Ended};
use fleetbal_cluster_tests::{Fleet, Manage, Plan, Result, wait};

/// A fleet of one, and a place for a second node.
fn fleet_and_place() -> Result<(Fleet, usize)> {
    let mut fleet = Fleet::start(&Plan {
        nodes: 1,
        backends: 1,
        pooled: 1,
        ..Plan::default()
    })?;
    let number = fleet.add_place()?;
    Ok((fleet, number))
}

fn run(fleet: &Fleet, flags: &[String]) -> Result<Ended> {
    process::run(fleet.command(flags)?, wait::PATIENCE)
}

/// One line on standard error that says all of `words`, nothing on standard output, exit code 78, and no new member.
fn check_refused(fleet: &Fleet, ended: &Ended, words: &[&str]) -> Result<()> {
    ensure!(ended.code == Some(78), "it ended like this: {ended:?}");
    ensure!(ended.stdout.is_empty(), "standard output has '{}'", ended.stdout);
    let errors = ended.errors();
    ensure!(errors.len() == 1, "not one error line: {ended:?}");
    for word in words {
        ensure!(
            errors.iter().all(|line| line.contains(word)),
            "no '{word}' in {errors:?}"
        );
    }
    ensure!(
        !ended.stderr.contains("panicked"),
        "it panicked: {}",
        ended.stderr
    );
    let nodes = fleet.node(1)?.status()?.nodes()?.len();
    ensure!(nodes == 1, "the fleet has {nodes} nodes");
    Ok(())
}

#[test]
fn a_wrong_secret() -> Result {
    let (fleet, number) = fleet_and_place()?;
    let token = fleet.token("")?;
    let (front, secret) = token.rsplit_once('.').context("a token without a secret")?;
    let wrong: String = secret.chars().rev().collect();
    let flags = fleet.join_flags(number, &format!("{front}.{wrong}"))?;
    let ended = run(&fleet, &flags)?;
    check_refused(&fleet, &ended, &["token"])?;
    fleet.passed()
}

#[test]
fn a_token_that_is_no_token() -> Result {
    let (fleet, number) = fleet_and_place()?;
    let flags = fleet.join_flags(number, "let me in")?;
    let ended = run(&fleet, &flags)?;
    check_refused(&fleet, &ended, &["token"])?;
    ensure!(
        !ended.stderr.contains("let me in"),
        "a secret was printed: {}",
        ended.stderr
    );
    fleet.passed()
}

#[test]
fn a_token_of_another_fleet() -> Result {
    let (fleet, number) = fleet_and_place()?;
    let (other, _) = fleet_and_place()?;
    let flags = fleet.join_flags(number, &other.token("")?)?;
    let ended = run(&fleet, &flags)?;
    check_refused(&fleet, &ended, &[])?;
    other.passed()?;
    fleet.passed()
}

#[test]
fn an_expired_token() -> Result {
    let (fleet, number) = fleet_and_place()?;
    let token = fleet.token("ttl 1")?;
    let issued = std::time::Instant::now();
    wait::for_true("the token to expire", wait::PATIENCE, || {
        Ok(issued.elapsed() > Duration::from_millis(1100))
    })?;
    let flags = fleet.join_flags(number, &token)?;
    let ended = run(&fleet, &flags)?;
    check_refused(&fleet, &ended, &["expired"])?;
    fleet.passed()
}

#[test]
fn a_revoked_token() -> Result {
    let (fleet, number) = fleet_and_place()?;
    let token = fleet.token("")?;
    let id = token.split('.').nth(2).context("a token without an id")?;
    let mut manage = fleet.node(1)?.manage()?;
    let is_listed = |manage: &mut Manage| -> Result<bool> {
        let tokens = manage.data("cluster tokens")?;
        Ok(tokens.iter().any(|line| line.contains(id)))
    };
    ensure!(is_listed(&mut manage)?, "{id} is not listed");
    manage.change(&format!("cluster revoke {id}"))?;
    ensure!(!is_listed(&mut manage)?, "{id} is still listed");
    let flags = fleet.join_flags(number, &token)?;
    let ended = run(&fleet, &flags)?;
    check_refused(&fleet, &ended, &["not one of this fleet's"])?;
    fleet.passed()
}

#[test]
fn a_used_up_token() -> Result {
    let (mut fleet, number) = fleet_and_place()?;
    let token = fleet.token("uses 1")?;
    fleet.join(number, &token)?;
    let third = fleet.add_place()?;
    let flags = fleet.join_flags(third, &token)?;
    let ended = run(&fleet, &flags)?;
    ensure!(ended.code == Some(78), "it ended like this: {ended:?}");
    let errors = ended.errors();
    ensure!(errors.len() == 1, "not one error line: {ended:?}");
    ensure!(ended.stderr.contains("used up"), "{}", ended.stderr);
    let nodes = fleet.node(1)?.status()?.nodes()?.len();
    ensure!(nodes == 2, "the fleet has {nodes} nodes");
    fleet.passed()
}

#[test]
fn a_taken_node_name() -> Result {
    let (fleet, number) = fleet_and_place()?;
    let token = fleet.token("uses 1")?;
    let mut flags = fleet.join_flags(number, &token)?;
    for flag in &mut flags {
        if flag == "n2" {
            "n1".clone_into(flag);
        }
    }
    let ended = run(&fleet, &flags)?;
    check_refused(&fleet, &ended, &["'n1'", "taken"])?;
    // A refused join uses up nothing, and the directory it left behind is no hindrance.
    let mut fleet = fleet;
    fleet.join(number, &token)?;
    fleet.wait_settled()?;
    fleet.passed()
}

#[test]
fn a_bad_node_name() -> Result {
    let (fleet, number) = fleet_and_place()?;
    let token = fleet.token("")?;
    let mut flags = fleet.join_flags(number, &token)?;
    for flag in &mut flags {
        if flag == "n2" {
            "n 2".clone_into(flag);
        }
    }
    let ended = run(&fleet, &flags)?;
    let code = ended.code;
    ensure!(
        code == Some(78) || code == Some(2),
        "it ended like this: {ended:?}"
    );
    ensure!(ended.stderr.contains("n 2"), "{}", ended.stderr);
    ensure!(fleet.node(1)?.status()?.nodes()?.len() == 1, "it was taken in");
    fleet.passed()
}

#[test]
fn a_token_file_that_is_not_there() -> Result {
    let (fleet, number) = fleet_and_place()?;
    let token = fleet.token("")?;
    let flags = fleet.join_flags(number, &token)?;
    std::fs::remove_file(fleet.dir().join(format!("token-{number}")))?;
    let ended = run(&fleet, &flags)?;
    check_refused(&fleet, &ended, &["token-2", "No such file"])?;
    fleet.passed()
}
