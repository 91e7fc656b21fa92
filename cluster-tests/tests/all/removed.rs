//! The cluster port and whoever was removed.

use std::io::{BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::{Fleet, Result, wait};

/// A TLS connection of openssl's to a cluster port, which says nothing.
struct Silent {
    child: Child,
    /// What the port sent, and then that the connection ended.
    heard: Receiver<Option<u8>>,
}

impl Silent {
    fn open(to: SocketAddr, identity: Option<&Identity>) -> Result<Self> {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-quiet", "-tls1_3", "-alpn", "h2", "-connect"]);
        command.arg(to.to_string());
        if let Some(identity) = identity {
            command.arg("-cert").arg(&identity.certificate);
            command.arg("-key").arg(&identity.key);
        }
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().context("openssl s_client")?;
        let stdout = child.stdout.take().context("no standard output")?;
        let (sender, heard) = channel();
        std::thread::spawn(move || {
            for byte in BufReader::new(stdout).bytes() {
                let Ok(byte) = byte else { break };
                if sender.send(Some(byte)).is_err() {
                    return;
                }
            }
            // An error means that nobody asks any more.
            sender.send(None).ok();
        });
        Ok(Self { child, heard })
    }

    /// Whether the port begins to speak HTTP/2, which it does with whom it lets in.
    fn is_let_in(&self) -> Result<bool> {
        let first = self.heard.recv_timeout(wait::PATIENCE);
        Ok(first.context("neither a byte nor an end")?.is_some())
    }

    fn wait_end(&self) -> Result {
        while self
            .heard
            .recv_timeout(wait::PATIENCE)
            .context("no end")?
            .is_some()
        {}
        Ok(())
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What somebody took along from a node's data directory.
struct Identity {
    certificate: PathBuf,
    key: PathBuf,
}

impl Identity {
    fn copy(data: &Path, to: &Path) -> Result<Self> {
        let copied = |name: &str| -> Result<PathBuf> {
            let path = to.join(name);
            std::fs::copy(data.join(name), &path)?;
            Ok(path)
        };
        Ok(Self {
            certificate: copied("node.crt")?,
            key: copied("node.key")?,
        })
    }
}

#[test]
fn a_removed_nodes_connections_end_and_its_key_is_refused() -> Result {
    let fleet = Fleet::of_three()?;
    fleet.node(1)?.manage()?.change("cluster transfer n1")?;
    let place = tempfile::tempdir()?;
    let taken = Identity::copy(&fleet.node(3)?.data, place.path())?;
    let ports = [fleet.node(1)?.cluster(), fleet.node(2)?.cluster()];
    let mut open = Vec::new();
    for port in ports {
        let connection = Silent::open(port, Some(&taken))?;
        ensure!(connection.is_let_in()?, "a member is not let in at {port}");
        open.push(connection);
    }
    fleet.node(1)?.manage()?.change("cluster remove n3")?;
    let removed = Instant::now();
    for connection in &open {
        connection.wait_end()?;
    }
    let took = removed.elapsed();
    ensure!(
        took < Duration::from_secs(3),
        "they were open for another {took:?}"
    );
    for port in ports {
        let again = Silent::open(port, Some(&taken))?;
        ensure!(!again.is_let_in()?, "a removed node is let in at {port}");
        let stranger = Silent::open(port, None)?;
        ensure!(stranger.is_let_in()?, "nobody can join at {port}");
    }
    fleet.node(2)?.manage()?.change("CREATE POOL afterwards")?;
    fleet.passed()
}
