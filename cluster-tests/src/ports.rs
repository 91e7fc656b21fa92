//! Addresses: each fleet claims a net of loopback for itself.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};

use crate::Result;
use crate::world::{self, World};

/// Raft, gossip and forwarding of every node.
pub const CLUSTER: u16 = 7400;
/// Management of every node.
pub const MANAGEMENT: u16 = 60000;
/// Traffic of every node.
pub const TRAFFIC: u16 = 8080;
/// Where sample backends listen.
pub const BACKEND: u16 = 8000;

/// The last number of the first backend's address; nodes are at 1, 2, 3 …
const FIRST_BACKEND: u8 = 101;

/// A net `127.x.y.0/24` that no other test on this machine uses while this lives, or the net of a world.
#[derive(Debug)]
pub struct Net {
    /// The first three numbers of its addresses.
    place: [u8; 3],
    world: Option<Arc<World>>,
    _lock: Option<File>,
}

impl Net {
    /// Takes a free one; where this thread is in a world, that one's.
    ///
    /// # Errors
    /// When the lock files cannot be written, or all nets are taken.
    pub fn claim() -> Result<Self> {
        if let Some(world) = world::here() {
            let [first, second, third, _] = World::address(0).octets();
            return Ok(Self {
                place: [first, second, third],
                world: Some(world),
                _lock: None,
            });
        }
        let dir = lock_dir()?;
        let start = std::process::id();
        for offset in 0..20_000_u32 {
            let at = start.wrapping_add(offset);
            // 127.64.0.0 to 127.254.255.0: far from what people use by hand.
            let second = 64 + u8::try_from((at / 256) % 190)?;
            let third = u8::try_from(at % 256)?;
            let path = dir.join(format!("127.{second}.{third}"));
            let lock = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
            if lock.try_lock().is_err() {
                continue;
            }
            let net = Self {
                place: [127, second, third],
                world: None,
                _lock: Some(lock),
            };
            if net.is_unused() {
                return Ok(net);
            }
        }
        bail!("no net of 127.0.0.0/8 is free")
    }

    /// The address of node `number`, counted from 1.
    pub fn node(&self, number: u8) -> Ipv4Addr {
        let [first, second, third] = self.place;
        Ipv4Addr::new(first, second, third, number)
    }

    /// Where backend `number` listens, counted from 1.
    pub fn backend(&self, number: u8) -> SocketAddr {
        let last = FIRST_BACKEND.saturating_add(number).saturating_sub(1);
        (self.node(last), BACKEND).into()
    }

    /// What a command must be led by to run where node `number` is; nothing on loopback.
    pub(crate) fn wrapper(&self, number: u8) -> Vec<String> {
        let world = self.world.as_ref();
        world.map(|world| world.wrapper(number)).unwrap_or_default()
    }

    /// A killed test run can leave its nodes behind; their net is left alone then.
    fn is_unused(&self) -> bool {
        (1..=5).all(|number| {
            [CLUSTER, MANAGEMENT, TRAFFIC]
                .into_iter()
                .all(|port| TcpListener::bind((self.node(number), port)).is_ok())
        })
    }
}

/// Waits for 127.0.0.0/24, which people use by hand and the demo takes, and keeps it until this is dropped.
///
/// # Errors
/// When the lock file cannot be written.
pub fn claim_plain_net() -> Result<File> {
    let path = lock_dir()?.join("127.0.0");
    let lock = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    lock.lock()?;
    Ok(lock)
}

fn lock_dir() -> Result<PathBuf> {
    let user = nix::unistd::geteuid();
    let dir = std::env::temp_dir().join(format!("fleetbal-nets-{user}"));
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_claims_never_share() {
        let one = Net::claim().unwrap();
        let two = Net::claim().unwrap();
        assert_ne!(one.node(1), two.node(1));
        assert_eq!(one.backend(2).ip().to_string().rsplit('.').next(), Some("102"));
    }
}
