//! Where the demo happens: addresses, ports, and a directory that goes when it is over.

use std::fs::{self, DirBuilder};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::DemoError;
use super::screen::Screen;

/// Tried in turn where the usual port is taken.
const TRIES: u16 = 100;

const CLUSTER: u16 = 7400;
const MANAGEMENT: u16 = 60000;
const TRAFFIC: u16 = 8080;
const BACKEND: u16 = 9001;

/// How many sample backends there are.
const BACKENDS: u16 = 3;

/// Ports that were free on every address of the demo.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) nodes: u8,
    pub(super) cluster: u16,
    pub(super) management: u16,
    pub(super) traffic: u16,
    /// `b1` at the first of them.
    pub(super) backends: Vec<SocketAddr>,
    dir: PathBuf,
}

impl Place {
    pub(super) fn find(nodes: u8, screen: &Screen) -> Result<Self, DemoError> {
        let addresses: Vec<Ipv4Addr> = (1..=nodes).map(|n| Ipv4Addr::new(127, 0, 0, n)).collect();
        let cluster = free_port(CLUSTER, &addresses)?;
        let management = free_port(MANAGEMENT, &addresses)?;
        let traffic = free_port(TRAFFIC, &addresses)?;
        for (what, usual, port) in [
            ("cluster", CLUSTER, cluster),
            ("management", MANAGEMENT, management),
            ("traffic", TRAFFIC, traffic),
        ] {
            if port != usual {
                screen.line(&format!("port {usual} is taken; {what} is on {port} instead"));
            }
        }
        let mut backends: Vec<SocketAddr> = Vec::new();
        let mut next = BACKEND;
        for _ in 0..BACKENDS {
            let port = free_port(next, &[Ipv4Addr::LOCALHOST])?;
            backends.push((Ipv4Addr::LOCALHOST, port).into());
            next = port.saturating_add(1);
        }
        Ok(Self {
            nodes,
            cluster,
            management,
            traffic,
            backends,
            dir: make_dir()?,
        })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Nobody is left to tell; what stays is in the system's directory for such things.
        drop(fs::remove_dir_all(&self.dir));
    }
}

fn make_dir() -> Result<PathBuf, DemoError> {
    let mut number = std::process::id();
    loop {
        let dir = std::env::temp_dir().join(format!("fleetbal-demo-{number}"));
        match DirBuilder::new().mode(0o700).create(&dir) {
            Ok(()) => return Ok(dir),
            // Of a demo that was killed, under the same process id.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                number = number.wrapping_add(1);
            }
            Err(error) => return Err(DemoError::system(format!("make {}", dir.display()))(error)),
        }
    }
}

/// The first port from `usual` on that is free on all of these addresses.
fn free_port(usual: u16, addresses: &[Ipv4Addr]) -> Result<u16, DemoError> {
    (usual..=usual.saturating_add(TRIES))
        .find(|&port| {
            let held: Vec<_> = addresses
                .iter()
                .map(|&ip| TcpListener::bind((ip, port)))
                .collect();
            held.iter().all(Result::is_ok)
        })
        .ok_or(DemoError::NoPort(usual))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_past_a_taken_port() {
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let taken = held.local_addr().unwrap().port();
        if taken < u16::MAX - TRIES {
            assert!(free_port(taken, &[Ipv4Addr::LOCALHOST]).unwrap() > taken);
        }
    }

    #[test]
    fn its_directory_goes_with_it() {
        let place = Place::find(1, &Screen::new()).unwrap();
        let dir = place.dir().to_owned();
        assert!(dir.is_dir());
        drop(place);
        assert!(!dir.exists());
    }
}
