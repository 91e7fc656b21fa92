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

/// A client as browsers are: it keeps a connection, and goes on to the next address where it cannot have one.
struct Client {
    dns: SocketAddr,
    kept: Option<Http>,
    /// Connections that were refused or cut.
    lost: usize,
}

impl Client {
    fn request(&mut self) -> Result<()> {
        if let Some(mut http) = self.kept.take() {
            if let Ok(answer) = http.request("GET", "/", b"") {
                ensure!(answer.status()? == 200, "answered '{}'", answer.start);
                self.kept = (!answer.closes()).then_some(http);
                return Ok(());
            }
            self.lost += 1;
        }
        for address in resolve(self.dns)? {
            let Ok(mut http) = Http::connect((address, ports::TRAFFIC).into()) else {
                self.lost += 1;
                continue;
            };
            let answer = http.request("GET", "/", b"")?;
            ensure!(answer.status()? == 200, "answered '{}'", answer.start);
            self.kept = (!answer.closes()).then_some(http);
            return Ok(());
        }
        anyhow::bail!("no address answered")
    }
}

#[test]
#[ignore = "needs dnsmasq; see docs/CONTRIBUTING.md"]
fn a_killed_and_a_stopped_node_cost_each_client_at_most_one_connection() -> Result {
    let mut fleet = Fleet::of_three()?;
    let dns: SocketAddr = (fleet.node(1)?.address, 5353).into();
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
        .arg(format!("--listen-address={}", dns.ip()));
    for node in fleet.nodes() {
        command.arg(format!("--host-record=fleet.test,{}", node.address));
    }
    let _dnsmasq = Process::start(command, &fleet.dir().join("dnsmasq.log"))?;
    wait::for_true("three addresses", wait::PATIENCE, || Ok(resolve(dns)?.len() == 3))?;
    let mut clients: Vec<Client> = (0..6)
        .map(|_| Client {
            dns,
            kept: None,
            lost: 0,
        })
        .collect();
    let mut all = |rounds: usize| -> Result<Vec<usize>> {
        for client in &mut clients {
            for _ in 0..rounds {
                client.request()?;
            }
        }
        Ok(clients
            .iter_mut()
            .map(|client| std::mem::take(&mut client.lost))
            .collect())
    };
    ensure!(
        all(5)?.iter().all(|lost| *lost == 0),
        "lost before anything happened"
    );
    fleet.kill(2)?;
    let lost = all(5)?;
    // The kept connection where it led there, or one that was refused.
    ensure!(
        lost.iter().all(|lost| *lost <= 2),
        "{lost:?} connections lost to a kill"
    );
    fleet.restart(2)?;
    fleet.wait_settled()?;
    all(1)?;
    fleet.process(3)?.signal(Signal::SIGTERM)?;
    let lost = all(5)?;
    ensure!(lost.iter().all(|lost| *lost <= 2), "{lost:?} lost to a stop");
    drop(clients);
    ensure!(
        fleet.wait_gone(3, wait::PATIENCE)? == Some(0),
        "n3 did not end well"
    );
    fleet.passed()
}
