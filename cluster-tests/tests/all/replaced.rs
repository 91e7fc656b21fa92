//! USR2: another process takes the place of a node's, and no client notices.

use std::fs;
use std::net::SocketAddrV4;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::process::{self, Process, Sweeper};
use fleetbal_cluster_tests::{Backend, Fleet, Load, Manage, Result, Shape, client, wait};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use crate::service_manager::NotifySocket;
use crate::standalone::Place;

/// Requests that have to pass while processes are replaced: through kept connections, and with one each.
const KEPT: u64 = 4_000;
const FRESH: u64 = 1_000;

/// The whole of what is promised, for whoever has minutes.
const ALL_KEPT: u64 = 100_000;
const ALL_FRESH: u64 = 20_000;

/// For that many.
const LONG: Duration = Duration::from_mins(10);

fn shape(kept: usize, fresh: usize) -> Shape {
    Shape {
        kept,
        fresh,
        target: "/".to_owned(),
    }
}

/// Waits until a process has another in its place, by the file that holds the number of the node's process.
pub(crate) fn successor(pidfile: &Path, before: &Process) -> Result<Process> {
    let pid = wait::until("another process", wait::PATIENCE, || {
        let pid: u32 = fs::read_to_string(pidfile)?.trim().parse()?;
        Ok((pid != before.pid()).then_some(pid))
    })?;
    Process::adopt(pid)
}

/// A node that stands alone, whose binary is a copy that can be replaced.
struct Alone {
    _sweeper: Sweeper,
    place: Place,
    binary: PathBuf,
    pidfile: PathBuf,
    _backends: [Backend; 2],
}

impl Alone {
    fn new() -> Result<Self> {
        Process::adopt_orphans()?;
        let place = Place::new()?;
        let backends = [
            Backend::start("b1", place.net.backend(1))?,
            Backend::start("b2", place.net.backend(2))?,
        ];
        let binary = place.dir.path().join("fleetbal");
        fs::copy(process::binary()?, &binary)?;
        let pidfile = place.dir.path().join("pid");
        Ok(Self {
            _sweeper: Sweeper(place.dir.path().to_owned()),
            place,
            binary,
            pidfile,
            _backends: backends,
        })
    }

    fn command(&self) -> Result<Command> {
        let config = format!(
            "SERVER pidfile = {}\n{}\n",
            self.pidfile.display(),
            self.place.config()
        );
        let inner = self.place.command(&config)?;
        let mut command = Command::new(&self.binary);
        command.args(inner.get_args()).current_dir(self.place.dir.path());
        Ok(command)
    }

    fn start(&self) -> Result<Process> {
        let process = Process::start(self.command()?, &self.log())?;
        wait::for_true("it to serve", wait::PATIENCE, || {
            Ok(client::get((self.place.net.node(1), 8080).into(), "/")?.status()? == 200)
        })?;
        Ok(process)
    }

    fn log(&self) -> PathBuf {
        self.place.dir.path().join("log")
    }

    fn manage(&self) -> Result<Manage> {
        wait::until("management", wait::PATIENCE, || {
            Ok(Some(Manage::connect((self.place.net.node(1), 60000).into())?))
        })
    }

    /// Puts a script in the place of the binary, as an upgrade to something broken would.
    fn break_with(&self, script: &str) -> Result<()> {
        fs::remove_file(&self.binary)?;
        fs::write(&self.binary, script)?;
        Ok(fs::set_permissions(
            &self.binary,
            fs::Permissions::from_mode(0o755),
        )?)
    }

    fn wait_log(&self, text: &str) -> Result<()> {
        wait::for_true(format!("'{text}' in the log"), wait::PATIENCE, || {
            let log = fs::read_to_string(self.log())?;
            ensure!(log.contains(text), "{log}");
            Ok(true)
        })
    }
}

/// Replaces the process of a node that stands alone twice, under load, until so many requests have passed.
fn replace_alone(kept: u64, fresh: u64) -> Result<()> {
    let alone = Alone::new()?;
    let traffic = (alone.place.net.node(1), 8080);
    let mut first = alone.start()?;
    // What was typed since the start is not in the config file.
    let mut manage = alone.manage()?;
    manage.change("SET www.persist_client_timeout = 77")?;
    manage.change("CREATE POOL later")?;
    let version = manage.data("config version")?;
    let sockets = first.sockets_at(SocketAddrV4::new(traffic.0, traffic.1))?;
    let kept_load = Load::of(traffic.into(), &shape(8, 0))?;
    let fresh_load = Load::of(traffic.into(), &shape(0, 4))?;
    // The new binary is another file under the same name.
    fs::remove_file(&alone.binary)?;
    fs::copy(process::binary()?, &alone.binary)?;
    first.signal(Signal::SIGUSR2)?;
    let mut second = successor(&alone.pidfile, &first)?;
    ensure!(first.wait_end(wait::PATIENCE)?.code() == Some(0));
    kept_load.reach(kept / 2, LONG)?;
    fresh_load.reach(fresh / 2, LONG)?;
    second.signal(Signal::SIGUSR2)?;
    let mut third = successor(&alone.pidfile, &second)?;
    ensure!(second.wait_end(wait::PATIENCE)?.code() == Some(0));
    for (load, wanted) in [(&kept_load, kept), (&fresh_load, fresh)] {
        load.pass(100)?;
        load.reach(wanted, LONG)?;
    }
    for load in [kept_load, fresh_load] {
        let report = load.finish();
        eprintln!("{} answered, slowest {:?}", report.answered, report.slowest);
        report.expect_flawless()?;
    }
    let mut manage = alone.manage()?;
    ensure!(manage.data("config version")? == version, "another version");
    ensure!(manage.data("show pool")?.contains(&"later nodes 0".to_owned()));
    let dump = manage.data("dumpconfig")?.join("\n");
    ensure!(dump.contains("persist_client_idle_timeout = 77"), "{dump}");
    let listening = third.sockets_at(SocketAddrV4::new(traffic.0, traffic.1))?;
    ensure!(
        sockets.intersection(&listening).count() > 0,
        "other sockets: {sockets:?}, {listening:?}"
    );
    // A service of the new process can be closed for good.
    manage.change("DISABLE www")?;
    wait::for_true("nobody to listen", wait::PATIENCE, || {
        Ok(std::net::TcpStream::connect(traffic).is_err())
    })?;
    manage.change("ENABLE www")?;
    ensure!(client::get(traffic.into(), "/")?.status()? == 200);
    third.signal(Signal::SIGTERM)?;
    ensure!(third.wait_end(wait::PATIENCE)?.code() == Some(0));
    ensure!(!alone.pidfile.exists(), "the pidfile is still there");
    Ok(())
}

#[test]
fn a_node_alone_is_replaced_and_no_request_fails() -> Result {
    replace_alone(KEPT, FRESH)
}

#[test]
#[ignore = "100,000 requests; see docs/CONTRIBUTING.md"]
fn a_node_alone_is_replaced_under_all_of_the_promised_load() -> Result {
    replace_alone(ALL_KEPT, ALL_FRESH)
}

#[test]
fn a_successor_that_fails_changes_nothing() -> Result {
    let alone = Alone::new()?;
    let mut process = alone.start()?;
    let traffic = (alone.place.net.node(1), 8080).into();
    alone.manage()?.change("CREATE POOL later")?;
    let load = Load::of(traffic, &shape(4, 2))?;
    let real = process::binary()?;
    // One that ends at once, and one that ends when it has been passed everything: the address is not this machine's.
    alone.break_with("#!/bin/sh\nexit 3\n")?;
    process.signal(Signal::SIGUSR2)?;
    alone.wait_log("was not prepared: it ended (exit status: 3); this process goes on")?;
    alone.break_with(&format!(
        "#!/bin/sh\nexec {} \"$@\" --metrics 192.0.2.1:9\n",
        real.display()
    ))?;
    process.signal(Signal::SIGUSR2)?;
    alone.wait_log("did not open: it ended (exit status: 78); this process goes on")?;
    fs::remove_file(&alone.binary)?;
    process.signal(Signal::SIGUSR2)?;
    alone.wait_log("No such file or directory")?;
    load.pass(200)?;
    let mut manage = alone.manage()?;
    ensure!(manage.data("show pool")?.contains(&"later nodes 0".to_owned()));
    manage.change("CREATE POOL even_later")?;
    load.finish().expect_flawless()?;
    ensure!(process.ended()?.is_none(), "it ended");
    ensure!(fs::read_to_string(&alone.pidfile)?.trim() == process.pid().to_string());
    process.signal(Signal::SIGTERM)?;
    ensure!(process.wait_end(wait::PATIENCE)?.code() == Some(0));
    Ok(())
}

#[test]
fn systemd_is_told_of_the_new_process() -> Result {
    let alone = Alone::new()?;
    let path = alone.place.dir.path().join("notify");
    let socket = NotifySocket::bind(&path)?;
    let mut command = alone.command()?;
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000");
    let mut process = Process::start(command, &alone.log())?;
    socket.wait_for("READY=1")?;
    process.signal(Signal::SIGUSR2)?;
    let successor = successor(&alone.pidfile, &process)?;
    socket.wait_for(&format!("MAINPID={}", successor.pid()))?;
    ensure!(process.wait_end(wait::PATIENCE)?.code() == Some(0));
    // Only one is left to feed the watchdog.
    for _ in 0..3 {
        socket.wait_for("WATCHDOG=1")?;
    }
    Ok(())
}

/// Replaces the process of each node of a fleet in turn, the leader's included.
#[test]
fn a_fleet_is_replaced_node_by_node() -> Result {
    Process::adopt_orphans()?;
    let mut fleet = Fleet::of_three()?;
    let _sweeper = Sweeper(fleet.dir().to_owned());
    let mut loads = Vec::new();
    for number in [1, 2, 3] {
        loads.push(Load::of(fleet.node(number)?.traffic(), &shape(3, 2))?);
    }
    let leader = fleet.leader()?;
    for number in [leader, leader % 3 + 1] {
        let before = fleet.process(number)?.pid();
        fleet.process(number)?.signal(Signal::SIGUSR2)?;
        let status = fleet.process(number)?.wait_end(wait::PATIENCE)?;
        ensure!(status.code() == Some(0), "n{number} ended with {status}");
        let told = fleet.node(number)?.manage()?.data("proc")?;
        let pid = told
            .iter()
            .find_map(|line| line.strip_prefix("pid: ")?.parse().ok());
        let pid = pid.with_context(|| format!("{told:?}"))?;
        ensure!(pid != before, "n{number} is the same process");
        *fleet.process(number)? = Process::adopt(pid)?;
        fleet.wait_settled()?;
    }
    let mut manage = fleet.node(leader)?.manage()?;
    manage.change("CREATE POOL later")?;
    manage.change("barrier")?;
    for load in loads {
        load.pass(100)?;
        load.finish().expect_flawless()?;
    }
    fleet.passed()
}

/// As in a container: nothing would be left of it.
#[test]
fn process_one_is_not_replaced() -> Result {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: a process namespace needs root");
        return Ok(());
    }
    let alone = Alone::new()?;
    let inner = alone.command()?;
    let mut command = Command::new("unshare");
    command
        .args(["--pid", "--fork", "--kill-child"])
        .arg(inner.get_program());
    command.args(inner.get_args()).current_dir(alone.place.dir.path());
    let process = Process::start(command, &alone.log())?;
    alone.wait_log("beginning run")?;
    let children = format!("/proc/{0}/task/{0}/children", process.pid());
    let child: i32 = fs::read_to_string(children)?.trim().parse()?;
    signal::kill(Pid::from_raw(child), Signal::SIGUSR2)?;
    alone.wait_log("USR2: refused, since this is process 1 of its container")?;
    ensure!(client::get((alone.place.net.node(1), 8080).into(), "/")?.status()? == 200);
    Ok(())
}

/// systemd's own sockets are passed on as such: they outlive their service in the new process too.
#[test]
fn what_systemd_holds_is_passed_on() -> Result {
    let alone = Alone::new()?;
    let traffic = (alone.place.net.node(1), 8080);
    let inner = alone.command()?;
    let mut command = Command::new("systemd-socket-activate");
    command.arg(format!("--listen={}:{}", traffic.0, traffic.1));
    command.arg(inner.get_program()).args(inner.get_args());
    command.current_dir(alone.place.dir.path());
    let mut process = Process::start(command, &alone.log())?;
    let is_served = || Ok(client::get(traffic.into(), "/")?.status()? == 200);
    wait::for_true("the first request to be answered", wait::PATIENCE, is_served)?;
    process.signal(Signal::SIGUSR2)?;
    let _successor = successor(&alone.pidfile, &process)?;
    ensure!(process.wait_end(wait::PATIENCE)?.code() == Some(0));
    let mut manage = alone.manage()?;
    manage.change("DISABLE www")?;
    let waiting = std::net::TcpStream::connect(traffic)?;
    manage.change("ENABLE www")?;
    let mut waiting = client::Http::over(waiting)?;
    ensure!(waiting.request("GET", "/", b"")?.status()? == 200, "not served");
    Ok(())
}
