//! The Debian package in a Debian of its own: installed, started as its unit says, upgraded, removed.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::process::{self, Ended, Process};
use fleetbal_cluster_tests::{Backend, Load, Result, client, wait};
use nix::sys::signal::Signal;

use crate::packages::static_binary;
use crate::service_manager::NotifySocket;
use crate::standalone::Place;

/// Where the package has a node's settings.
const SETTINGS: &str = "etc/fleetbal/fleetbal.env";

/// A build, or a whole Debian from its mirror.
const LONG: Duration = Duration::from_mins(20);

/// The root of a Debian.
struct Debian(PathBuf);

impl Debian {
    /// A copy of `FLEETBAL_DEBIAN_ROOT`, where adduser has to be, else a new one.
    fn make(at: PathBuf) -> Result<Self> {
        let mut command = if let Some(given) = std::env::var_os("FLEETBAL_DEBIAN_ROOT") {
            let mut copy = Command::new("cp");
            copy.arg("--archive").arg(given).arg(&at);
            copy
        } else {
            let mut make = Command::new("debootstrap");
            // What the package depends on: dpkg alone, with which the test installs it, brings nothing along.
            make.args(["--variant=minbase", "--include=adduser", "stable"])
                .arg(&at);
            make
        };
        command.env("DEBIAN_FRONTEND", "noninteractive");
        let ended = process::run(command, LONG)?;
        ensure!(ended.code == Some(0), "{ended:?}");
        Ok(Self(at))
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.0.join(inside)
    }

    fn inside(&self, words: &[&str]) -> Command {
        let mut command = Command::new("chroot");
        command.arg(&self.0).args(words);
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    fn run(&self, words: &[&str]) -> Result<Ended> {
        let ended = process::run(self.inside(words), LONG)?;
        ensure!(ended.code == Some(0), "{words:?}: {ended:?}");
        Ok(ended)
    }

    fn install(&self, package: &Path) -> Result<Ended> {
        fs::copy(package, self.path("package.deb"))?;
        let ended = self.run(&["dpkg", "--install", "/package.deb"])?;
        fs::remove_file(self.path("package.deb"))?;
        Ok(ended)
    }

    /// All that is there, but for what a start of the machine clears, and what dpkg and the user database keep of the past.
    fn files(&self) -> Result<BTreeSet<String>> {
        let mut find = Command::new("find");
        find.arg(&self.0).args(["-xdev", "-printf", "%P\n"]);
        let found = process::run(find, wait::PATIENCE)?.stdout;
        let noise = [
            "run/",
            "var/lib/dpkg/",
            "var/log/",
            "etc/passwd-",
            "etc/shadow-",
            "etc/group-",
            "etc/gshadow-",
        ];
        let is_noise = |path: &str| noise.iter().any(|noise| path.starts_with(noise));
        Ok(found
            .lines()
            .filter(|path| !is_noise(path))
            .map(str::to_owned)
            .collect())
    }

    /// What the installed unit says of something.
    fn unit(&self, key: &str) -> Result<String> {
        let text = fs::read_to_string(self.path("usr/lib/systemd/system/fleetbal.service"))?;
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        value
            .map(str::to_owned)
            .with_context(|| format!("no {key} in the unit"))
    }
}

fn package(binary: &Path, version: &str, to: &Path) -> Result<PathBuf> {
    let mut build = Command::new(process::workspace().join("deploy/debian/build.sh"));
    build
        .args(["--deb-version", version])
        .env("FLEETBAL_STATIC", binary);
    let ended = process::run(build, LONG)?;
    ensure!(ended.code == Some(0), "{ended:?}");
    let kept = to.join(format!("{version}.deb"));
    fs::copy(ended.stdout.trim(), &kept)?;
    Ok(kept)
}

/// Starts it as systemd would: by the unit's line and user, with the file of variables that the unit names.
fn start(debian: &Debian, log: &Path) -> Result<Process> {
    let user = format!("--userspec={}:{}", debian.unit("User")?, debian.unit("Group")?);
    let environment = debian.unit("EnvironmentFile")?;
    let environment = environment.trim_start_matches(['-', '/']);
    let exec = debian.unit("ExecStart")?;
    let mut command = Command::new("chroot");
    command.arg(user).arg(&debian.0).args(exec.split(' '));
    command.env("NOTIFY_SOCKET", "/run/notify");
    for line in fs::read_to_string(debian.path(environment))?.lines() {
        if let Some((name, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
            command.env(name, value);
        }
    }
    Process::start(command, log)
}

/// Who may read and change what.
fn check_installed(debian: &Debian) -> Result<()> {
    for (path, mode) in [
        ("usr/bin/fleetbal", 0o755),
        ("etc/fleetbal", 0o750),
        (SETTINGS, 0o640),
        ("var/lib/fleetbal", 0o700),
        ("usr/share/man/man1/fleetbal.1.gz", 0o644),
    ] {
        let found = fs::metadata(debian.path(path)).context(path)?;
        ensure!(
            found.permissions().mode() & 0o7777 == mode,
            "{path}: {:o}",
            found.mode()
        );
    }
    Ok(())
}

/// What an administrator writes; the settings of the node.
fn configure(debian: &Debian, place: &Place) -> Result<String> {
    let node = place.net.node(1);
    let settings = format!(
        "FLEETBAL_NODE=n1\nFLEETBAL_DATA_DIR=/var/lib/fleetbal\nFLEETBAL_CLUSTER_LISTEN={node}:7400\n\
         FLEETBAL_MANAGEMENT={node}:60001\nFLEETBAL_INIT=1\nFLEETBAL_CONFIG=/etc/fleetbal/fleetbal.conf\n"
    );
    fs::write(debian.path(SETTINGS), &settings)?;
    fs::write(debian.path("etc/fleetbal/fleetbal.conf"), place.config())?;
    Ok(settings)
}

#[test]
#[ignore = "needs root, debootstrap, cargo-deb and minutes; see docs/CONTRIBUTING.md"]
fn the_package_installs_runs_upgrades_and_purges() -> Result {
    Process::adopt_orphans()?;
    let place = Place::new()?;
    let _b1 = Backend::start("b1", place.net.backend(1))?;
    let binary = static_binary()?;
    let [old, new] = ["0.1.0-1", "0.1.0-2"].map(|version| package(&binary, version, place.dir.path()));
    let (old, new) = (old?, new?);
    let debian = Debian::make(place.dir.path().join("root"))?;
    let before = debian.files()?;
    debian.install(&old)?;
    check_installed(&debian)?;
    let settings = configure(&debian, &place)?;
    let socket = NotifySocket::bind(&debian.path("run/notify"))?;
    fs::set_permissions(debian.path("run/notify"), fs::Permissions::from_mode(0o777))?;
    let log = place.dir.path().join("log");
    let mut process = start(&debian, &log)?;
    socket
        .wait_for("READY=1")
        .with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
    let traffic = (place.net.node(1), 8080).into();
    ensure!(client::get(traffic, "/")?.status()? == 200);
    let load = Load::start(traffic, 4)?;
    debian.install(&new)?;
    ensure!(fs::read_to_string(debian.path(SETTINGS))? == settings);
    ensure!(process.ended()?.is_none(), "the upgrade ended it");
    // What the package asks systemd for, where that runs.
    process.signal(Signal::SIGUSR2)?;
    let told = socket.wait_for("STATUS=running")?.join("\n");
    let pid = told.split("MAINPID=").nth(1).and_then(|rest| rest.lines().next());
    let mut process_2 = Process::adopt(pid.context("no MAINPID")?.parse()?)?;
    ensure!(process.wait_end(wait::PATIENCE)?.code() == Some(0));
    load.pass(200)?;
    load.finish().expect_flawless()?;
    process_2.signal(Signal::SIGTERM)?;
    ensure!(process_2.wait_end(wait::PATIENCE)?.code() == Some(0));
    fs::remove_file(debian.path("run/notify"))?;
    debian.run(&["dpkg", "--remove", "fleetbal"])?;
    ensure!(debian.path(SETTINGS).exists(), "removing took the settings");
    debian.run(&["dpkg", "--purge", "fleetbal"])?;
    let left: Vec<_> = debian.files()?.difference(&before).cloned().collect();
    ensure!(left.is_empty(), "left behind: {left:?}");
    let users = fs::read_to_string(debian.path("etc/passwd"))?;
    ensure!(!users.contains("fleetbal"), "{users}");
    Ok(())
}
