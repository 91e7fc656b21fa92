//! `fleetbal top` on a real terminal, before a real fleet.

use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::process::{self, Ended};
use fleetbal_cluster_tests::{Fleet, Plan, Result, Terminal, wait};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

fn top(fleet: &Fleet, number: usize, flags: &[&str]) -> Result<Command> {
    let mut command = process::fleetbal()?;
    command.args(["top", "--server", &fleet.node(number)?.management().to_string()]);
    command.args(flags);
    command.env("TERM", "xterm-256color").env_remove("NO_COLOR");
    Ok(command)
}

/// The row of this node or backend.
fn line(terminal: &Terminal, name: &str) -> Result<String> {
    let screen = terminal.screen();
    let is_of = |line: &&str| line.split_whitespace().take(2).any(|word| word == name);
    let line = screen.lines().skip(2).find(is_of);
    Ok(line.with_context(|| format!("no {name}:\n{screen}"))?.to_owned())
}

fn shows(terminal: &Terminal, name: &str, words: &[&str]) -> Result {
    wait::for_true(format!("{name} to be {words:?}"), wait::PATIENCE, || {
        let line = line(terminal, name)?;
        let has = |word: &&str| line.split_whitespace().any(|shown| shown == *word);
        ensure!(words.iter().all(has), "{line}");
        Ok(true)
    })
}

/// Sends requests until there are figures of them, of the node and of the backend.
fn see_traffic(terminal: &Terminal, fleet: &Fleet, node: usize, backend: &str) -> Result {
    let figure = |name: &str| -> Result<f64> {
        let line = line(terminal, name)?;
        let word = line.split_whitespace().nth(5).context("no such column")?;
        Ok(word.parse()?)
    };
    wait::for_true("figures of traffic", wait::PATIENCE, || {
        for _ in 0..20 {
            fleet.node(node)?.get("/")?;
        }
        let seen = (figure(&format!("n{node}"))?, figure(backend)?);
        ensure!(seen.0 > 0.0 && seen.1 > 0.0, "{seen:?}");
        Ok(true)
    })
}

/// A change, a backend that is gone, one that is drained, a node that is killed.
fn see_losses(terminal: &Terminal, fleet: &mut Fleet, (seen_at, dies): (usize, usize)) -> Result {
    let leader = fleet.leader()?;
    fleet.node(leader)?.manage()?.change("CREATE POOL fresh")?;
    terminal.watch_for(&["CREATE POOL fresh"], &[])?;
    fleet.backend(2)?.stop();
    let gone = fleet.backend(2)?.address().to_string();
    wait::for_true("the backend to be missed", wait::PATIENCE, || {
        fleet.node(seen_at)?.get("/")?;
        Ok(line(terminal, &gone)?.contains("down"))
    })?;
    shows(terminal, &gone, &["down", "Connection"])?;
    terminal.watch_for(&[&format!("backend web {gone} is down")], &[])?;
    let drained = fleet.backend(3)?.address().to_string();
    let line = format!("POOL web DRAIN {drained}");
    fleet.node(leader)?.manage()?.change(&line)?;
    shows(terminal, &drained, &["draining"])?;
    fleet.kill(dies)?;
    shows(terminal, &format!("n{dies}"), &["dead", "no:"])?;
    let dead = format!("node n{dies} is dead");
    terminal.watch_for(&[&dead, "quorum 2/3", "not in sync"], &[])
}

#[test]
fn it_follows_what_happens_to_the_fleet() -> Result {
    let mut fleet = Fleet::of_three()?;
    let leader = fleet.leader()?;
    let [seen_at, dies] = fleet.followers()?.try_into().unwrap_or_default();
    let mut terminal = Terminal::open(&top(&fleet, seen_at, &["--interval", "0.2"])?, (24, 80))?;
    let wanted = [
        "fleet acme, leader",
        "quorum 3/3",
        "in sync",
        "Nodes 3",
        "Backends 3",
        "Queues 1",
        "q quit",
    ];
    terminal.watch_for(&wanted, &["not in sync"])?;
    shows(&terminal, &format!("n{leader}"), &["alive", "leader", "yes"])?;
    let backend = fleet.backend(1)?.address().to_string();
    see_traffic(&terminal, &fleet, seen_at, &backend)?;
    see_losses(&terminal, &mut fleet, (seen_at, dies))?;
    // Sorted by state, trouble is at the top; help comes and goes; a larger window has room for more.
    terminal.keys("s")?;
    terminal.watch_for(&["STATEv"], &[])?;
    let first = terminal.screen().lines().nth(4).unwrap_or_default().to_owned();
    ensure!(first.starts_with(&format!("n{dies} ")), "{terminal:?}");
    terminal.keys("?")?;
    terminal.watch_for(&["another table"], &[])?;
    terminal.keys("?")?;
    terminal.watch_for(&["Queues"], &["another table"])?;
    terminal.resize((40, 120))?;
    wait::for_true("the larger window", wait::PATIENCE, || {
        let screen = terminal.screen();
        let foot = screen.lines().nth(39).unwrap_or_default();
        ensure!(foot.contains("q quit"), "\n{screen}");
        Ok(true)
    })?;
    terminal.keys("q")?;
    ensure!(terminal.wait()? == Some(0), "{terminal:?}");
    terminal.wait_restored()?;
    fleet.passed()
}

#[test]
fn it_says_when_its_node_is_gone_and_goes_on_when_it_is_back() -> Result {
    let mut fleet = Fleet::of_three()?;
    let mut terminal = Terminal::open(&top(&fleet, 2, &["--interval", "0.2"])?, (24, 100))?;
    terminal.watch_for(&["in sync", "as n2 at"], &["not in sync"])?;
    fleet.kill(2)?;
    terminal.watch_for(&["trying again: no answer from"], &[])?;
    fleet.restart(2)?;
    terminal.watch_for(&["answers again", "as n2 at"], &["trying again"])?;
    // It hears events again as well. Until it does, each change is one more.
    let mut count = 0;
    wait::for_true("an event", wait::PATIENCE, || {
        count += 1;
        fleet
            .node(1)?
            .manage()?
            .change(&format!("CREATE POOL pool{count}"))?;
        Ok(terminal.screen().contains("CREATE POOL pool"))
    })?;
    // While it is paused the screen stays as it is.
    terminal.keys("p")?;
    terminal.watch_for(&["paused"], &[])?;
    fleet.node(1)?.manage()?.change("CREATE POOL unseen")?;
    fleet.node(2)?.manage()?.change("barrier")?;
    terminal.keys("?")?;
    terminal.watch_for(&["another table"], &["unseen"])?;
    terminal.keys("?p")?;
    terminal.watch_for(&["unseen"], &["paused"])?;
    // Ctrl-C leaves like q does.
    terminal.keys("\x03")?;
    ensure!(terminal.wait()? == Some(0), "{terminal:?}");
    terminal.wait_restored()?;
    fleet.passed()
}

#[test]
fn a_signal_leaves_the_terminal_as_it_was() -> Result {
    let fleet = Fleet::start(&Plan {
        nodes: 1,
        ..Plan::default()
    })?;
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let mut terminal = Terminal::open(&top(&fleet, 1, &[])?, (24, 80))?;
        terminal.watch_for(&["Nodes 1"], &[])?;
        ensure!(
            terminal.check_plain().is_err(),
            "it does not draw on a screen of its own"
        );
        signal::kill(Pid::from_raw(i32::try_from(terminal.pid())?), signal)?;
        ensure!(terminal.wait()? == Some(0), "after {signal}: {terminal:?}");
        terminal.wait_restored()?;
    }
    fleet.passed()
}

#[test]
fn without_a_terminal_it_prints_one_picture() -> Result {
    let mut fleet = Fleet::start(&Plan {
        nodes: 1,
        ..Plan::default()
    })?;
    let run = |fleet: &Fleet, flags: &[&str]| -> Result<Ended> {
        let mut command = top(fleet, 1, flags)?;
        command.stdin(Stdio::null());
        process::run(command, wait::PATIENCE)
    };
    let backend = fleet.backend(1)?.address().to_string();
    for flags in [&["--interval", "0.1"][..], &["--once", "--interval", "0.1"]] {
        let ended = run(&fleet, flags)?;
        ensure!(ended.code == Some(0) && ended.stderr.is_empty(), "{ended:?}");
        ensure!(!ended.stdout.contains('\x1b'), "{ended:?}");
        for wanted in ["fleet acme, leader n1, version", "n1", &backend, "SERVICEv"] {
            ensure!(ended.stdout.contains(wanted), "no {wanted}: {ended:?}");
        }
    }
    let ended = run(&fleet, &["--json", "--interval", "0.1"])?;
    let picture: serde_json::Value = serde_json::from_str(&ended.stdout)?;
    ensure!(
        picture["backends"][0]["state"] == "up" && ended.stdout.lines().count() == 1,
        "{ended:?}"
    );
    // Nothing to show.
    let no_file = run(&fleet, &["--token-file", "/nonexistent"])?;
    ensure!(
        no_file.code == Some(2) && no_file.stderr.contains("/nonexistent"),
        "{no_file:?}"
    );
    let secret = fleet.dir().join("secret");
    std::fs::write(&secret, "wrong\n")?;
    let wrong = run(&fleet, &["--token-file", &secret.display().to_string()])?;
    ensure!(
        wrong.code == Some(1) && wrong.stderr == "fleetbal: wrong secret\n",
        "{wrong:?}"
    );
    // A web server is no node.
    let mut command = process::fleetbal()?;
    command.args(["top", "--once", "--server", &backend]);
    let ended = process::run(command, wait::PATIENCE)?;
    ensure!(
        ended.code == Some(1) && ended.stderr.contains("does not answer like a node"),
        "{ended:?}"
    );
    fleet.kill(1)?;
    let ended = run(&fleet, &[])?;
    ensure!(
        ended.code == Some(4) && ended.stderr.contains("no answer from"),
        "{ended:?}"
    );
    // On a terminal as well, before anything is drawn.
    let mut terminal = Terminal::open(&top(&fleet, 1, &[])?, (24, 80))?;
    ensure!(terminal.wait()? == Some(4), "{terminal:?}");
    ensure!(!terminal.written().contains("\x1b["), "{terminal:?}");
    fleet.passed()
}
