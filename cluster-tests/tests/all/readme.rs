//! The README's three nodes by hand, run as they are written there.

use std::env;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::{Backend, Result, ports, process, readme};

#[test]
fn its_three_nodes_by_hand_work_as_written() -> Result {
    let _net = ports::claim_plain_net()?;
    let _b1 = Backend::start("b1", ([127, 0, 0, 1], 9001).into())?;
    let _b2 = Backend::start("b2", ([127, 0, 0, 1], 9002).into())?;
    let binary = process::binary()?;
    let beside = binary.parent().context("a binary in no directory")?;
    let path = env::var("PATH").unwrap_or_default();
    let temp = tempfile::tempdir()?;
    // What is left when a command fails must not outlive the test.
    let script = format!(
        "set -e\ntrap 'kill $(jobs -p) 2> /dev/null || true; wait' EXIT\n{}",
        readme::marked_commands()?
    );
    // On its own time-out, `timeout` also ends what the script left in the background.
    let mut bash = Command::new("timeout");
    bash.args(["--kill-after=5", "60", "bash", "-c", &script])
        .env("PATH", format!("{}:{path}", beside.display()))
        .env("TMPDIR", temp.path())
        .current_dir(temp.path());
    let logs = |name: &str| {
        let bytes = std::fs::read(temp.path().join("acme").join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let ended = process::run(bash, Duration::from_secs(80));
    let ended = ended.with_context(|| ["n1.log", "n2.log", "n3.log"].map(logs).join("\n----\n"))?;
    ensure!(ended.code == Some(0), "{ended:?}\n{}", logs("n1.log"));
    for wanted in [
        "quorum 3/3",
        "POOL ADD web 127.0.0.1:9002",
        "listen = ${node:ip}:8080",
    ] {
        ensure!(
            ended.stdout.contains(wanted),
            "no '{wanted}' in\n{}",
            ended.stdout
        );
    }
    Ok(())
}
