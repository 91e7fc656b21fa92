//! One address for three nodes, by the real keepalived and the configuration in `deploy/keepalived`.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::netns::Wire;
use fleetbal_cluster_tests::process::{self, Process};
use fleetbal_cluster_tests::{Backend, Load, Result, Shape, client, wait};
use nix::sys::signal::Signal;

const ADDRESS: &str = "10.77.0.100";

fn address(number: usize) -> String {
    format!("10.77.0.{number}")
}

/// Three machines with a node and keepalived each.
struct Machines<'a> {
    wire: &'a Wire,
    dir: tempfile::TempDir,
    nodes: BTreeMap<usize, Process>,
    /// Ended with the rest.
    keepalived: Vec<Process>,
}

impl<'a> Machines<'a> {
    fn start(wire: &'a Wire, backend: SocketAddr) -> Result<Self> {
        let mut machines = Self {
            wire,
            dir: tempfile::tempdir()?,
            nodes: BTreeMap::new(),
            keepalived: Vec::new(),
        };
        let config = format!(
            "CREATE POOL web\nPOOL web ADD {backend}\nCREATE SERVICE www\nSET role = reverse_proxy\n\
             SET listen = 0.0.0.0:80\nSET pool = web\nSET persist_client = on\nSET persist_backend = on\nSET backend_persist_cache = 64\nENABLE www\n"
        );
        fs::write(machines.dir.path().join("conf"), config)?;
        machines.launch(1, &["--init", "--config", "conf"])?;
        machines.until(1, "probe readyz", |ended| ended.code == Some(0))?;
        machines.fleetbal(1, "cluster token --file token")?;
        for number in [2, 3] {
            machines.launch(number, &["--join", "10.77.0.1:7400", "--token-file", "token"])?;
        }
        machines.until(3, "cluster status", |ended| {
            ended.code == Some(0) && ended.stdout.contains("quorum 3/3")
        })?;
        for number in 1..=3 {
            let keepalived = machines.keepalived(number)?;
            machines.keepalived.push(keepalived);
        }
        Ok(machines)
    }

    fn launch(&mut self, number: usize, more: &[&str]) -> Result<()> {
        let mut command = process::fleetbal()?;
        let listen = format!("{}:7400", address(number));
        let name = format!("n{number}");
        command.args([
            "--node",
            &name,
            "--data-dir",
            &name,
            "--cluster-listen",
            &listen,
            "--workers",
            "1",
        ]);
        command.args(more);
        let mut inside = self.wire.on(number, &command);
        inside.current_dir(self.dir.path());
        let process = Process::start(inside, &self.dir.path().join(format!("{name}.log")))?;
        self.nodes.insert(number, process);
        Ok(())
    }

    /// The shipped configuration, with this test's addresses, binary and user.
    fn keepalived(&self, number: usize) -> Result<Process> {
        let text = fs::read_to_string(process::workspace().join("deploy/keepalived/keepalived.conf"))?;
        let binary = process::binary()?;
        let text = text
            .replace("10.0.0.100", ADDRESS)
            .replace("script_user fleetbal", "script_user root")
            .replace("enable_script_security", "")
            .replace("/usr/bin/fleetbal", &binary.display().to_string());
        let file = |name: &str| self.dir.path().join(format!("keepalived-{number}.{name}"));
        fs::write(file("conf"), text)?;
        let mut command = Command::new("keepalived");
        command
            .args(["--dont-fork", "--log-console", "--vrrp", "--config-id"])
            .arg(format!("n{number}"));
        for (flag, name) in [("--use-file", "conf"), ("--pid", "pid"), ("--vrrp_pid", "vrrp")] {
            command.arg(flag).arg(file(name));
        }
        Process::start(self.wire.on(number, &command), &file("log"))
    }

    /// What a command line of fleetbal says, typed on that machine.
    fn fleetbal(&self, number: usize, line: &str) -> Result<process::Ended> {
        let mut command = process::fleetbal()?;
        command.args(line.split(' '));
        let mut inside = self.wire.on(number, &command);
        inside.current_dir(self.dir.path());
        process::run(inside, wait::PATIENCE)
    }

    fn until(&self, number: usize, line: &str, is_right: impl Fn(&process::Ended) -> bool) -> Result<()> {
        wait::for_true(format!("'{line}' on machine {number}"), wait::PATIENCE, || {
            let ended = self.fleetbal(number, line)?;
            ensure!(is_right(&ended), "{ended:?}");
            Ok(true)
        })
    }

    /// Waits until another machine has the address; never may two have it. How long that took.
    fn moved_from(&self, old: usize) -> Result<(usize, Duration)> {
        let start = Instant::now();
        let new = wait::until("the address to move", wait::PATIENCE, || {
            let holders = self.wire.holders(ADDRESS)?;
            Ok(match holders.as_slice() {
                [new] if *new != old => Some(Ok(*new)),
                [_, _, ..] => Some(Err(holders)),
                _ => None,
            })
        })?;
        let new = new.map_err(|holders| anyhow::anyhow!("{holders:?} had it at the same time"))?;
        Ok((new, start.elapsed()))
    }

    fn tell(&self) {
        for entry in fs::read_dir(self.dir.path()).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|end| end == "log") {
                eprintln!(
                    "---- {}\n{}",
                    path.display(),
                    fs::read_to_string(&path).unwrap_or_default()
                );
            }
        }
    }
}

/// A request at the address, from another machine.
fn is_served() -> Result<()> {
    let to: SocketAddr = (ADDRESS.parse::<Ipv4Addr>()?, 80).into();
    let answer = client::get(to, "/")?;
    ensure!(answer.status()? == 200, "answered '{}'", answer.start);
    Ok(())
}

fn walk(machines: &mut Machines<'_>) -> Result<()> {
    // Whoever was there first.
    let (first, _) = machines.moved_from(0)?;
    is_served()?;
    // One that was told to end drains what it has, and gives up the address at once.
    let node = machines.nodes.get(&first).context("no node")?;
    node.signal(Signal::SIGTERM)?;
    let (holder, took) = machines.moved_from(first)?;
    eprintln!("moved from {first} to {holder} {took:?} after a TERM");
    ensure!(took < Duration::from_secs(2), "a TERM took {took:?}");
    is_served()?;
    let mut node = machines.nodes.remove(&first).context("no node")?;
    node.wait_end(wait::PATIENCE)?;
    // Ready again, it does not take back what another one has.
    machines.launch(first, &[])?;
    machines.until(first, "probe readyz", |ended| ended.code == Some(0))?;
    is_served()?;
    ensure!(machines.wire.holders(ADDRESS)? == [holder], "it moved back");
    let mut node = machines.nodes.remove(&holder).context("no node")?;
    node.kill()?;
    let (next, took) = machines.moved_from(holder)?;
    eprintln!("moved from {holder} to {next} {took:?} after a kill");
    ensure!(took < Duration::from_secs(3), "a kill took {took:?}");
    is_served()
}

/// What may be sent while the address moves: through kept connections, and with one each.
const KEPT: u64 = 100_000;
const FRESH: u64 = 20_000;

/// How long that many may take, on a machine that does other work.
const LONG: Duration = Duration::from_mins(15);

/// Drains whoever has the address, under load at the address and at the node's own.
fn drain_under_load(machines: &Machines<'_>) -> Result<()> {
    let (holder, _) = machines.moved_from(0)?;
    let shape = |kept, fresh| Shape {
        kept,
        fresh,
        target: "/".to_owned(),
    };
    let shared: SocketAddr = (ADDRESS.parse::<Ipv4Addr>()?, 80).into();
    let own: SocketAddr = format!("{}:80", address(holder)).parse()?;
    let kept = Load::that_retries_once(shared, &shape(8, 0))?;
    let fresh = Load::that_retries_once(shared, &shape(0, 4))?;
    // Whose connections nobody cuts.
    let uncut = Load::of(own, &shape(2, 1))?;
    kept.reach(KEPT / 3, LONG)?;
    fresh.reach(FRESH / 3, LONG)?;
    let ended = machines.fleetbal(holder, "ctl drain node")?;
    ensure!(ended.code == Some(0), "{ended:?}");
    let (next, took) = machines.moved_from(holder)?;
    eprintln!("moved from {holder} to {next} {took:?} after a drain");
    ensure!(took < Duration::from_secs(2), "a drain took {took:?}");
    kept.reach(KEPT, LONG)?;
    fresh.reach(FRESH, LONG)?;
    for (what, load) in [("kept", kept), ("fresh", fresh), ("uncut", uncut)] {
        let report = load.finish();
        let (answered, retried, slowest) = (report.answered, report.retried, report.slowest);
        eprintln!("{what}: {answered} answered, {retried} of them at the second try, slowest {slowest:?}");
        report.expect_flawless()?;
    }
    let ended = machines.fleetbal(holder, "ctl undrain node")?;
    ensure!(ended.code == Some(0), "{ended:?}");
    machines.until(holder, "probe readyz", |ended| ended.code == Some(0))?;
    ensure!(machines.wire.holders(ADDRESS)? == [next], "it moved back");
    Ok(())
}

#[test]
#[ignore = "needs root, keepalived and minutes; see docs/CONTRIBUTING.md"]
fn a_drain_moves_the_address_and_fails_no_request() -> Result {
    on_three_machines(|machines| drain_under_load(machines))
}

fn on_three_machines(work: impl Fn(&mut Machines<'_>) -> Result<()> + Sync) -> Result<()> {
    let wire = Wire::lay(3)?;
    wire.at_hub(|| {
        let backend = Backend::start("b1", "10.77.0.254:8000".parse()?)?;
        let mut machines = Machines::start(&wire, backend.address())?;
        work(&mut machines).inspect_err(|_| machines.tell())
    })
}

#[test]
#[ignore = "needs root, keepalived and half a minute; see docs/CONTRIBUTING.md"]
fn the_address_follows_readiness_and_is_never_on_two() -> Result {
    on_three_machines(walk)
}
