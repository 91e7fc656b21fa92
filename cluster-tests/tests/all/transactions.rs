//! `begin … commit`: all or nothing, on every node, whatever happens to the one that it is typed at.

use std::time::Duration;

use anyhow::ensure;
use fleetbal_cluster_tests::{Fleet, Plan, Result, oracle, wait};

/// Pools that one transaction makes.
const POOLS: usize = 40;

/// What is sent in one piece: a transaction that makes pools of a round.
fn transaction(round: usize) -> String {
    let pools = (0..POOLS).map(|number| format!("CREATE POOL r{round}x{number}\r\n"));
    format!("BEGIN\r\n{}COMMIT\r\n", pools.collect::<String>())
}

/// How many of a round's pools a configuration has.
fn made(dump: &str, round: usize) -> usize {
    dump.matches(&format!("CREATE POOL r{round}x")).count()
}

#[test]
fn a_transaction_is_one_version_at_every_node() -> Result {
    let fleet = Fleet::start(&Plan {
        pooled: 1,
        ..Plan::default()
    })?;
    let before = fleet.node(2)?.version()?;
    let mut manage = fleet.node(2)?.manage()?;
    manage.change("BEGIN")?;
    for number in 0..POOLS {
        manage.change(&format!("CREATE POOL r1x{number}"))?;
    }
    ensure!(
        made(&fleet.node(2)?.dump()?, 1) == 0,
        "it is there before it is committed"
    );
    manage.change(&format!("COMMIT IF VERSION {before}"))?;
    fleet.wait_settled()?;
    for node in fleet.nodes() {
        ensure!(
            node.version()? == before + 1,
            "{} is at {}",
            node.name,
            node.version()?
        );
        ensure!(made(&node.dump()?, 1) == POOLS, "{} lacks pools", node.name);
    }
    // Somebody else was faster: nothing is changed.
    manage.change("BEGIN")?;
    manage.change("CREATE POOL late")?;
    fleet.node(3)?.manage()?.change("CREATE POOL early")?;
    let refused = manage.refused(&format!("COMMIT IF VERSION {}", before + 1))?;
    ensure!(refused.ends_with("nothing was changed"), "{refused}");
    // The same pool was made elsewhere between the line and the commit.
    manage.change("BEGIN")?;
    manage.change("CREATE POOL first")?;
    manage.change("CREATE POOL second")?;
    fleet.node(1)?.manage()?.change("CREATE POOL second")?;
    let refused = manage.refused("COMMIT")?;
    ensure!(
        refused == "nothing committed: line 2: pool 'second' already exists",
        "{refused}"
    );
    fleet.wait_settled()?;
    let dump = fleet.node(3)?.dump()?;
    ensure!(!dump.contains("CREATE POOL late") && !dump.contains("CREATE POOL first"));
    fleet.passed()
}

#[test]
fn a_killed_typist_leaves_all_or_nothing() -> Result {
    let mut fleet = Fleet::start(&Plan {
        pooled: 1,
        ..Plan::default()
    })?;
    // From before the last byte is there to after the answer.
    for round in 0..8 {
        let text = transaction(round);
        let mut manage = fleet.node(3)?.manage()?;
        let cut = if round % 2 == 0 {
            text.len()
        } else {
            text.len() - round
        };
        manage.send(text.as_bytes().get(..cut).unwrap_or_default())?;
        // Kills at different moments of the commit, which takes a few milliseconds.
        std::thread::sleep(Duration::from_micros(700 * u64::try_from(round)?));
        fleet.kill(3)?;
        let flags = fleet.place_flags(3)?;
        fleet.launch(3, flags)?;
        wait::for_true("a change at another node", wait::PATIENCE, || {
            Ok(fleet
                .node(1)?
                .manage()?
                .change(&format!("CREATE POOL after{round}"))
                .is_ok())
        })?;
        fleet.wait_settled()?;
        let dump = oracle::same_bytes(fleet.nodes())?;
        let made = made(&dump, round);
        ensure!(made == 0 || made == POOLS, "{made} pools of round {round}");
        ensure!(cut == text.len() || made == 0, "half a line was committed");
    }
    fleet.passed()
}
