//! `fleetbal cluster roll`: round the fleet, and no request fails.

use std::fs;
use std::time::Duration;

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::process::{self, Ended, Process, Sweeper};
use fleetbal_cluster_tests::{Fleet, Load, Plan, Result, Shape, wait};

/// Replaces the node's process by USR2, and returns when the new one is the node: a service manager's part in this test.
const REPLACE: &str = r#"
set -eu
echo "$FLEETBAL_ROLL_NODE $FLEETBAL_ROLL_ADDRESS $FLEETBAL_ROLL_HOST" >> order
pid=$(cat "$FLEETBAL_ROLL_NODE.pid")
kill -USR2 "$pid"
while [ -e "/proc/$pid" ] && ! grep -q '^State:.*Z' "/proc/$pid/status"; do sleep 0.05; done
"#;

fn roll(fleet: &Fleet, number: usize, command: &[&str]) -> Result<Ended> {
    let server = fleet.node(number)?.management().to_string();
    let mut arguments = vec![
        "cluster",
        "--server",
        &server,
        "roll",
        "--drain-timeout",
        "1",
        "--",
    ];
    arguments.extend(command);
    let arguments: Vec<_> = arguments.into_iter().map(str::to_owned).collect();
    process::run(fleet.command(&arguments)?, wait::PATIENCE * 4)
}

fn write_pids(fleet: &mut Fleet) -> Result<()> {
    for number in fleet.running() {
        let pid = fleet.process(number)?.pid();
        fs::write(fleet.dir().join(format!("n{number}.pid")), pid.to_string())?;
    }
    Ok(())
}

/// Rolls over three nodes, each of which gets traffic of its own, until so many requests have passed at each.
fn round(kept: u64, fresh: u64) -> Result<()> {
    Process::adopt_orphans()?;
    let mut fleet = Fleet::of_three()?;
    let _sweeper = Sweeper(fleet.dir().to_owned());
    write_pids(&mut fleet)?;
    let mut loads = Vec::new();
    for number in [1, 2, 3] {
        let address = fleet.node(number)?.traffic();
        for (shape, wanted) in [((4, 0), kept), ((0, 2), fresh)] {
            let shape = Shape {
                kept: shape.0,
                fresh: shape.1,
                target: "/".to_owned(),
            };
            loads.push((Load::of(address, &shape)?, wanted));
        }
    }
    let leader = fleet.leader()?;
    let ended = roll(&fleet, leader, &["sh", "-c", REPLACE])?;
    ensure!(ended.code == Some(0), "{ended:?}");
    ensure!(ended.stdout.ends_with("all 3 nodes are done\n"), "{ended:?}");
    let order = fs::read_to_string(fleet.dir().join("order"))?;
    let lines: Vec<_> = order.lines().collect();
    let node = fleet.node(leader)?;
    let last = format!("{} {} {}", node.name, node.cluster(), node.address);
    ensure!(
        lines.len() == 3 && lines.last() == Some(&last.as_str()),
        "{order}"
    );
    for number in [1, 2, 3] {
        let before = fleet.process(number)?.pid();
        fleet.process(number)?.wait_end(wait::PATIENCE)?;
        let told = fleet.node(number)?.manage()?.data("proc")?;
        let pid = told
            .iter()
            .find_map(|line| line.strip_prefix("pid: ")?.parse().ok());
        let pid = pid.with_context(|| format!("{told:?}"))?;
        ensure!(pid != before, "n{number} is the same process");
        *fleet.process(number)? = Process::adopt(pid)?;
    }
    fleet.wait_settled()?;
    for (load, wanted) in loads {
        load.pass(100)?;
        load.reach(wanted, Duration::from_mins(10))?;
        let report = load.finish();
        eprintln!("{} answered, slowest {:?}", report.answered, report.slowest);
        report.expect_flawless()?;
    }
    fleet.passed()
}

#[test]
fn it_goes_round_the_leader_last_and_no_request_fails() -> Result {
    round(500, 200)
}

#[test]
#[ignore = "100,000 requests at each node; see docs/CONTRIBUTING.md"]
fn it_goes_round_under_all_of_the_promised_load() -> Result {
    round(100_000, 20_000)
}

#[test]
fn it_stops_at_the_first_failure_and_says_where() -> Result {
    let fleet = Fleet::of_three()?;
    let leader = fleet.leader()?;
    let others = fleet.followers()?;
    let first = others.first().context("no follower")?;
    let second = others.last().context("no follower")?;
    let script = format!("test $FLEETBAL_ROLL_NODE != n{second}");
    let ended = roll(&fleet, leader, &["sh", "-c", &script])?;
    ensure!(ended.code == Some(1), "{ended:?}");
    let wanted = [
        format!(
            "fleetbal: stopped at n{second}: the command ended with exit status: 1; the node is still drained"
        ),
        format!("fleetbal: done: n{first}; not begun: n{leader}"),
        format!(
            "fleetbal: when n{second} is well, `fleetbal ctl on n{second} undrain node` gives it traffic again"
        ),
    ];
    ensure!(ended.errors() == wanted, "{ended:?}");
    // As it stands, nobody may be stopped.
    let ended = roll(&fleet, leader, &["true"])?;
    ensure!(
        ended.errors()
            == [format!(
                "fleetbal: n{second} is not ready: draining; nothing was begun"
            )],
        "{ended:?}"
    );
    fleet
        .node(leader)?
        .manage()?
        .change(&format!("on n{second} undrain node"))?;
    fleet.wait_settled()?;
    let ended = roll(&fleet, leader, &["no-such-program"])?;
    ensure!(
        ended.code == Some(1) && ended.stderr.contains("cannot run no-such-program: "),
        "{ended:?}"
    );
    fleet
        .node(leader)?
        .manage()?
        .change(&format!("on n{first} undrain node"))?;
    fleet.passed()
}

#[test]
fn it_does_not_begin_where_no_node_may_be_lost() -> Result {
    let fleet = Fleet::start(&Plan {
        nodes: 1,
        backends: 1,
        pooled: 1,
        extra: String::new(),
    })?;
    let ended = roll(&fleet, 1, &["false"])?;
    ensure!(
        ended.code == Some(1)
            && ended
                .stderr
                .contains("tolerates the loss of no node (1 voters), so none may be stopped")
            && ended.stderr.contains("nothing was begun"),
        "{ended:?}"
    );
    fleet.passed()
}
