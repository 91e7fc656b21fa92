//! Command lines of the documentation, run as they are written there.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::{Backend, Result, ports, process, readme};

/// Runs all blocks of a page that have this mark, in an empty directory that `prepare` fills. What they printed.
fn run_page(page: &str, mark: &str, prepare: impl FnOnce(&Path) -> Result<()>) -> Result<String> {
    let binary = process::binary()?;
    let beside = binary.parent().context("a binary in no directory")?;
    let path = env::var("PATH").unwrap_or_default();
    let temp = tempfile::tempdir()?;
    prepare(temp.path())?;
    // What is left when a command fails must not outlive the test.
    let script = format!(
        "set -e\ntrap 'kill $(jobs -p) 2> /dev/null || true; wait' EXIT\n{}",
        readme::marked_commands(page, mark)?
    );
    // On its own time-out, `timeout` also ends what the script left in the background.
    let mut bash = Command::new("timeout");
    bash.args(["--kill-after=5", "60", "bash", "-c", &script])
        .env("PATH", format!("{}:{path}", beside.display()))
        .env("TMPDIR", temp.path())
        .current_dir(temp.path());
    let ended = process::run(bash, Duration::from_secs(80));
    let ended = ended.with_context(|| logs(temp.path()))?;
    ensure!(ended.code == Some(0), "{ended:?}\n{}", logs(temp.path()));
    Ok(ended.stdout)
}

/// All logs below a directory.
fn logs(dir: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            text += &logs(&path);
        } else if path.extension().is_some_and(|end| end == "log") {
            let said = fs::read(&path).unwrap_or_default();
            text += &path.display().to_string();
            text += "\n";
            text += &String::from_utf8_lossy(&said);
        }
    }
    text
}

#[test]
fn its_three_nodes_by_hand_work_as_written() -> Result {
    let _net = ports::claim_plain_net()?;
    let _b1 = Backend::start("b1", ([127, 0, 0, 1], 9001).into())?;
    let _b2 = Backend::start("b2", ([127, 0, 0, 1], 9002).into())?;
    let said = run_page("README.md", "by-hand", |_| Ok(()))?;
    for wanted in [
        "quorum 3/3",
        "POOL ADD web 127.0.0.1:9002",
        "listen = ${node:ip}:8080",
    ] {
        ensure!(said.contains(wanted), "no '{wanted}' in\n{said}");
    }
    Ok(())
}

/// Perlbal's own sample, as far as it goes.
const PERLBAL: &str = "CREATE POOL web\n  POOL web ADD 127.0.0.1:9001\n\nCREATE SERVICE www\n  SET role = reverse_proxy\n  \
                       SET listen = 127.0.0.1:8080\n  SET pool = web\nENABLE www\n\nCREATE SERVICE mgmt\n  SET role = management\n  \
                       SET listen = 127.0.0.1:60000\nENABLE mgmt\n";

#[test]
fn the_way_from_perlbal_works_as_written() -> Result {
    let _net = ports::claim_plain_net()?;
    let _b1 = Backend::start("b1", ([127, 0, 0, 1], 9001).into())?;
    let said = run_page("docs/migrating.md", "migrating", |dir| {
        Ok(fs::write(dir.join("perlbal.conf"), PERLBAL)?)
    })?;
    for wanted in [
        "perlbal.conf: OK",
        "www 127.0.0.1:8080 ENABLED",
        "web nodes 1",
        "fleet.conf: OK",
    ] {
        ensure!(said.contains(wanted), "no '{wanted}' in\n{said}");
    }
    Ok(())
}
