//! Who may manage a node from another machine. In a network namespace of the test's own, with an address that is not
//! loopback, so that the node meets strangers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::ensure;
use fleetbal_cluster_tests::ports;
use fleetbal_cluster_tests::process::{self, Ended, Process};
use fleetbal_cluster_tests::{Result, wait};

/// Where the node listens, and where its clients come from.
const ADDRESS: &str = "10.77.0.1";

struct Guarded {
    dir: tempfile::TempDir,
    node: Process,
}

impl Guarded {
    /// A node alone whose management service listens where others reach it.
    fn start(lines: &str, flags: &str) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let config = format!(
            "CREATE SERVICE mgmt\nSET role = management\nSET listen = {ADDRESS}:{}\n{}ENABLE mgmt\n",
            ports::MANAGEMENT,
            lines.replace("{dir}", &dir.path().display().to_string()),
        );
        let file = dir.path().join("fleetbal.conf");
        fs::write(&file, config)?;
        fs::write(
            dir.path().join("tokens"),
            "# people\nanna admin s3cret-of-anna\nbot read s3cret-of-bot\n",
        )?;
        for (name, secret) in [("anna", "s3cret-of-anna"), ("bot", "s3cret-of-bot")] {
            fs::write(dir.path().join(name), format!("{secret}\n"))?;
        }
        let script = format!(
            "ip link set lo up && ip address add {ADDRESS}/24 dev lo && exec '{}' --config='{}' {}",
            process::binary()?.display(),
            file.display(),
            flags.replace("{dir}", &dir.path().display().to_string()),
        );
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--net", "sh", "-c", &script]);
        let node = Process::start(command, &dir.path().join("log"))?;
        let guarded = Self { dir, node };
        wait::for_true("the node to listen", wait::PATIENCE, || {
            // Before it has its namespace, there is nothing to enter.
            let ended = guarded.ctl(None, "uptime")?;
            Ok(ended.code == Some(0) || ended.stderr.contains("not authorised"))
        })?;
        Ok(guarded)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs something where the node is.
    fn beside(&self, program: &Path, arguments: &[&str]) -> Result<Ended> {
        let mut command = Command::new("nsenter");
        let pid = self.node.pid().to_string();
        command.args([
            "--target",
            &pid,
            "--user",
            "--preserve-credentials",
            "--net",
            "--",
        ]);
        command.arg(program).args(arguments);
        process::run(command, wait::PATIENCE)
    }

    fn ctl(&self, who: Option<&str>, line: &str) -> Result<Ended> {
        let server = format!("{ADDRESS}:{}", ports::MANAGEMENT);
        let secret = who.map(|who| self.path(who).display().to_string());
        let mut arguments = vec!["ctl", "--server", &server];
        if let Some(secret) = &secret {
            arguments.extend(["--token-file", secret]);
        }
        arguments.extend(line.split(' '));
        self.beside(&process::binary()?, &arguments)
    }

    /// The status and the body of an HTTP call.
    fn http(&self, arguments: &[&str], path: &str) -> Result<String> {
        let url = format!("http://{ADDRESS}:{}{path}", ports::MANAGEMENT);
        let mut all = vec!["-s", "-w", "%{http_code}"];
        all.extend(arguments);
        all.push(&url);
        Ok(self.beside(Path::new("curl"), &all)?.stdout)
    }

    fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.path("log"))?)
    }
}

fn refused(ended: &Ended, text: &str) -> Result {
    ensure!(
        ended.code == Some(1) && ended.stderr.contains(text),
        "wanted '{text}': {ended:?}"
    );
    Ok(())
}

fn taken(ended: &Ended) -> Result {
    ensure!(ended.code == Some(0), "{ended:?}");
    Ok(())
}

#[test]
fn secrets_open_a_port_that_others_reach() -> Result {
    let node = Guarded::start("SET token_file = {dir}/tokens\n", "")?;
    refused(
        &node.ctl(None, "show service")?,
        "not authorised: say `auth SECRET` first",
    )?;
    taken(&node.ctl(Some("bot"), "show service")?)?;
    refused(
        &node.ctl(Some("bot"), "CREATE POOL web")?,
        "this secret may only read",
    )?;
    taken(&node.ctl(Some("anna"), "CREATE POOL web")?)?;
    let lines = ["--data-binary", "create pool other\nshow pool\n"];
    let call = |fields: &[&str]| node.http(&[&lines, fields].concat(), "/api/v1/command");
    let answer = call(&[])?;
    ensure!(answer.ends_with("401"), "without a secret: {answer}");
    let answer = call(&["-H", "Authorization: Bearer s3cret-of-bot"])?;
    ensure!(answer.contains("this secret may only read"), "{answer}");
    let answer = call(&["-H", "Authorization: Bearer s3cret-of-anna"])?;
    let wanted =
        r#"{"ok":true,"results":[{"line":1,"ok":true},{"line":2,"ok":true,"output":["other nodes 0""#;
    ensure!(answer.starts_with(wanted), "{answer}");
    // Who is struck off is out from the next connection on; nothing has to be told.
    fs::write(node.path("tokens"), "anna admin s3cret-of-anna\n")?;
    refused(&node.ctl(Some("bot"), "show service")?, "wrong secret")?;
    // A file that cannot be read lets nobody in, and can be mended without anybody being in.
    fs::remove_file(node.path("tokens"))?;
    refused(&node.ctl(Some("anna"), "show service")?, "wrong secret")?;
    fs::write(node.path("tokens"), "anna admin s3cret-of-anna\n")?;
    taken(&node.ctl(Some("anna"), "SET mgmt.open = on")?)?;
    taken(&node.ctl(None, "CREATE POOL third")?)?;
    taken(&node.ctl(None, "SET mgmt.open = off")?)?;
    refused(&node.ctl(None, "show service")?, "not authorised")?;
    let log = node.log()?;
    ensure!(!log.contains("s3cret"), "a secret is in the log:\n{log}");
    Ok(())
}

#[test]
fn flags_open_every_management_port_of_a_node() -> Result {
    let node = Guarded::start("", "--management-token-file={dir}/tokens")?;
    refused(&node.ctl(None, "show service")?, "not authorised")?;
    taken(&node.ctl(Some("bot"), "show service")?)?;
    drop(node);
    let node = Guarded::start("", "--management-open")?;
    taken(&node.ctl(None, "CREATE POOL web")?)
}

#[test]
fn a_bad_file_of_secrets_is_refused_where_it_is_typed() -> Result {
    let node = Guarded::start("SET token_file = {dir}/tokens\n", "")?;
    fs::write(node.path("bad"), "anna admin s3cret\nbot s3cret-too\n")?;
    let bad = node.path("bad");
    let refusal = node.ctl(Some("anna"), &format!("SET mgmt.token_file = {}", bad.display()))?;
    refused(&refusal, "bad: line 2 is not `NAME read|admin SECRET`")?;
    ensure!(!refusal.stderr.contains("s3cret"), "{refusal:?}");
    let missing = node.ctl(Some("anna"), "SET mgmt.token_file = /nonexistent/tokens")?;
    refused(
        &missing,
        "management token file /nonexistent/tokens: No such file or directory",
    )?;
    taken(&node.ctl(Some("anna"), "SET mgmt.token_file = none")?)?;
    refused(&node.ctl(Some("anna"), "show service")?, "wrong secret")
}
