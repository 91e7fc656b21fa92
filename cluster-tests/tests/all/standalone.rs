//! One machine, one config file: Perlbal's way of running it.

use std::fs;
use std::process::Command;

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::ports::Net;
use fleetbal_cluster_tests::process::{self, Process};
use fleetbal_cluster_tests::{Backend, Manage, Result, client, wait};
use nix::sys::signal::Signal;

pub(crate) struct Place {
    pub(crate) net: Net,
    pub(crate) dir: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            net: Net::claim()?,
            dir: tempfile::tempdir()?,
        })
    }

    pub(crate) fn command(&self, config: &str) -> Result<Command> {
        let path = self.dir.path().join("perlbal.conf");
        fs::write(&path, config)?;
        let mut command = process::fleetbal()?;
        command.arg(format!("--config={}", path.display()));
        command.current_dir(self.dir.path());
        Ok(command)
    }

    pub(crate) fn start(&self, config: &str) -> Result<Process> {
        Process::start(self.command(config)?, &self.dir.path().join("log"))
    }

    fn run(&self, config: &str) -> Result<process::Ended> {
        process::run(self.command(config)?, wait::PATIENCE)
    }

    pub(crate) fn config(&self) -> String {
        let (node, b1, b2) = (self.net.node(1), self.net.backend(1), self.net.backend(2));
        format!(
            "# load balancer + management\r\nCREATE POOL web\n  POOL web ADD {b1}\n  POOL web ADD {b2}\n\
             CREATE SERVICE www\n  SET role            = reverse_proxy\n  SET listen          = {node}:8080\n  \
             SET pool            = web\n  SET persist_client = on\n  SET persist_backend = on\n  \
             SET verify_backend  = on\nENABLE www\n\nCREATE SERVICE mgmt\n  SET role   = management\n  \
             SET listen = {node}:60000\nENABLE mgmt"
        )
    }
}

#[test]
fn a_perlbal_config_file_runs_as_it_is() -> Result {
    let place = Place::new()?;
    let _b1 = Backend::start("b1", place.net.backend(1))?;
    let _b2 = Backend::start("b2", place.net.backend(2))?;
    let mut process = place.start(&place.config())?;
    let (node, traffic, management) = (
        place.net.node(1),
        (place.net.node(1), 8080).into(),
        (place.net.node(1), 60000).into(),
    );
    wait::for_true("it to serve", wait::PATIENCE, || {
        Ok(client::get(traffic, "/")?.status()? == 200)
    })?;
    let mut manage = Manage::connect(management)?;
    let services = manage.data("show service")?;
    ensure!(
        services
            == [
                format!("mgmt {node}:60000 ENABLED"),
                format!("www {node}:8080 ENABLED")
            ],
        "{services:?}"
    );
    let pools = manage.data("show pool")?;
    ensure!(pools == ["web nodes 2", "web services 1"], "{pools:?}");
    manage.change(&format!("POOL web REMOVE {}", place.net.backend(1)))?;
    for _ in 0..10 {
        let answer = client::get(traffic, "/")?;
        ensure!(answer.text() == "b2", "answered '{}'", answer.text());
    }
    let files: Vec<_> = fs::read_dir(place.dir.path())?
        .map(|entry| Ok(entry?.file_name()))
        .collect::<Result<_>>()?;
    ensure!(
        files.len() == 2,
        "it kept something beside config and log: {files:?}"
    );
    manage.send(b"shutdown\r\n")?;
    let status = process.wait_end(wait::PATIENCE)?;
    ensure!(status.code() == Some(0), "it ended with {status}");
    Ok(())
}

/// A thread of a process, and how Linux schedules it.
#[derive(Debug)]
struct Thread {
    name: String,
    level: i32,
    policy: u32,
    /// In nanoseconds; Linux before 6.12 tells none.
    slice: u64,
}

fn threads(process: &Process) -> Result<Vec<Thread>> {
    fs::read_dir(format!("/proc/{}/task", process.pid()))?
        .map(|thread| {
            let thread = thread?;
            let number = thread.file_name().to_str().context("no number")?.parse()?;
            let attributes = uapi::sched_getattr(number, 0)?;
            Ok(Thread {
                name: fs::read_to_string(thread.path().join("comm"))?
                    .trim_end()
                    .to_owned(),
                level: attributes.sched_nice,
                policy: attributes.sched_policy,
                slice: attributes.sched_runtime,
            })
        })
        .collect()
}

/// Whether the threads that carry traffic have a level and short slices, and those of the control plane what gives way to
/// it.
fn have_level(process: &Process, level: i32) -> Result<bool> {
    const NORMAL: u32 = 0;
    const BATCH: u32 = 3;
    let threads = threads(process)?;
    let named = |name: &'static str| threads.iter().filter(move |thread| thread.name.starts_with(name));
    let both = ["worker", "control"];
    ensure!(
        both.into_iter().all(|name| named(name).count() > 0),
        "{threads:?}"
    );
    let worker = |thread: &Thread| {
        thread.level == level && thread.policy == NORMAL && matches!(thread.slice, 0 | 100_000)
    };
    let control = |thread: &Thread| thread.level == 19 && thread.policy == BATCH;
    Ok(named("worker").all(worker) && named("control").all(control))
}

#[test]
fn server_lines_set_up_the_process() -> Result {
    let place = Place::new()?;
    let _b1 = Backend::start("b1", place.net.backend(1))?;
    let pidfile = place.dir.path().join("pid");
    let lines = format!(
        "SERVER pidfile = {}\nSERVER nice_level = 3\nSERVER max_connections = 1000\nSERVER aio_mode = ioaio\n",
        pidfile.display()
    );
    let mut process = place.start(&(lines + &place.config()))?;
    let mut manage = wait::until("management", wait::PATIENCE, || {
        Ok(Some(Manage::connect((place.net.node(1), 60000).into())?))
    })?;
    ensure!(fs::read_to_string(&pidfile)? == format!("{}\n", process.pid()));
    let limits = fs::read_to_string(format!("/proc/{}/limits", process.pid()))?;
    let files = limits.lines().find(|line| line.starts_with("Max open files"));
    let soft = files.and_then(|line| line.split_whitespace().nth(3));
    ensure!(soft == Some("1000"), "{files:?}");
    wait::for_true("levels from the file", wait::PATIENCE, || have_level(&process, 3))?;
    manage.change("SERVER nice_level = 7")?;
    wait::for_true("levels as typed", wait::PATIENCE, || have_level(&process, 7))?;
    process.signal(Signal::SIGTERM)?;
    let status = process.wait_end(wait::PATIENCE)?;
    ensure!(status.code() == Some(0), "it ended with {status}");
    ensure!(!pidfile.exists(), "the pidfile is still there");
    Ok(())
}

#[test]
fn what_was_typed_is_gone_at_the_next_start() -> Result {
    let place = Place::new()?;
    let _b1 = Backend::start("b1", place.net.backend(1))?;
    let management = (place.net.node(1), 60000).into();
    for _ in 0..2 {
        let mut process = place.start(&place.config())?;
        let mut manage = wait::until("management", wait::PATIENCE, || {
            Ok(Some(Manage::connect(management)?))
        })?;
        // Would be refused the second time, had it been kept.
        manage.change("CREATE POOL typed")?;
        process.signal(Signal::SIGTERM)?;
        let status = process.wait_end(wait::PATIENCE)?;
        ensure!(status.code() == Some(0), "it ended with {status}");
    }
    Ok(())
}

#[test]
fn a_mistake_in_the_file_ends_the_start_as_perlbal_does() -> Result {
    let place = Place::new()?;
    for (line, wanted) in [
        (
            "SET www.colour = blue",
            "ERROR: Unknown service parameter 'colour'",
        ),
        ("ENABLE balance", "ERROR: service 'balance' does not exist"),
        ("frobnicate", "ERROR: unknown command: frobnicate"),
    ] {
        let ended = place.run(&format!("{}\n{line}\n", place.config()))?;
        ensure!(ended.code.is_some_and(|code| code != 0), "{line}: {ended:?}");
        ensure!(ended.stdout.contains(wanted), "{line}: {ended:?}");
        ensure!(ended.stderr.contains("Error starting up."), "{line}: {ended:?}");
    }
    Ok(())
}

#[test]
fn a_file_that_is_not_there_and_one_that_starts_nothing() -> Result {
    let place = Place::new()?;
    let mut command = process::fleetbal()?;
    command.arg("--config=/no/such/file.conf");
    let ended = process::run(command, wait::PATIENCE)?;
    ensure!(ended.code.is_some_and(|code| code != 0), "{ended:?}");
    ensure!(
        ended
            .stderr
            .contains("Error opening config file (/no/such/file.conf): No such file or directory"),
        "{ended:?}"
    );
    let ended = place.run("CREATE POOL lonely\n")?;
    ensure!(ended.code.is_some_and(|code| code != 0), "{ended:?}");
    ensure!(
        ended
            .stderr
            .contains("No services or management port configured.  Nothing to do.  Stopping."),
        "{ended:?}"
    );
    Ok(())
}

#[test]
fn check_says_what_is_wrong_and_starts_nothing() -> Result {
    let place = Place::new()?;
    let path = place.dir.path().join("perlbal.conf");
    for (text, code) in [(place.config(), 0), (format!("{}\nbogus\n", place.config()), 78)] {
        fs::write(&path, text)?;
        let mut command = process::fleetbal()?;
        command.arg(format!("--config={}", path.display())).arg("--check");
        let ended = process::run(command, wait::PATIENCE)?;
        ensure!(ended.code == Some(code), "{ended:?}");
    }
    Ok(())
}

#[test]
fn a_taken_address_ends_the_start() -> Result {
    let place = Place::new()?;
    let held = std::net::TcpListener::bind((place.net.node(1), 8080))?;
    let ended = place.run(&place.config())?;
    ensure!(ended.code.is_some_and(|code| code != 0), "{ended:?}");
    let said = format!("{}{}", ended.stdout, ended.stderr);
    ensure!(
        said.contains("Can't start service 'www'") && said.contains("Address already in use"),
        "{ended:?}"
    );
    drop(held);
    Ok(())
}

#[test]
fn the_sample_configuration_is_good() -> Result {
    let mut command = process::fleetbal()?;
    let sample = process::workspace().join("deploy/fleetbal.conf");
    command
        .arg(format!("--config={}", sample.display()))
        .arg("--check");
    let ended = process::run(command, wait::PATIENCE)?;
    ensure!(ended.code == Some(0), "{ended:?}");
    Ok(())
}
