//! Nodes in network namespaces of their own, on one bridge, so that the network between them can be broken.
//!
//! The thread that builds a world, and every thread that it starts from then on, stands at the bridge as the clients
//! and backends do; nodes are started inside their namespaces. Packets are dropped by nftables where they arrive.

use std::cell::RefCell;
use std::fs::File;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, ensure};
use nix::sched::{CloneFlags, setns};

use crate::{Result, wait};

/// Every world has this net; they do not see each other.
const NET: [u8; 2] = [77, 0];

/// Where clients are.
const HUB: u8 = 254;

/// The backends' addresses.
const BACKENDS: std::ops::RangeInclusive<u8> = 101..=110;

thread_local! {
    static HERE: RefCell<Option<Arc<World>>> = const { RefCell::new(None) };
}

/// Namespaces, a bridge, and what is dropped between them. Gone when this is dropped.
#[derive(Debug)]
pub struct World {
    name: String,
    nodes: u8,
    outside: File,
}

/// This thread's stay in a world; dropped, the thread is back where it came from.
#[derive(Debug)]
pub struct Stay(Arc<World>);

impl std::ops::Deref for Stay {
    type Target = World;

    fn deref(&self) -> &World {
        &self.0
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        HERE.with(|here| here.borrow_mut().take());
        if let Err(error) = setns(&self.0.outside, CloneFlags::CLONE_NEWNET) {
            tell(&format!("cannot leave the network namespace: {error}"));
        }
    }
}

/// Says it past the test harness, which keeps what passing tests print to itself.
fn tell(text: &str) {
    // Where even that fails there is nobody to tell.
    drop(writeln!(std::io::stderr(), "{text}"));
}

/// The world that this thread is in.
pub(crate) fn here() -> Option<Arc<World>> {
    HERE.with(|here| here.borrow().clone())
}

impl World {
    /// Builds a world for so many nodes and takes this thread there. None where this machine or user cannot make
    /// namespaces, which is said loudly: the test that asked has shown nothing then.
    ///
    /// # Errors
    /// When it can be begun but not finished.
    pub fn enter(nodes: u8) -> Result<Option<Stay>> {
        static WORLDS: AtomicU32 = AtomicU32::new(0);
        let number = WORLDS.fetch_add(1, Ordering::Relaxed);
        let name = format!("fleetbal-{}-{number}", std::process::id());
        if let Err(error) = ip(&["netns", "add", &name]).and_then(|()| nft_works(&name)) {
            tell(&format!(
                "\n!!!! SKIPPED, NOTHING WAS TESTED: no network namespaces here ({error:#})\n"
            ));
            drop(ip(&["netns", "del", &name]));
            return Ok(None);
        }
        let outside = File::open("/proc/thread-self/ns/net")?;
        let world = Arc::new(Self { name, nodes, outside });
        world.build()?;
        let inside = File::open(Path::new("/run/netns").join(&world.name))?;
        setns(&inside, CloneFlags::CLONE_NEWNET).context("cannot enter the namespace")?;
        HERE.with(|here| *here.borrow_mut() = Some(Arc::clone(&world)));
        Ok(Some(Stay(world)))
    }

    fn build(&self) -> Result {
        let hub = self.name.as_str();
        let mut lines = vec![
            "link set lo up".to_owned(),
            "link add br0 type bridge".to_owned(),
            format!("addr add {}/24 dev br0", Self::address(HUB)),
        ];
        lines.extend(BACKENDS.map(|last| format!("addr add {}/24 dev br0", Self::address(last))));
        lines.push("link set br0 up".to_owned());
        batch(hub, &lines)?;
        for number in 1..=self.nodes {
            let node = self.namespace(number);
            ip(&["netns", "add", &node])?;
            let link = format!("n{number}");
            batch(
                hub,
                &[
                    format!("link add {link} type veth peer name eth0 netns {node}"),
                    format!("link set {link} master br0 up"),
                ],
            )?;
            batch(
                &node,
                &[
                    "link set lo up".to_owned(),
                    format!("addr add {}/24 dev eth0", Self::address(number)),
                    "link set eth0 up".to_owned(),
                ],
            )?;
            nft(&node, TABLE)?;
        }
        Ok(())
    }

    fn namespace(&self, number: u8) -> String {
        format!("{}-n{number}", self.name)
    }

    /// The address that ends with this number.
    pub(crate) fn address(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, NET[0], NET[1], last)
    }

    /// What a command must be led by to run where a node is.
    pub(crate) fn wrapper(&self, number: u8) -> Vec<String> {
        ["ip", "netns", "exec", &self.namespace(number)]
            .map(str::to_owned)
            .to_vec()
    }

    /// From now on nothing arrives from one node at another.
    ///
    /// # Errors
    /// When the rule cannot be made.
    pub fn cut_one_way(&self, from: u8, to: u8) -> Result {
        self.drop_at(to, from, "drop")
    }

    /// Nothing passes between two nodes, either way.
    ///
    /// # Errors
    /// When the rules cannot be made.
    pub fn cut(&self, one: u8, other: u8) -> Result {
        self.cut_one_way(one, other)?;
        self.cut_one_way(other, one)
    }

    /// Cuts a node off from all other nodes; clients and backends still reach it.
    ///
    /// # Errors
    /// When the rules cannot be made.
    pub fn isolate(&self, node: u8) -> Result {
        let others = (1..=self.nodes).filter(|other| *other != node);
        others.into_iter().try_for_each(|other| self.cut(node, other))
    }

    /// From now on nothing arrives at a node from a backend.
    ///
    /// # Errors
    /// When there is no such backend, or the rule cannot be made.
    pub fn cut_backend(&self, node: u8, backend: u8) -> Result {
        let last = BACKENDS.clone().nth(usize::from(backend).saturating_sub(1));
        self.drop_at(node, last.context("no such backend")?, "drop")
    }

    /// So many of a hundred packets between any two nodes are lost.
    ///
    /// # Errors
    /// When the rules cannot be made.
    pub fn lose(&self, percent: u8) -> Result {
        let verdict = format!("numgen random mod 100 < {percent} drop");
        for to in 1..=self.nodes {
            for from in (1..=self.nodes).filter(|from| *from != to) {
                self.drop_at(to, from, &verdict)?;
            }
        }
        Ok(())
    }

    fn drop_at(&self, to: u8, from: u8, verdict: &str) -> Result {
        let from = Self::address(from);
        nft(
            &self.namespace(to),
            &format!("add rule inet faults arriving ip saddr {from} {verdict}"),
        )
    }

    /// All is well again between all nodes, and between them and the backends.
    ///
    /// # Errors
    /// When the rules cannot be taken away.
    pub fn heal(&self) -> Result {
        (1..=self.nodes).try_for_each(|node| nft(&self.namespace(node), "flush chain inet faults arriving"))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let nodes = (1..=self.nodes).map(|number| self.namespace(number));
        for name in nodes.chain([self.name.clone()]) {
            // One that was not made yet cannot be removed.
            drop(ip(&["netns", "del", &name]));
        }
    }
}

const TABLE: &str =
    "add table inet faults; add chain inet faults arriving { type filter hook input priority 0; }";

fn nft_works(namespace: &str) -> Result {
    nft(namespace, TABLE)
}

fn nft(namespace: &str, rule: &str) -> Result {
    ip(&["netns", "exec", namespace, "nft", rule])
}

fn ip(words: &[&str]) -> Result {
    run(Command::new("ip").args(words))
}

/// Several commands of `ip` in a namespace.
fn batch(namespace: &str, lines: &[String]) -> Result {
    lines.iter().try_for_each(|line| {
        let words = line.split_whitespace();
        run(Command::new("ip").args(["-n", namespace]).args(words))
    })
}

/// Runs a tool of the system to its end.
///
/// # Errors
/// When it is not there, or what it says where it fails.
pub fn run(command: &mut Command) -> Result {
    let output = command
        .output()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// A file system of its own at a directory, unmounted when this is dropped.
#[derive(Debug)]
pub struct Mount(PathBuf);

impl Mount {
    /// A file system in memory, of so many KiB. None, said loudly, where nothing can be mounted.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn of_size(at: &Path, kib: u32) -> Result<Option<Self>> {
        let size = format!("size={kib}k,mode=0700");
        Self::make(
            at,
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]),
        )
    }

    /// What is at the directory, but read-only.
    ///
    /// # Errors
    /// When it can be mounted but not be made read-only.
    pub fn read_only(at: &Path) -> Result<Option<Self>> {
        let mount = Self::make(at, Command::new("mount").arg("--bind").arg(at))?;
        if mount.is_some() {
            run(Command::new("mount").args(["-o", "remount,ro,bind"]).arg(at))?;
        }
        Ok(mount)
    }

    /// A file system of its own in a file beside the directory, of so many MiB; the one that is there already, where one is.
    ///
    /// # Errors
    /// When the file or the directory cannot be made.
    pub fn in_file(at: &Path, mib: u64) -> Result<Option<Self>> {
        let image = at.with_extension("image");
        if !image.exists() {
            File::create(&image)?.set_len(mib * 1024 * 1024)?;
            run(Command::new("mkfs.ext4").arg("-q").arg(&image))?;
        }
        let mount = Self::make(
            at,
            Command::new("mount")
                .args(["-o", "loop,errors=remount-ro"])
                .arg(&image),
        )?;
        if mount.is_some() {
            std::fs::set_permissions(at, std::fs::Permissions::from_mode(0o700))?;
            // Only a fresh one has it, and a node takes it for somebody's files.
            drop(std::fs::remove_dir(at.join("lost+found")));
        }
        Ok(mount)
    }

    /// Takes it away for good: nobody holds anything there any more.
    ///
    /// # Errors
    /// When somebody does.
    pub fn remove(self) -> Result {
        wait::for_true("the file system to be free", wait::PATIENCE, || {
            run(Command::new("umount").arg(&self.0)).map(|()| true)
        })?;
        // There is nothing left to unmount.
        std::mem::forget(self);
        Ok(())
    }

    /// The disk fails, and the kernel lets nobody write to it any more, whoever has files open.
    ///
    /// # Errors
    /// When that cannot be done.
    pub fn fail(&self) -> Result {
        run(Command::new("mount").args(["-o", "remount,abort"]).arg(&self.0))
    }

    fn make(at: &Path, command: &mut Command) -> Result<Option<Self>> {
        std::fs::create_dir_all(at)?;
        if let Err(error) = run(command.arg(at)) {
            tell(&format!(
                "\n!!!! SKIPPED, NOTHING WAS TESTED: nothing can be mounted here ({error:#})\n"
            ));
            return Ok(None);
        }
        Ok(Some(Self(at.to_owned())))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(error) = run(Command::new("umount").arg("-l").arg(&self.0)) {
            tell(&format!("{error:#}"));
        }
    }
}
