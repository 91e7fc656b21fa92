//! Where the blocks of a page are run: an empty directory; for most of them as root of a machine of their own, with
//! 10.0.0.1 to 10.0.0.3 and directories of the system that keep nothing.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::{Result, documentation, process};

/// What is left when a command fails must not outlive the test. `calls` has what stand-ins were called with.
const ENDS: &str = "set -eo pipefail\ntrap 'kill $(jobs -p) 2> /dev/null || true; wait' EXIT\ntouch calls\n";

/// Makes the machine, in fresh namespaces.
const MACHINE: &str = r"
set -e
ip link set lo up
for number in 1 2 3; do ip addr add 10.0.0.$number/8 dev lo; done
mkdir over && mount -t tmpfs over over
for dir in etc usr var run; do
  mkdir -p over/$dir/upper over/$dir/work
  mount -t overlay over -o lowerdir=/$dir,upperdir=over/$dir/upper,workdir=over/$dir/work /$dir
done
mkdir -p /etc/fleetbal
";

/// For the parts around the blocks: `founder FILE` starts n1, `joiner N` another, each at 10.0.0.N.
const NODES: &str = r"
node() {
  fleetbal --node n$1 --data-dir n$1 --workers 1 --cluster-listen 10.0.0.$1:7400 --management 127.0.0.$1:60000 \
    ${@:2} 2>> n$1.log & echo $! > n$1.pid
}
answers() { until fleetbal cluster status --server 127.0.0.$1:60000 > /dev/null 2>&1; do sleep 0.1; done; }
founder() { node 1 --init --cluster acme --config $1; answers 1; }
joiner() {
  fleetbal cluster token --uses 1 --file n$1.token
  node $1 --join 10.0.0.1:7400 --token-file n$1.token
  until fleetbal cluster status | grep -q -w n$1; do sleep 0.1; done
  until fleetbal cluster status > /dev/null; do sleep 0.1; done
}
";

/// The configuration that most pages begin with.
pub(super) const FLEET_CONF: &str = "CREATE POOL web\nPOOL web ADD 10.0.0.3:9001\nCREATE SERVICE www\nSET role = reverse_proxy\n\
     SET listen = ${node:ip}:8080\nSET pool = web\nENABLE www\n";

/// What a page's blocks are run with.
pub(super) struct Stage {
    page: &'static str,
    temp: tempfile::TempDir,
}

impl Stage {
    /// For blocks of that page.
    pub(super) fn new(page: &'static str) -> Result<Self> {
        let temp = tempfile::tempdir()?;
        fs::create_dir(temp.path().join("bin"))?;
        // Users of the machine reach what lies there.
        fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o755))?;
        Ok(Self { page, temp })
    }

    /// Its directory.
    pub(super) fn dir(&self) -> &Path {
        self.temp.path()
    }

    /// Puts a file there.
    pub(super) fn file(&self, name: &str, text: &str) -> Result {
        Ok(fs::write(self.dir().join(name), text)?)
    }

    /// Puts a stand-in there, at its path or else where commands are looked for; it notes its name and arguments in
    /// `calls`, and goes on with `then`.
    pub(super) fn stand_in(&self, name: &str, then: &str) -> Result {
        let path = if name.contains('/') {
            self.dir().join(name)
        } else {
            self.dir().join("bin").join(name)
        };
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        let calls = self.dir().join("calls");
        fs::write(
            &path,
            format!(
                "#!/bin/bash\nset -e\necho \"{name} $*\" >> {}\n{then}\n",
                calls.display()
            ),
        )?;
        Ok(fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?)
    }

    /// The block of that name, as it stands.
    pub(super) fn block(&self, info: &str) -> Result<String> {
        documentation::text(self.page, info)
    }

    /// The same, typed at the management port.
    pub(super) fn typed(&self, info: &str) -> Result<String> {
        Ok(format!("fleetbal ctl <<'TYPED'\n{}TYPED\n", self.block(info)?))
    }

    /// Runs a script here, on this machine. What it printed.
    pub(super) fn run(&self, script: &str) -> Result<String> {
        self.finish(&Command::new("bash"), &format!("{ENDS}{script}"))
    }

    /// Runs a script on a machine of its own. What it printed; nothing where there can be none; why is said.
    pub(super) fn run_apart(&self, script: &str) -> Result<Option<String>> {
        let mut unshare = Command::new("unshare");
        unshare.args([
            "--mount",
            "--net",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ]);
        if !nix::unistd::geteuid().is_root() {
            unshare.args(["--user", "--map-root-user"]);
        }
        unshare.arg("bash");
        let mut probe = Command::new(unshare.get_program());
        probe.args(unshare.get_args()).arg("-c").arg(MACHINE);
        let nowhere = tempfile::tempdir()?;
        probe.current_dir(nowhere.path());
        let probed = process::run(probe, Duration::from_secs(20))?;
        if probed.code != Some(0) {
            eprintln!(
                "{} has no machine of its own, for want of namespaces: {}",
                self.page, probed.stderr
            );
            return Ok(None);
        }
        self.finish(&unshare, &format!("{MACHINE}{ENDS}{NODES}{script}"))
            .map(Some)
    }

    fn finish(&self, shell: &Command, script: &str) -> Result<String> {
        let binary = process::binary()?;
        let beside = binary.parent().context("a binary in no directory")?;
        let path = env::var("PATH").unwrap_or_default();
        // On its own time-out, `timeout` also ends what the script left in the background.
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", "60"]).arg(shell.get_program());
        command.args(shell.get_args()).args(["-c", script]);
        let bin = self.dir().join("bin");
        command
            .env("PATH", format!("{}:{}:{path}", bin.display(), beside.display()))
            .env("TMPDIR", self.dir())
            .current_dir(self.dir());
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("FLEETBAL_") {
                command.env_remove(name);
            }
        }
        let ended = process::run(command, Duration::from_secs(80));
        let ended = ended.with_context(|| logs(self.dir()))?;
        ensure!(
            ended.code == Some(0),
            "{}: {ended:#?}\n{}",
            self.page,
            logs(self.dir())
        );
        Ok(ended.stdout)
    }

    /// What the stand-ins were called with, one a line.
    pub(super) fn calls(&self) -> Result<String> {
        Ok(fs::read_to_string(self.dir().join("calls"))?)
    }
}

/// All logs below a directory.
fn logs(dir: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            text += &logs(&path);
        } else if path.extension().is_some_and(|end| end == "log") {
            let said = fs::read(&path).unwrap_or_default();
            text += &path.display().to_string();
            text += "\n";
            text += &String::from_utf8_lossy(&said);
        }
    }
    text
}
