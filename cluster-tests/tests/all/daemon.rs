//! `--daemon`, its pidfile, and what USR1 logs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::process::{self, Process, Sweeper};
use fleetbal_cluster_tests::{Backend, Manage, Result, client, wait};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use crate::standalone::Place;

/// A process in the background, which nobody waits for; killed when this is dropped.
struct Background(Pid);

impl Drop for Background {
    fn drop(&mut self) {
        // It has mostly ended.
        signal::kill(self.0, Signal::SIGKILL).unwrap_or_default();
    }
}

fn status(pid: Pid, key: &str) -> Result<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    Ok(line.context("no such line")?.trim().to_owned())
}

/// A configuration with a pidfile, and that.
fn with_pidfile(place: &Place) -> Result<(PathBuf, PathBuf)> {
    let (config, pidfile) = (
        place.dir.path().join("perlbal.conf"),
        place.dir.path().join("pid"),
    );
    let text = format!("SERVER pidfile = {}\n{}\n", pidfile.display(), place.config());
    fs::write(&config, text)?;
    Ok((config, pidfile))
}

fn daemon(place: &Place, config: &Path, flags: &[&str]) -> Result<Command> {
    let mut command = process::fleetbal()?;
    command.args(flags).arg(format!("-conf={}", config.display()));
    command.current_dir(place.dir.path());
    Ok(command)
}

#[test]
fn goes_to_the_background_once_it_listens() -> Result {
    let place = Place::new()?;
    let _b1 = Backend::start("b1", place.net.backend(1))?;
    let _b2 = Backend::start("b2", place.net.backend(2))?;
    let (config, pidfile) = with_pidfile(&place)?;
    let ended = process::run(daemon(&place, &config, &["-d"])?, wait::PATIENCE)?;
    ensure!(
        ended.code == Some(0) && ended.stdout.is_empty() && ended.stderr.is_empty(),
        "{ended:?}"
    );
    // It listens already.
    let mut manage = Manage::connect((place.net.node(1), 60000).into())?;
    let pid = Pid::from_raw(fs::read_to_string(&pidfile)?.trim().parse()?);
    let background = Background(pid);
    let told = manage.data("proc")?;
    ensure!(told.contains(&format!("pid: {pid}")), "{told:?}");
    let session = nix::unistd::getsid(Some(pid))?;
    ensure!(session == pid, "its session is {session}");
    for descriptor in 0..3 {
        let target = fs::read_link(format!("/proc/{pid}/fd/{descriptor}"))?;
        ensure!(
            target == Path::new("/dev/null"),
            "{descriptor} is {}",
            target.display()
        );
    }
    wait::for_true("traffic", wait::PATIENCE, || {
        Ok(client::get((place.net.node(1), 8080).into(), "/")?.status()? == 200)
    })?;
    signal::kill(pid, Signal::SIGTERM)?;
    drop(manage);
    wait::for_true("its end", wait::PATIENCE, || {
        // Whoever adopted it may not have looked yet.
        Ok(status(pid, "State:").map_or(true, |state| state.starts_with('Z')))
    })?;
    ensure!(!pidfile.exists(), "the pidfile is still there");
    drop(background);
    Ok(())
}

/// Those of this program that work in a directory and have not ended.
fn living(dir: &Path) -> Result<Vec<Pid>> {
    let mut living = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else {
            continue;
        };
        let is_there = fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == dir);
        let pid = Pid::from_raw(pid);
        if is_there && status(pid, "State:").is_ok_and(|state| !state.starts_with('Z')) {
            living.push(pid);
        }
    }
    Ok(living)
}

/// Replaces the process that a pidfile names; the new one's number, once it is the only one.
fn replaced(place: &Place, pidfile: &Path, old: Pid) -> Result<Pid> {
    signal::kill(old, Signal::SIGUSR2)?;
    let new = wait::until("another process", wait::PATIENCE, || {
        let pid = Pid::from_raw(fs::read_to_string(pidfile)?.trim().parse()?);
        Ok((pid != old).then_some(pid))
    })?;
    wait::for_true("the old one's end", wait::PATIENCE, || {
        let living = living(place.dir.path())?;
        ensure!(living == [new], "{living:?} run, and {new} should");
        Ok(true)
    })?;
    let told = wait::until("management", wait::PATIENCE, || {
        let mut manage = Manage::connect((place.net.node(1), 60000).into())?;
        Ok(Some(manage.data("proc")?))
    })?;
    ensure!(told.contains(&format!("pid: {new}")), "{new}: {told:?}");
    Ok(new)
}

#[test]
fn a_process_in_the_background_is_replaced_by_one_that_stays_there() -> Result {
    let place = Place::new()?;
    let _sweeper = Sweeper(place.dir.path().to_owned());
    let _b1 = Backend::start("b1", place.net.backend(1))?;
    let (config, pidfile) = with_pidfile(&place)?;
    let ended = process::run(daemon(&place, &config, &["--daemon"])?, wait::PATIENCE)?;
    ensure!(ended.code == Some(0), "{ended:?}");
    let first = Pid::from_raw(fs::read_to_string(&pidfile)?.trim().parse()?);
    let second = replaced(&place, &pidfile, first)?;
    let third = replaced(&place, &pidfile, second)?;
    // It did not detach a second time: the session is still that of the first one, which had no terminal.
    ensure!(nix::unistd::getsid(Some(third))? == first, "another session");
    for descriptor in 0..3 {
        let target = fs::read_link(format!("/proc/{third}/fd/{descriptor}"))?;
        ensure!(
            target == Path::new("/dev/null"),
            "{descriptor} is {}",
            target.display()
        );
    }
    ensure!(client::get((place.net.node(1), 8080).into(), "/")?.status()? == 200);
    signal::kill(third, Signal::SIGTERM)?;
    wait::for_true("its end", wait::PATIENCE, || {
        Ok(living(place.dir.path())?.is_empty())
    })?;
    ensure!(!pidfile.exists(), "the pidfile is still there");
    Ok(())
}

#[test]
fn a_start_that_fails_is_told_in_the_foreground() -> Result {
    let place = Place::new()?;
    let config = place.dir.path().join("perlbal.conf");
    fs::write(&config, format!("{}\nbogus\n", place.config()))?;
    let ended = process::run(daemon(&place, &config, &["--daem"])?, wait::PATIENCE)?;
    ensure!(ended.code == Some(78), "{ended:?}");
    ensure!(ended.stdout == "ERROR: unknown command: bogus\n", "{ended:?}");
    ensure!(ended.stderr.contains("Error starting up."), "{ended:?}");
    Ok(())
}

#[test]
fn usr1_logs_services_states_and_queues() -> Result {
    let place = Place::new()?;
    let _b1 = Backend::start("b1", place.net.backend(1))?;
    let log = place.dir.path().join("log");
    let process: Process = place.start(&place.config())?;
    wait::for_true("the start", wait::PATIENCE, || {
        Ok(fs::read_to_string(&log)?.contains("beginning run"))
    })?;
    process.signal(Signal::SIGUSR1)?;
    wait::for_true("the report", wait::PATIENCE, || {
        let said = fs::read_to_string(&log)?;
        let words = ["SERVICE www", "SERVICE mgmt", "www-normal.count 0"];
        let all = words.iter().all(|word| said.contains(word));
        ensure!(all, "{said}");
        Ok(true)
    })
}
