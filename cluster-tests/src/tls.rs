//! TLS as users see it: certificates made by openssl, and openssl and curl as clients.

use std::io::{BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

use anyhow::{Context, ensure};

use crate::Result;
use crate::message::{Kind, Message};

/// A certificate that signs itself, and its key, as files.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Certificate {
    /// Makes one that this one signs.
    ///
    /// # Errors
    /// What openssl says.
    pub fn issue(&self, dir: &Path, file: &str, names: &[&str]) -> Result<Self> {
        let extra = ["-addext", "basicConstraints=critical,CA:FALSE"].map(str::to_owned);
        let issuer = [
            "-CA".to_owned(),
            self.cert.display().to_string(),
            "-CAkey".to_owned(),
            self.key.display().to_string(),
        ];
        Self::with(dir, file, "ec", names, &[&extra[..], &issuer[..]].concat())
    }

    /// Makes one for `names`, the first of which is its subject, in place of what was there. `kind` is openssl's:
    /// `ec` or `rsa`.
    ///
    /// # Errors
    /// What openssl says.
    pub fn make(dir: &Path, file: &str, kind: &str, names: &[&str]) -> Result<Self> {
        Self::with(dir, file, kind, names, &[])
    }

    fn with(dir: &Path, file: &str, kind: &str, names: &[&str], arguments: &[String]) -> Result<Self> {
        let made = Self {
            cert: dir.join(format!("{file}.pem")),
            key: dir.join(format!("{file}.key")),
        };
        let newkey: &[&str] = match kind {
            "ec" => &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"],
            _ => &["-newkey", "rsa:2048"],
        };
        let alternatives: Vec<_> = names.iter().map(|name| format!("DNS:{name}")).collect();
        let mut command = Command::new("openssl");
        command
            .args(["req", "-x509", "-nodes", "-days", "2", "-batch"])
            .args(newkey)
            .args(arguments)
            .arg("-subj")
            .arg(format!("/CN={}", names.first().unwrap_or(&"none")))
            .arg("-addext")
            .arg(format!("subjectAltName={}", alternatives.join(",")))
            .arg("-keyout")
            .arg(&made.key)
            .arg("-out")
            .arg(&made.cert);
        succeed(&mut command)?;
        Ok(made)
    }
}

/// Runs a program to its end.
///
/// # Errors
/// When it fails; what it said.
pub fn succeed(command: &mut Command) -> Result<Output> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot run {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output)
}

/// What a handshake of `openssl s_client` ends in, with further arguments: all that it says, in brief.
///
/// # Errors
/// When it cannot be run.
pub fn handshake(address: SocketAddr, arguments: &[&str]) -> Result<String> {
    handshake_in_full(address, &[&["-brief"], arguments].concat())
}

/// The same, all that it has to say.
///
/// # Errors
/// When it cannot be run.
pub fn handshake_in_full(address: SocketAddr, arguments: &[&str]) -> Result<String> {
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &address.to_string()])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .context("cannot run openssl")?;
    Ok(String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout))
}

/// A request of curl's that trusts whom it meets, with further arguments.
pub fn curl(address: SocketAddr, target: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--show-error", "--insecure", "--max-time", "60"])
        .args(arguments)
        .arg(format!("https://{address}{target}"));
    command
}

/// A connection of `openssl s_client`; closed when this is dropped.
#[derive(Debug)]
pub struct Secure {
    child: Child,
    writer: Option<ChildStdin>,
    reader: BufReader<ChildStdout>,
}

impl Secure {
    /// Opens one, with further arguments.
    ///
    /// # Errors
    /// When openssl cannot be run.
    pub fn connect(address: SocketAddr, arguments: &[&str]) -> Result<Self> {
        let mut child = Command::new("openssl")
            .args([
                "s_client",
                "-quiet",
                "-no_ign_eof",
                "-connect",
                &address.to_string(),
            ])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run openssl")?;
        let writer = child.stdin.take();
        let reader = child.stdout.take().context("no output")?;
        Ok(Self {
            child,
            writer,
            reader: BufReader::new(reader),
        })
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// When openssl has ended.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let writer = self.writer.as_mut().context("the writing side is closed")?;
        writer.write_all(bytes)?;
        Ok(writer.flush()?)
    }

    /// Reads one answer.
    ///
    /// # Errors
    /// When the connection ends first.
    pub fn answer(&mut self) -> Result<Message> {
        let message = Message::read(&mut self.reader, Kind::Response)?;
        message.context("the connection ended without an answer")
    }

    /// What is said until the other side closes, and whether it closed in order.
    ///
    /// # Errors
    /// When openssl cannot be waited for.
    pub fn rest(mut self) -> Result<(String, String)> {
        let (mut said, mut complaints) = (Vec::new(), Vec::new());
        std::io::Read::read_to_end(&mut self.reader, &mut said)?;
        if let Some(mut stderr) = self.child.stderr.take() {
            std::io::Read::read_to_end(&mut stderr, &mut complaints)?;
        }
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok((text(said), text(complaints)))
    }
}

impl Drop for Secure {
    fn drop(&mut self) {
        self.writer = None;
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
