//! Fleets of real processes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use tempfile::TempDir;

use crate::backend::Backend;
use crate::client::Manage;
use crate::node::Node;
use crate::ports::{self, Net};
use crate::process::{self, Process};
use crate::{Result, wait};

/// How a fleet begins.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many nodes.
    pub nodes: usize,
    /// How many sample backends, b1, b2 …
    pub backends: usize,
    /// How many of them the pool `web` has at first.
    pub pooled: usize,
    /// Fleet-wide lines behind the usual ones.
    pub extra: String,
}

impl Default for Plan {
    /// Three nodes, three backends, all of them in the pool.
    fn default() -> Self {
        Self {
            nodes: 3,
            backends: 3,
            pooled: 3,
            extra: String::new(),
        }
    }
}

/// A fleet in a net of its own, with its backends. Dropped without [`Self::passed`], it prints every node's log.
#[derive(Debug)]
pub struct Fleet {
    nodes: Vec<Node>,
    backends: Vec<Backend>,
    net: Net,
    dir: TempDir,
    passed: bool,
}

impl Fleet {
    /// Founds and joins three nodes in front of three backends, all ready.
    ///
    /// # Errors
    /// When that does not work.
    pub fn of_three() -> Result<Self> {
        Self::start(&Plan::default())
    }

    /// Founds and joins a fleet, and waits until each node is a voter and ready.
    ///
    /// # Errors
    /// When that does not work.
    pub fn start(plan: &Plan) -> Result<Self> {
        let mut fleet = Self::prepare(plan)?;
        fleet.found()?;
        if plan.nodes > 1 {
            let token = fleet.token("")?;
            for number in 2..=plan.nodes {
                fleet.join(number, &token)?;
            }
        }
        fleet.wait_settled()?;
        Ok(fleet)
    }

    /// Starts the backends, but no node.
    ///
    /// # Errors
    /// When an address cannot be had.
    pub fn prepare(plan: &Plan) -> Result<Self> {
        let net = Net::claim()?;
        let dir = tempfile::Builder::new().prefix("fleetbal-test-").tempdir()?;
        let mut backends = Vec::new();
        for number in 1..=plan.backends {
            let address = net.backend(u8::try_from(number)?);
            backends.push(Backend::start(&format!("b{number}"), address)?);
        }
        let mut fleet = Self {
            nodes: Vec::new(),
            backends,
            net,
            dir,
            passed: false,
        };
        for _ in 0..plan.nodes {
            fleet.add_place()?;
        }
        fs::write(fleet.config_path(), fleet.config(plan))?;
        Ok(fleet)
    }

    /// A place for one more node; its number.
    ///
    /// # Errors
    /// When there are too many.
    pub fn add_place(&mut self) -> Result<usize> {
        let number = self.nodes.len() + 1;
        let name = format!("n{number}");
        self.nodes.push(Node {
            wrapper: self.net.wrapper(u8::try_from(number)?),
            address: self.net.node(u8::try_from(number)?),
            data: self.dir.path().join(&name),
            log: self.dir.path().join(format!("{name}.log")),
            name,
            flags: Vec::new(),
            process: None,
        });
        Ok(number)
    }

    fn config(&self, plan: &Plan) -> String {
        let pooled = self.backends.iter().take(plan.pooled);
        let adds: String = pooled.fold(String::new(), |text, backend| {
            text + &format!("  POOL web ADD {}\n", backend.address())
        });
        let listen = format!("${{node:ip}}:{}", ports::TRAFFIC);
        let extra = &plan.extra;
        format!(
            "CREATE POOL web\n  SET balance_method = round_robin\n{adds}CREATE SERVICE www\n  SET role = reverse_proxy\n  \
             SET listen = {listen}\n  SET pool = web\n  SET persist_client = on\n  SET persist_backend = on\n\
             ENABLE www\n{extra}"
        )
    }

    /// The config file of the founder.
    pub fn config_path(&self) -> PathBuf {
        self.dir.path().join("fleet.conf")
    }

    /// A directory that goes with the fleet.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Node `number`, counted from 1.
    ///
    /// # Errors
    /// When there is none.
    pub fn node(&self, number: usize) -> Result<&Node> {
        let index = number.checked_sub(1).context("nodes are counted from 1")?;
        self.nodes
            .get(index)
            .with_context(|| format!("no node n{number}"))
    }

    pub(crate) fn node_mut(&mut self, number: usize) -> Result<&mut Node> {
        let index = number.checked_sub(1).context("nodes are counted from 1")?;
        self.nodes
            .get_mut(index)
            .with_context(|| format!("no node n{number}"))
    }

    /// The process of a node.
    ///
    /// # Errors
    /// When it does not run.
    pub fn process(&mut self, number: usize) -> Result<&mut Process> {
        self.node_mut(number)?
            .process
            .as_mut()
            .with_context(|| format!("n{number} does not run"))
    }

    /// All nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The numbers of the nodes that run.
    pub fn running(&self) -> Vec<usize> {
        let numbered = self.nodes.iter().zip(1..);
        numbered
            .filter(|(node, _)| node.process.is_some())
            .map(|(_, number)| number)
            .collect()
    }

    /// Backend `number`, counted from 1.
    ///
    /// # Errors
    /// When there is none.
    pub fn backend(&mut self, number: usize) -> Result<&mut Backend> {
        let index = number.checked_sub(1).context("backends are counted from 1")?;
        self.backends
            .get_mut(index)
            .with_context(|| format!("no backend b{number}"))
    }

    /// The flags that every start of a node has.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn place_flags(&self, number: usize) -> Result<Vec<String>> {
        let node = self.node(number)?;
        let cluster = node.cluster().to_string();
        let management = node.management().to_string();
        let data = node.data.display().to_string();
        let flags = [
            ("--node", node.name.as_str()),
            ("--data-dir", &data),
            ("--cluster-listen", &cluster),
            ("--advertise", &cluster),
            ("--management", &management),
            ("--workers", "1"),
        ];
        // For a closer look at a test that fails now and then.
        let level = std::env::var("FLEETBAL_TEST_LOG_LEVEL").ok();
        let level = level.as_deref().map(|level| ("--log-level", level));
        Ok(flags
            .into_iter()
            .chain(level)
            .flat_map(|(flag, value)| [flag.to_owned(), value.to_owned()])
            .collect())
    }

    /// A command line of that node, not started.
    ///
    /// # Errors
    /// When the binary cannot be built.
    pub fn command(&self, flags: &[String]) -> Result<Command> {
        let mut command = process::fleetbal()?;
        command.args(flags).current_dir(self.dir.path());
        Ok(command)
    }

    /// Starts node 1 as the founder, and waits until it takes commands.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn found(&mut self) -> Result<()> {
        let config = self.config_path().display().to_string();
        let mut flags = self.place_flags(1)?;
        flags.extend(["--init", "--cluster", "acme", "--config"].map(str::to_owned));
        flags.push(config);
        self.launch(1, flags)
    }

    /// A join token of node 1; `options` as of `cluster token`.
    ///
    /// # Errors
    /// When it is refused.
    pub fn token(&self, options: &str) -> Result<String> {
        let line = format!("cluster token {options}");
        let lines = self.node(1)?.manage()?.data(line.trim())?;
        let words = lines.iter().flat_map(|line| line.split_whitespace());
        words
            .into_iter()
            .find(|word| word.starts_with("fleetbal1."))
            .map(str::to_owned)
            .with_context(|| format!("no token in {lines:?}"))
    }

    /// The flags with which a node joins node 1.
    ///
    /// # Errors
    /// When the token's file cannot be written.
    pub fn join_flags(&self, number: usize, token: &str) -> Result<Vec<String>> {
        let file = self.dir.path().join(format!("token-{number}"));
        fs::write(&file, format!("{token}\n"))?;
        let mut flags = self.place_flags(number)?;
        flags.extend(["--join".to_owned(), self.node(1)?.cluster().to_string()]);
        flags.extend(["--token-file".to_owned(), file.display().to_string()]);
        Ok(flags)
    }

    /// Starts a node that joins, and waits until it takes commands.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn join(&mut self, number: usize, token: &str) -> Result<()> {
        let flags = self.join_flags(number, token)?;
        self.launch(number, flags)
    }

    /// Starts a node again with the flags of its last life, as a unit file would.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn restart(&mut self, number: usize) -> Result<()> {
        let flags = self.node(number)?.flags.clone();
        self.launch(number, flags)
    }

    /// Starts a node and waits until it takes commands.
    ///
    /// # Errors
    /// When it ends, or does not answer.
    pub fn launch(&mut self, number: usize, flags: Vec<String>) -> Result<()> {
        self.launch_only(number, flags)?;
        self.wait_answers(number)
    }

    /// Starts a node, and waits for nothing.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn launch_only(&mut self, number: usize, flags: Vec<String>) -> Result<()> {
        let command = self.node(number)?.wrap(self.command(&flags)?);
        let node = self.node_mut(number)?;
        node.flags = flags;
        node.process = Some(Process::start(command, &node.log)?);
        Ok(())
    }

    /// Waits until a node takes commands.
    ///
    /// # Errors
    /// When it ends, or does not answer.
    pub fn wait_answers(&mut self, number: usize) -> Result<()> {
        let address = self.node(number)?.management();
        let process = self.process(number)?;
        let mut end = None;
        let answers = wait::until(format!("n{number} to take commands"), wait::PATIENCE, || {
            end = process.ended()?;
            if end.is_some() {
                return Ok(Some(()));
            }
            Manage::connect(address)?.data("uptime")?;
            Ok(Some(()))
        });
        ensure!(
            end.is_none(),
            "n{number} ended with {end:?} instead of taking commands"
        );
        answers
    }

    /// Waits until all running nodes know each other as alive, are ready and of one version.
    ///
    /// # Errors
    /// When they do not.
    pub fn wait_settled(&self) -> Result<()> {
        let running = self.running();
        wait::for_true("the fleet to settle", wait::PATIENCE, || {
            let names: Vec<String> = running.iter().map(|number| format!("n{number}")).collect();
            for &number in &running {
                self.check_settled(number, &names)?;
            }
            Ok(true)
        })
    }

    fn check_settled(&self, number: usize, names: &[String]) -> Result<()> {
        let node = self.node(number)?;
        node.ready()?;
        let status = node.status()?;
        ensure!(status.leader().is_some(), "n{number} knows no leader");
        for name in names {
            let state = status.node_text(name, "state")?;
            ensure!(state == "alive", "n{number} sees {name} as {state}");
        }
        let voters = status.quorum("voters")?;
        let wanted = voters_of(status.nodes()?.len());
        ensure!(voters == wanted, "n{number} sees {voters} voters, not {wanted}");
        ensure!(status.in_sync(), "n{number} sees them out of sync");
        Ok(())
    }

    /// The number of the leader, as all running nodes see it.
    ///
    /// # Errors
    /// When they see none, or different ones.
    pub fn leader(&self) -> Result<usize> {
        wait::until("one leader", wait::PATIENCE, || {
            let mut seen = Vec::new();
            for number in self.running() {
                seen.push(self.node(number)?.status()?.leader());
            }
            seen.dedup();
            ensure!(seen.len() == 1, "they see {seen:?}");
            let name = seen.pop().flatten().context("no leader")?;
            let running = self.running();
            Ok(running.into_iter().find(|number| format!("n{number}") == name))
        })
    }

    /// The numbers of the running nodes that are not the leader.
    ///
    /// # Errors
    /// When there is no leader.
    pub fn followers(&self) -> Result<Vec<usize>> {
        let leader = self.leader()?;
        Ok(self.running().into_iter().filter(|&n| n != leader).collect())
    }

    /// Waits until a node carries all of its traffic to exactly these backends.
    ///
    /// # Errors
    /// When it does not.
    pub fn wait_served_by(&self, number: usize, names: &[&str]) -> Result<()> {
        self.wait_served_within(number, names, wait::PATIENCE)
    }

    /// The same within a time of its own.
    ///
    /// # Errors
    /// When it does not.
    pub fn wait_served_within(&self, number: usize, names: &[&str], within: Duration) -> Result<()> {
        let what = format!("n{number} to be served by {names:?}");
        wait::for_true(what, within, || {
            let seen = self.served_by(number)?;
            ensure!(seen == names, "n{number} is served by {seen:?}");
            Ok(true)
        })
    }

    /// Waits until a node listens on one more port.
    ///
    /// # Errors
    /// When it does not.
    pub fn wait_listening(&self, number: usize, port: u16) -> Result<()> {
        let address = (self.node(number)?.address, port).into();
        wait::for_true(format!("n{number} to listen on {port}"), wait::PATIENCE, || {
            std::net::TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
            Ok(true)
        })
    }

    /// Who answers a handful of requests at a node, in order, each once.
    ///
    /// # Errors
    /// When one is not answered with 200.
    pub fn served_by(&self, number: usize) -> Result<Vec<String>> {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..24 {
            let answer = self.node(number)?.get("/who")?;
            ensure!(answer.status()? == 200, "n{number} answered '{}'", answer.start);
            seen.insert(answer.text());
        }
        Ok(seen.into_iter().collect())
    }

    /// The test is through: ends every running node as an operator would, and sees that each ends well.
    ///
    /// # Errors
    /// When a node does not end with 0.
    pub fn passed(mut self) -> Result<()> {
        for number in self.running() {
            let code = self.terminate(number)?;
            ensure!(code == Some(0), "n{number} ended with {code:?} after TERM");
        }
        self.passed = true;
        Ok(())
    }

    fn tell(&self) {
        for node in &self.nodes {
            eprintln!("---- log of {} at {}", node.name, node.address);
            eprintln!("{}", tail(&node.log_text()));
            if node.process.is_some() {
                let status = node.manage().and_then(|mut manage| manage.data("cluster status"));
                match status {
                    Ok(lines) => eprintln!("---- cluster status at {}\n{}", node.name, lines.join("\n")),
                    Err(error) => eprintln!("---- no cluster status at {}: {error:#}", node.name),
                }
            }
        }
    }
}

/// How many voters a fleet of so many members has: the largest odd number, at most five.
fn voters_of(members: usize) -> u64 {
    match members {
        0..=2 => 1,
        3..=4 => 3,
        _ => 5,
    }
}

/// Enough of a log to see what went wrong.
fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    let from = lines.len().saturating_sub(150);
    lines.into_iter().skip(from).collect::<Vec<_>>().join("\n")
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if !self.passed {
            self.tell();
            if std::env::var_os("FLEETBAL_TEST_KEEP").is_some() {
                self.dir.disable_cleanup(true);
                eprintln!("---- kept in {}", self.dir.path().display());
            }
        }
    }
}
