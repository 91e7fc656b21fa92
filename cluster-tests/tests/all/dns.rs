//! Three nodes behind one name, by a real dnsmasq: what a node that goes costs a client.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::client::Http;
use fleetbal_cluster_tests::process::Process;
use fleetbal_cluster_tests::{Fleet, Result, ports, wait};
use nix::sys::signal::Signal;

/// The question for the addresses of `fleet.test` (RFC 1035, 4.1).
const QUESTION: &[u8] =
    b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x05fleet\x04test\x00\x00\x01\x00\x01";

/// All addresses of the name, in the order of the answer.
fn resolve(server: SocketAddr) -> Result<Vec<Ipv4Addr>> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    socket.send_to(QUESTION, server)?;
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer)?;
    let records = answer.get(QUESTION.len()..length).context("a short answer")?;
    // Each: a pointer to the name, type, class, time to live, length, address.
    let addresses = records.chunks_exact(16).map(|record| match record {
        [.., a, b, c, d] => Ok(Ipv4Addr::new(*a, *b, *c, *d)),
        _ => anyhow::bail!("no address in {record:?}"),
    });
    addresses.collect()
}

/// A client as browsers are: it keeps a connection, and goes on to the next address where it cannot have one; where it
/// just lost one it does not try first.
struct Client {
    dns: SocketAddr,
    kept: Option<(Ipv4Addr, Http)>,
    /// Connections that were refused or cut.
    lost: usize,
}

impl Client {
    fn request(&mut self) -> Result<()> {
        let mut lost_at = None;
        if let Some((address, mut http)) = self.kept.take() {
            if let Ok(answer) = http.request("GET", "/", b"") {
                ensure!(answer.status()? == 200, "answered '{}'", answer.start);
                self.kept = (!answer.closes()).then_some((address, http));
                return Ok(());
            }
            self.lost += 1;
            lost_at = Some(address);
        }
        let mut addresses = resolve(self.dns)?;
        addresses.sort_by_key(|address| Some(*address) == lost_at);
        for address in addresses {
            let Ok(mut http) = Http::connect((address, ports::TRAFFIC).into()) else {
                self.lost += 1;
                continue;
            };
            let answer = http.request("GET", "/", b"")?;
            ensure!(answer.status()? == 200, "answered '{}'", answer.start);
            self.kept = (!answer.closes()).then_some((address, http));
            return Ok(());
        }
        anyhow::bail!("no address answered")
    }
}

/// A name server that knows all nodes by one name.
fn dnsmasq(fleet: &Fleet, at: SocketAddr) -> Result<Process> {
    let mut command = Command::new("dnsmasq");
    command.args([
        "--keep-in-foreground",
        "--no-resolv",
        "--no-hosts",
        "--bind-interfaces",
        "--user=",
    ]);
    command
        .args(["--conf-file=/dev/null", "--port=5353", "--pid-file="])
        .arg(format!("--listen-address={}", at.ip()));
    for node in fleet.nodes() {
        command.arg(format!("--host-record=fleet.test,{}", node.address));
    }
    let process = Process::start(command, &fleet.dir().join("dnsmasq.log"))?;
    wait::for_true("three addresses", wait::PATIENCE, || Ok(resolve(at)?.len() == 3))?;
    Ok(process)
}

/// Has each client ask some times; none may lose more connections than that.
fn ask(clients: &mut [Client], what: &str, most: usize) -> Result<()> {
    for client in clients.iter_mut() {
        for _ in 0..5 {
            client.request()?;
        }
    }
    let lost: Vec<_> = clients
        .iter_mut()
        .map(|client| std::mem::take(&mut client.lost))
        .collect();
    eprintln!("{what}: connections that the clients lost: {lost:?}");
    ensure!(lost.iter().all(|lost| *lost <= most), "{what}: {lost:?}");
    Ok(())
}

#[test]
#[ignore = "needs dnsmasq; see docs/CONTRIBUTING.md"]
fn a_killed_and_a_stopped_node_cost_each_client_at_most_one_connection() -> Result {
    let mut fleet = Fleet::of_three()?;
    let dns: SocketAddr = (fleet.node(1)?.address, 5353).into();
    let _dnsmasq = dnsmasq(&fleet, dns)?;
    let mut clients: Vec<Client> = (0..6)
        .map(|_| Client {
            dns,
            kept: None,
            lost: 0,
        })
        .collect();
    ask(&mut clients, "before anything happened", 0)?;
    fleet.kill(2)?;
    ask(&mut clients, "a kill", 1)?;
    fleet.restart(2)?;
    fleet.wait_settled()?;
    ask(&mut clients, "a return", 0)?;
    // A drain alone costs nobody anything: the name still leads there, and who comes is served.
    fleet.node(3)?.manage()?.change("drain node")?;
    ask(&mut clients, "a drain", 0)?;
    fleet.process(3)?.signal(Signal::SIGTERM)?;
    ask(&mut clients, "a stop", 1)?;
    drop(clients);
    ensure!(
        fleet.wait_gone(3, wait::PATIENCE)? == Some(0),
        "n3 did not end well"
    );
    fleet.passed()
}
