//! Machines on one wire: network namespaces, joined by a bridge in another one. Needs root.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, anyhow, ensure};
use nix::sched::{CloneFlags, setns};

use crate::Result;

/// How many this process has laid: tests that run side by side have one each.
static LAID: AtomicUsize = AtomicUsize::new(0);

/// Namespaces `PREFIX-hub` and `PREFIX-1`, `PREFIX-2` …; machine N has `10.77.0.N/24` on its `eth0`, the hub has .254. All
/// of it goes when this is dropped.
#[derive(Debug)]
pub struct Wire {
    prefix: String,
    machines: usize,
}

impl Wire {
    /// Lays it.
    ///
    /// # Errors
    /// When this process may not, or `ip` is not there.
    pub fn lay(machines: usize) -> Result<Self> {
        let number = LAID.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("fb{}-{number}", std::process::id());
        let wire = Self { prefix, machines };
        let hub = wire.name(0);
        ip(&["netns", "add", &hub])?;
        ip(&["-n", &hub, "link", "set", "lo", "up"])?;
        ip(&[
            "-n",
            &hub,
            "link",
            "add",
            "br0",
            "type",
            "bridge",
            "forward_delay",
            "0",
        ])?;
        ip(&["-n", &hub, "addr", "add", "10.77.0.254/24", "dev", "br0"])?;
        ip(&["-n", &hub, "link", "set", "br0", "up"])?;
        for number in 1..=machines {
            let (name, port) = (wire.name(number), format!("m{number}"));
            ip(&["netns", "add", &name])?;
            ip(&[
                "-n", &hub, "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &name,
            ])?;
            ip(&["-n", &hub, "link", "set", &port, "master", "br0", "up"])?;
            ip(&["-n", &name, "link", "set", "lo", "up"])?;
            ip(&[
                "-n",
                &name,
                "addr",
                "add",
                &format!("10.77.0.{number}/24"),
                "dev",
                "eth0",
            ])?;
            ip(&["-n", &name, "link", "set", "eth0", "up"])?;
        }
        Ok(wire)
    }

    /// The namespace of a machine; 0 is the hub.
    pub fn name(&self, number: usize) -> String {
        match number {
            0 => format!("{}-hub", self.prefix),
            number => format!("{}-{number}", self.prefix),
        }
    }

    /// A command that runs on a machine.
    pub fn on(&self, number: usize, command: &Command) -> Command {
        let mut inside = Command::new("ip");
        inside.args(["netns", "exec", &self.name(number)]);
        inside.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        inside
    }

    /// The machines that have an address on their `eth0`.
    ///
    /// # Errors
    /// When one cannot be asked.
    pub fn holders(&self, address: &str) -> Result<Vec<usize>> {
        let mut holders = Vec::new();
        for number in 1..=self.machines {
            let told = ip(&[
                "-n",
                &self.name(number),
                "-4",
                "-o",
                "addr",
                "show",
                "dev",
                "eth0",
            ])?;
            if told.contains(&format!("inet {address}/")) {
                holders.push(number);
            }
        }
        Ok(holders)
    }

    /// Runs something with the hub's network, all threads that it starts included.
    ///
    /// # Errors
    /// Its own, and where the hub cannot be entered.
    pub fn at_hub<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let path = format!("/run/netns/{}", self.name(0));
        thread::scope(|scope| {
            let inside = scope.spawn(move || {
                let namespace = std::fs::File::open(&path).with_context(|| format!("no {path}"))?;
                setns(namespace, CloneFlags::CLONE_NEWNET).context("cannot enter the hub")?;
                work()
            });
            inside.join().map_err(|_| anyhow!("it panicked at the hub"))?
        })
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        for number in 0..=self.machines {
            drop(ip(&["netns", "del", &self.name(number)]));
        }
    }
}

fn ip(arguments: &[&str]) -> Result<String> {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .context("cannot run ip")?;
    ensure!(
        output.status.success(),
        "ip {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
