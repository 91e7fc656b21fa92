//! One node of a fleet, as its users reach it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use crate::Result;
use crate::client::{self, Manage};
use crate::message::Message;
use crate::oracle::Status;
use crate::ports;
use crate::process::Process;

/// A node: its place, whether or not it runs.
#[derive(Debug)]
pub struct Node {
    /// `n1`, `n2` …
    pub name: String,
    /// Where all its ports are.
    pub address: Ipv4Addr,
    /// Its data directory.
    pub data: PathBuf,
    /// Both its streams, over all its lives.
    pub log: PathBuf,
    /// The flags that it starts with, also in its next lives.
    pub flags: Vec<String>,
    /// What its command is led by: see [`crate::world`].
    pub(crate) wrapper: Vec<String>,
    pub(crate) process: Option<Process>,
}

impl Node {
    /// Its command, to be run where it is. Outside of loopback it takes commands from everybody there.
    pub(crate) fn wrap(&self, command: Command) -> Command {
        let Some((first, rest)) = self.wrapper.split_first() else {
            return command;
        };
        let mut wrapped = Command::new(first);
        wrapped.args(rest).arg(command.get_program());
        wrapped.args(command.get_args());
        if self.wrapper.iter().any(|word| word == "netns") {
            wrapped.arg("--management-open");
        }
        for (name, _) in command.get_envs() {
            wrapped.env_remove(name);
        }
        if let Some(dir) = command.get_current_dir() {
            wrapped.current_dir(dir);
        }
        wrapped.stdin(Stdio::null());
        wrapped
    }

    /// Where its cluster port is.
    pub fn cluster(&self) -> SocketAddr {
        (self.address, ports::CLUSTER).into()
    }

    /// Where it takes commands.
    pub fn management(&self) -> SocketAddr {
        (self.address, ports::MANAGEMENT).into()
    }

    /// Where it takes traffic.
    pub fn traffic(&self) -> SocketAddr {
        (self.address, ports::TRAFFIC).into()
    }

    /// A management connection.
    ///
    /// # Errors
    /// When it does not run.
    pub fn manage(&self) -> Result<Manage> {
        Manage::connect(self.management()).with_context(|| format!("management of {}", self.name))
    }

    /// `cluster status json`.
    ///
    /// # Errors
    /// When it is not answered.
    pub fn status(&self) -> Result<Status> {
        let lines = self.manage()?.data("cluster status json")?;
        Status::parse(lines.first().context("no line")?)
    }

    /// `dumpconfig`.
    ///
    /// # Errors
    /// When it is not answered.
    pub fn dump(&self) -> Result<String> {
        Ok(self.manage()?.data("dumpconfig")?.join("\n"))
    }

    /// The version that it is at.
    ///
    /// # Errors
    /// When it does not say.
    pub fn version(&self) -> Result<u64> {
        let lines = self.manage()?.data("config version")?;
        let number = lines.iter().find_map(|line| line.strip_prefix("version "));
        Ok(number
            .with_context(|| format!("no version in {lines:?}"))?
            .parse()?)
    }

    /// One GET through it, on a fresh connection.
    ///
    /// # Errors
    /// When it gets no response.
    pub fn get(&self, target: &str) -> Result<Message> {
        client::get(self.traffic(), target).with_context(|| format!("GET {target} at {}", self.name))
    }

    /// Its figures, as Prometheus reads them.
    ///
    /// # Errors
    /// When it does not answer with them.
    pub fn metrics(&self) -> Result<String> {
        let answer = client::get(self.management(), "/metrics")?;
        ensure!(
            answer.status()? == 200,
            "{} answered '{}'",
            self.name,
            answer.start
        );
        Ok(answer.text())
    }

    /// Its log so far.
    pub fn log_text(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Whether it answers `/readyz` with 200.
    ///
    /// # Errors
    /// When it does not run, or what it says for not being ready.
    pub fn ready(&self) -> Result<bool> {
        let answer = client::get(self.management(), "/readyz")?;
        ensure!(
            answer.status()? == 200,
            "{} is not ready: {}",
            self.name,
            answer.text()
        );
        Ok(true)
    }
}
