//! Access logs: one rule for the fleet, a log for each node, and nothing about them that stops traffic.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::{Backend, Fleet, Manage, Result, client, wait};
use nix::sys::signal::Signal;

use super::standalone::Place;

const WITHIN: Duration = Duration::from_secs(20);

fn count(path: &Path) -> usize {
    fs::read_to_string(path).unwrap_or_default().lines().count()
}

fn wait_lines(path: &Path, lines: usize) -> Result {
    wait::for_true(format!("{lines} lines in {}", path.display()), WITHIN, || {
        let found = count(path);
        ensure!(found == lines, "{found} lines");
        Ok(true)
    })
}

fn get(fleet: &Fleet, number: usize) -> Result {
    let status = fleet.node(number)?.get("/who?x=1")?.status()?;
    ensure!(status == 200, "n{number} answered {status}");
    Ok(())
}

#[test]
fn each_node_writes_its_own_log() -> Result {
    let mut fleet = Fleet::of_three()?;
    let dir = fleet.dir().to_owned();
    let log = |number: usize| dir.join(format!("n{number}.access"));
    let mut manage = fleet.node(2)?.manage()?;
    manage.change("LOAD log")?;
    manage.change(&format!("LOGNAME www = {}/${{node:name}}.access", dir.display()))?;
    manage.change("SET www.plugins = log")?;
    manage.change("barrier 10")?;
    for number in 1..=3 {
        get(&fleet, number)?;
        wait_lines(&log(number), 1)?;
    }
    let line = fs::read_to_string(log(3))?;
    let host = fleet.node(3)?.traffic().to_string();
    ensure!(
        line.starts_with("127.") && line.contains("] \"GET /who?x=1 HTTP/1.1\" 200 "),
        "{line}"
    );
    ensure!(line.contains(&format!(" \"-\" \"-\" {host} 0.")), "{line}");
    ensure!(line.ends_with(" www reverse_proxy\n"), "{line}");

    // A file that was moved goes on, until HUP.
    let moved = dir.join("n2.access.1");
    fs::rename(log(2), &moved)?;
    get(&fleet, 2)?;
    wait_lines(&moved, 2)?;
    fleet.process(2)?.signal(Signal::SIGHUP)?;
    wait::for_true("n2 to open its log again", WITHIN, || Ok(log(2).exists()))?;
    get(&fleet, 2)?;
    wait_lines(&log(2), 1)?;
    ensure!(count(&moved) == 2, "the moved file was written to");

    programs(&mut fleet, &mut manage)?;
    fleet.passed()
}

/// A program is started only where that is allowed; elsewhere it is an effect that fails.
fn programs(fleet: &mut Fleet, manage: &mut Manage) -> Result {
    let dir = fleet.dir().to_owned();
    let piped = format!("LOGNAME www = | cat >> {}/piped", dir.display());
    let refused = manage.refused(&piped)?;
    ensure!(
        refused.ends_with("programs are started only on nodes that run with --allow-exec"),
        "{refused}"
    );
    fleet.terminate(3)?;
    let mut flags = fleet.node(3)?.flags.clone();
    flags.push("--allow-exec".to_owned());
    fleet.launch(3, flags)?;
    fleet.wait_settled()?;
    fleet.node(3)?.manage()?.change(&piped)?;
    get(fleet, 3)?;
    wait_lines(&dir.join("piped"), 1)?;
    wait::for_true("both others to tell", WITHIN, || {
        let effects = fleet.node(3)?.manage()?.data("effects")?;
        let of = |node: &str| {
            effects
                .iter()
                .any(|line| line.starts_with(node) && line.contains("log of www"))
        };
        ensure!(of("n1") && of("n2") && !of("n3"), "{effects:?}");
        Ok(true)
    })?;
    for number in 1..=2 {
        get(fleet, number)?;
        fleet
            .node(number)?
            .ready()
            .with_context(|| format!("n{number}"))?;
    }
    Ok(())
}

#[test]
fn a_full_disk_and_a_dead_pipe_stop_no_traffic() -> Result {
    let place = Place::new()?;
    let _b1 = Backend::start("b1", place.net.backend(1))?;
    let _b2 = Backend::start("b2", place.net.backend(2))?;
    let node = place.net.node(1);
    let (traffic, management) = ((node, 8080).into(), (node, 60000).into());
    let config = format!(
        "{}\nLOAD log\nLOGNAME www = /dev/full\nSET www.plugins = log\n",
        place.config()
    );
    let mut command = place.command(&config)?;
    command.arg("--allow-exec");
    let process = fleetbal_cluster_tests::process::Process::start(command, &place.dir.path().join("log"))?;
    wait::for_true("it to serve", wait::PATIENCE, || {
        Ok(client::get(traffic, "/")?.status()? == 200)
    })?;
    let served = |times: usize| -> Result {
        for _ in 0..times {
            let status = client::get(traffic, "/")?.status()?;
            ensure!(status == 200, "answered {status}");
        }
        Ok(())
    };
    served(50)?;
    let mut manage = Manage::connect(management)?;
    let told = |manage: &mut Manage, words: &str| -> Result {
        wait::for_true(words.to_owned(), WITHIN, || {
            let effects = manage.data("effects")?;
            ensure!(effects.iter().any(|line| line.contains(words)), "{effects:?}");
            Ok(true)
        })
    };
    told(&mut manage, "No space left on device; lines are lost")?;
    let dropped = "fleetbal_service_access_log_lines_total{service=\"www\",result=\"dropped\"} ";
    wait::for_true("the lines to be counted", WITHIN, || {
        let metrics = client::get(management, "/metrics")?.text();
        let line = metrics.lines().find_map(|line| line.strip_prefix(dropped));
        Ok(line.context("no figure")?.parse::<u64>()? >= 50)
    })?;
    manage.change("LOGNAME www = | exit 7")?;
    served(50)?;
    told(
        &mut manage,
        "the command ended (exit status: 7); it is started again",
    )?;
    served(50)?;
    // What was logged last is in the file when the process has ended.
    let log = place.dir.path().join("access");
    manage.change(&format!("LOGNAME www = {}", log.display()))?;
    served(3)?;
    let mut process = process;
    process.signal(Signal::SIGTERM)?;
    let status = process.wait_end(wait::PATIENCE)?;
    ensure!(status.code() == Some(0), "it ended with {status}");
    ensure!(count(&log) == 3, "{} lines", count(&log));
    Ok(())
}
