//! The fleetbal binary, and processes of it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::SocketAddrV4;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow, ensure};
use nix::sys::signal::{self, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::{Result, wait};

/// The workspace's directory.
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// The binary under test: `FLEETBAL_BIN`, else the one beside this test, built again where it is older than its
/// source.
///
/// # Errors
/// When it cannot be built.
pub fn binary() -> Result<PathBuf> {
    static BINARY: OnceLock<std::result::Result<PathBuf, String>> = OnceLock::new();
    BINARY
        .get_or_init(|| find_binary().map_err(|error| format!("{error:#}")))
        .clone()
        .map_err(|error| anyhow!(error))
}

fn find_binary() -> Result<PathBuf> {
    if let Some(given) = std::env::var_os("FLEETBAL_BIN") {
        let path = PathBuf::from(given);
        ensure!(
            path.is_file(),
            "FLEETBAL_BIN is {}, which is no file",
            path.display()
        );
        return Ok(path.canonicalize()?);
    }
    let own = std::env::current_exe().context("cannot find this test's own path")?;
    let profile_dir = own
        .ancestors()
        .find(|dir| dir.join("deps").is_dir() && dir.join("build").is_dir())
        .context("this test is in no target directory; set FLEETBAL_BIN")?;
    let path = profile_dir.join("fleetbal");
    if !is_fresh(&path)? {
        build(profile_dir)?;
    }
    ensure!(path.is_file(), "cargo built no {}", path.display());
    Ok(path)
}

/// Whether the binary is there, and younger than all that it is built from.
fn is_fresh(binary: &Path) -> Result<bool> {
    let Ok(built) = fs::metadata(binary).and_then(|data| data.modified()) else {
        return Ok(false);
    };
    let mut newest = SystemTime::UNIX_EPOCH;
    for part in ["node", "raft", "proto", "Cargo.lock", "Cargo.toml"] {
        newest = newest.max(newest_below(&workspace().join(part))?);
    }
    Ok(newest <= built)
}

fn newest_below(path: &Path) -> Result<SystemTime> {
    let data = fs::metadata(path).with_context(|| format!("cannot look at {}", path.display()))?;
    if !data.is_dir() {
        return Ok(data.modified()?);
    }
    let mut newest = SystemTime::UNIX_EPOCH;
    for entry in fs::read_dir(path)? {
        newest = newest.max(newest_below(&entry?.path())?);
    }
    Ok(newest)
}

/// Builds it where this test looks for it, which need not be where cargo would put it unasked.
fn build(profile_dir: &Path) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let target = profile_dir.parent().context("a profile is in no directory")?;
    let mut command = Command::new(cargo);
    command
        .args([
            "build",
            "--quiet",
            "--workspace",
            "--bin",
            "fleetbal",
            "--target-dir",
        ])
        .arg(target)
        .current_dir(workspace());
    if !cfg!(debug_assertions) {
        // That takes minutes.
        eprintln!("building a release of fleetbal in {} …", target.display());
        command.arg("--release");
    }
    let output = command.output().context("cannot run cargo")?;
    ensure!(
        output.status.success(),
        "cargo build failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// The binary, without any of the settings that this environment may hold.
///
/// # Errors
/// When it cannot be built.
pub fn fleetbal() -> Result<Command> {
    let mut command = Command::new(binary()?);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("FLEETBAL_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    Ok(command)
}

/// A running process; killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    life: Life,
}

#[derive(Debug)]
enum Life {
    /// It was started here.
    Child(Child),
    /// It was started by one that was, and has ended.
    Orphan(Pid, Option<ExitStatus>),
}

impl Process {
    /// Starts it, with both its streams appended to `log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(mut command: Command, log: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(log)?;
        command.stdout(file.try_clone()?).stderr(file);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        Ok(Self {
            life: Life::Child(child),
        })
    }

    /// Starts it, with its two streams in files of their own.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_apart(mut command: Command, stdout: &Path, stderr: &Path) -> Result<Self> {
        command
            .stdout(File::create(stdout)?)
            .stderr(File::create(stderr)?);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        Ok(Self {
            life: Life::Child(child),
        })
    }

    /// Makes this process the parent of whatever its children leave behind, so that their end is seen.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn adopt_orphans() -> Result<()> {
        Ok(nix::sys::prctl::set_child_subreaper(true)?)
    }

    /// Takes over a process whose parent is about to end, after [`Self::adopt_orphans`].
    ///
    /// # Errors
    /// When that is no process id.
    pub fn adopt(pid: u32) -> Result<Self> {
        let pid = Pid::from_raw(pid.try_into()?);
        Ok(Self {
            life: Life::Orphan(pid, None),
        })
    }

    /// Its id.
    pub fn pid(&self) -> u32 {
        match &self.life {
            Life::Child(child) => child.id(),
            Life::Orphan(pid, _) => pid.as_raw().unsigned_abs(),
        }
    }

    /// The sockets that it has open at one of its addresses, by inode: listeners and what they accepted.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn sockets_at(&self, address: SocketAddrV4) -> Result<BTreeSet<u64>> {
        sockets_of(self.pid(), address)
    }

    /// The CPU time that all of its threads have had, by the kernel's account.
    ///
    /// # Errors
    /// When it is gone.
    pub fn cpu_time(&self) -> Result<Duration> {
        let mut nanos = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.pid()))? {
            // A thread may end between the two looks.
            let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else {
                continue;
            };
            let first = text.split_whitespace().next().context("an empty schedstat")?;
            nanos += first.parse::<u64>()?;
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// Its resident memory, in bytes.
    ///
    /// # Errors
    /// When it is gone.
    pub fn resident(&self) -> Result<usize> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next());
        Ok(kilobytes.context("no VmRSS")?.parse::<usize>()? * 1024)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid())?;
        signal::kill(Pid::from_raw(pid), signal).with_context(|| format!("cannot send {signal} to {pid}"))
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        match &mut self.life {
            Life::Child(child) => Ok(child.try_wait()?),
            Life::Orphan(_, Some(status)) => Ok(Some(*status)),
            Life::Orphan(pid, status) => {
                let seen = waitpid(*pid, Some(WaitPidFlag::WNOHANG))?;
                if let WaitStatus::Exited(_, code) = seen {
                    *status = Some(ExitStatus::from_raw(code << 8));
                } else if let WaitStatus::Signaled(_, signal, _) = seen {
                    *status = Some(ExitStatus::from_raw(signal as i32));
                }
                Ok(*status)
            }
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it still runs after `within`.
    pub fn wait_end(&mut self, within: Duration) -> Result<ExitStatus> {
        let pid = self.pid();
        wait::until(format!("process {pid} to end"), within, || self.ended())
    }

    /// Kills it at once and waits until it is gone.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill(&mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.wait_end(wait::PATIENCE).map(drop)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; there is nobody to tell of either.
        if matches!(self.ended(), Ok(None)) {
            drop(self.kill());
        }
    }
}

/// The sockets that a process has open at one of its addresses, by inode.
///
/// # Errors
/// When the system does not tell.
fn sockets_of(pid: u32, address: SocketAddrV4) -> Result<BTreeSet<u64>> {
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp"))?;
    let octets = u32::from_le_bytes(address.ip().octets());
    let wanted = format!("{octets:08X}:{:04X}", address.port());
    let mut listed = BTreeSet::new();
    for line in table.lines().skip(1) {
        let cells: Vec<_> = line.split_whitespace().collect();
        if cells.get(1) == Some(&wanted.as_str()) {
            listed.insert(cells.get(9).context("no inode")?.parse()?);
        }
    }
    let mut open = BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let target = fs::read_link(entry?.path()).unwrap_or_default();
        let name = target.to_string_lossy();
        let inode = name
            .strip_prefix("socket:[")
            .and_then(|rest| rest.strip_suffix(']'));
        open.extend(inode.and_then(|inode| inode.parse::<u64>().ok()));
    }
    Ok(listed.intersection(&open).copied().collect())
}

/// Kills, when it is dropped, every process that works in a directory: also the successors of those that a test started,
/// of which a test that fails may not know.
#[derive(Debug)]
pub struct Sweeper(pub PathBuf);

impl Drop for Sweeper {
    fn drop(&mut self) {
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let pid = entry.file_name().to_string_lossy().parse().ok();
            let is_there = fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == self.0);
            if let Some(pid) = pid.filter(|_| is_there) {
                // It may have ended meanwhile.
                signal::kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap_or_default();
            }
        }
    }
}

/// How a process ended that was run to its end.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Its exit code; none where a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to its standard output.
    pub stdout: String,
    /// What it wrote to its standard error.
    pub stderr: String,
}

impl Ended {
    /// The lines of standard error that are for the user, not entries of the log.
    pub fn errors(&self) -> Vec<&str> {
        self.stderr.lines().filter(|line| is_message(line)).collect()
    }
}

/// Entries of the log begin with their time.
fn is_message(line: &str) -> bool {
    !line.trim().is_empty() && !line.starts_with("20")
}

/// Runs a command to its end.
///
/// # Errors
/// When it does not end within that time (it is killed then).
pub fn run(command: Command, within: Duration) -> Result<Ended> {
    let dir = tempfile::tempdir()?;
    let (out, err) = (dir.path().join("out"), dir.path().join("err"));
    let mut process = Process::start_apart(command, &out, &err)?;
    let status = process.wait_end(within);
    let read = |path| {
        let bytes = fs::read(path).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let (stdout, stderr) = (read(out), read(err));
    let status = status.with_context(|| format!("stdout:\n{stdout}\nstderr:\n{stderr}"))?;
    Ok(Ended {
        code: status.code(),
        stdout,
        stderr,
    })
}
