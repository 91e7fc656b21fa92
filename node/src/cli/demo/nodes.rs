//! The demo's nodes: processes of this same binary.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::process::{Child, Command};

use super::DemoError;
use super::client::{self, Reply};
use super::place::Place;

/// How long a killed node stays away.
pub(super) const AWAY: Duration = Duration::from_secs(15);

/// How long a step may take before the demo gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// How long a node may drain before it is killed.
const DRAIN: Duration = Duration::from_secs(5);

/// Lines of a node's log that an error shows.
const LOG_LINES: usize = 20;

/// Requests that tell who serves a node's traffic.
const SAMPLE: usize = 24;

#[derive(Debug, Default)]
struct Slot {
    child: Option<Child>,
    ended: Option<Instant>,
}

/// What became of a node that was running a moment ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Ended,
    StartedAgain,
}

/// All nodes, those that ended included.
#[derive(Debug)]
pub(super) struct Nodes<'a> {
    place: &'a Place,
    slots: Vec<Slot>,
}

impl<'a> Nodes<'a> {
    pub(super) fn new(place: &'a Place) -> Self {
        let slots = (0..place.nodes).map(|_| Slot::default()).collect();
        Self { place, slots }
    }

    pub(super) fn count(&self) -> u8 {
        self.place.nodes
    }

    pub(super) fn traffic(&self, number: u8) -> SocketAddr {
        (ip(number), self.place.traffic).into()
    }

    pub(super) fn management(&self, number: u8) -> SocketAddr {
        (ip(number), self.place.management).into()
    }

    pub(super) fn pid(&self, number: u8) -> Option<u32> {
        self.slot(number)?.child.as_ref()?.id()
    }

    fn slot(&self, number: u8) -> Option<&Slot> {
        self.slots.get(usize::from(number).checked_sub(1)?)
    }

    /// Founds the fleet with the first node, and waits until it takes commands.
    pub(super) async fn found(&mut self) -> Result<Duration, DemoError> {
        let start = Instant::now();
        let path = self.place.dir().join("fleet.conf");
        let write = DemoError::system(format!("write {}", path.display()));
        fs::write(&path, self.config()).map_err(write)?;
        let path = path.display().to_string();
        self.spawn(1, &["--init", "--cluster", "demo", "--config", &path])?;
        self.wait_answers(1).await?;
        Ok(start.elapsed())
    }

    fn config(&self) -> String {
        let adds = self.place.backends.iter().fold(String::new(), |text, backend| {
            text + &format!("POOL web ADD {backend}\n")
        });
        format!(
            "CREATE POOL web\nSET balance_method = round_robin\n{adds}CREATE SERVICE www\nSET role = reverse_proxy\n\
             SET listen = ${{node:ip}}:{}\nSET pool = web\nSET persist_client = on\nSET persist_backend = on\n\
             ENABLE www\n",
            self.place.traffic
        )
    }

    pub(super) async fn token(&self) -> Result<String, DemoError> {
        let line = "cluster token";
        let lines = self.ask(1, line).await?;
        let mut words = lines.iter().flat_map(|line| line.split_whitespace());
        let token = words.find(|word| word.starts_with("fleetbal1."));
        token.map(str::to_owned).ok_or_else(|| DemoError::Refused {
            line: line.to_owned(),
            answer: lines.join(" "),
        })
    }

    /// Starts a node that joins the first, and waits until it takes commands.
    pub(super) async fn join(&mut self, number: u8, token: &str) -> Result<Duration, DemoError> {
        let start = Instant::now();
        let path = self.place.dir().join("token");
        let write = DemoError::system(format!("write {}", path.display()));
        fs::write(&path, token).map_err(write)?;
        let first = SocketAddr::from((ip(1), self.place.cluster)).to_string();
        let path = path.display().to_string();
        self.spawn(number, &["--join", &first, "--token-file", &path])?;
        self.wait_answers(number).await?;
        Ok(start.elapsed())
    }

    fn spawn(&mut self, number: u8, extra: &[&str]) -> Result<(), DemoError> {
        let what = DemoError::system(format!("start n{number}"));
        let child = self.start_process(number, extra).map_err(what)?;
        let index = usize::from(number).saturating_sub(1);
        if let Some(slot) = self.slots.get_mut(index) {
            slot.child = Some(child);
            slot.ended = None;
        }
        Ok(())
    }

    fn start_process(&self, number: u8, extra: &[&str]) -> std::io::Result<Child> {
        let cluster = SocketAddr::from((ip(number), self.place.cluster)).to_string();
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path(number))?;
        let mut command = Command::new(std::env::current_exe()?);
        // What is set for a node of the user's own is not meant for these.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("FLEETBAL_") {
                command.env_remove(name);
            }
        }
        command
            .args(["--node", &format!("n{number}"), "--workers", "1"])
            .arg("--data-dir")
            .arg(self.place.dir().join(format!("n{number}")))
            .args(["--cluster-listen", &cluster, "--advertise", &cluster])
            .args(["--management", &self.management(number).to_string()])
            .args(extra)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A group of its own: Ctrl-C is for the demo, which ends the nodes in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }

    fn log_path(&self, number: u8) -> PathBuf {
        self.place.dir().join(format!("n{number}.log"))
    }

    fn log_end(&self, number: u8) -> String {
        let bytes = fs::read(self.log_path(number)).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().rev().take(LOG_LINES).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    async fn wait_answers(&mut self, number: u8) -> Result<(), DemoError> {
        let management = self.management(number);
        let start = Instant::now();
        loop {
            self.check_running(number)?;
            let last = match client::ask(management, "uptime").await {
                Ok(Reply::Fine(_)) => return Ok(()),
                Ok(Reply::Error(line)) => line,
                Err(error) => error.to_string(),
            };
            self.pause(start, number, &format!("the start of n{number}"), &last)
                .await?;
        }
    }

    fn check_running(&mut self, number: u8) -> Result<(), DemoError> {
        let index = usize::from(number).saturating_sub(1);
        let child = self.slots.get_mut(index).and_then(|slot| slot.child.as_mut());
        let ended = child.is_none_or(|child| !matches!(child.try_wait(), Ok(None)));
        if ended {
            return Err(DemoError::NodeEnded {
                name: format!("n{number}"),
                log: self.log_end(number),
            });
        }
        Ok(())
    }

    /// Between two looks; an error once patience is over.
    async fn pause(&self, start: Instant, number: u8, what: &str, last: &str) -> Result<(), DemoError> {
        if start.elapsed() > PATIENCE {
            return Err(DemoError::TooLong {
                what: what.to_owned(),
                last: last.to_owned(),
                log: self.log_end(number),
            });
        }
        tokio::time::sleep(LOOK).await;
        Ok(())
    }

    /// Waits until every node is a voter (or the leader), and ready.
    pub(super) async fn wait_voters(&self) -> Result<Duration, DemoError> {
        let start = Instant::now();
        for number in 1..=self.count() {
            loop {
                let last = match self.status(number).await {
                    Some(status) if self.is_complete(&status) => break,
                    Some(status) => status.to_string(),
                    None => "no answer".to_owned(),
                };
                let what = format!("n{number} seeing a complete fleet");
                self.pause(start, number, &what, &last).await?;
            }
        }
        Ok(start.elapsed())
    }

    fn is_complete(&self, status: &Value) -> bool {
        let nodes = status.get("nodes").and_then(Value::as_array);
        nodes.is_some_and(|nodes| {
            nodes.len() == usize::from(self.count())
                && nodes.iter().all(|node| {
                    let votes = matches!(node.get("role").and_then(Value::as_str), Some("leader" | "voter"));
                    votes && node.get("ready").and_then(Value::as_bool) == Some(true)
                })
        })
    }

    /// `cluster status json` of a node, where it answers.
    pub(super) async fn status(&self, number: u8) -> Option<Value> {
        let reply = client::ask(self.management(number), "cluster status json").await;
        let Ok(Reply::Fine(lines)) = reply else {
            return None;
        };
        serde_json::from_str(lines.first()?).ok()
    }

    /// The leader and its process, or the first node where there is none.
    pub(super) async fn leader_or_first(&self) -> (String, u32) {
        let mut leader = None;
        for number in 1..=self.count() {
            if let Some(status) = self.status(number).await {
                leader = status.get("leader").and_then(Value::as_str).map(str::to_owned);
                break;
            }
        }
        let mut numbers = 1..=self.count();
        let number = numbers
            .find(|number| leader.as_deref() == Some(&format!("n{number}")))
            .unwrap_or(1);
        (format!("n{number}"), self.pid(number).unwrap_or_default())
    }

    /// Types a command that must not be refused.
    pub(super) async fn ask(&self, number: u8, line: &str) -> Result<Vec<String>, DemoError> {
        let reply = client::ask(self.management(number), line).await;
        match reply.map_err(DemoError::system(format!("type '{line}' at n{number}")))? {
            Reply::Fine(lines) => Ok(lines),
            Reply::Error(answer) => Err(DemoError::Refused {
                line: line.to_owned(),
                answer,
            }),
        }
    }

    /// Waits until a node's traffic goes to exactly these backends.
    pub(super) async fn wait_served_by(
        &self,
        number: u8,
        expected: &[String],
    ) -> Result<Vec<String>, DemoError> {
        let start = Instant::now();
        loop {
            let served = self.served_by(number).await;
            if served == expected {
                return Ok(served);
            }
            let what = format!("n{number} balancing over {}", expected.join(", "));
            let last = format!("it balances over {}", served.join(", "));
            self.pause(start, number, &what, &last).await?;
        }
    }

    async fn served_by(&self, number: u8) -> Vec<String> {
        let mut names = BTreeSet::new();
        for _ in 0..SAMPLE {
            let name = match client::get(self.traffic(number), "/").await {
                Ok((200, name)) => name,
                Ok((status, _)) => format!("an answer of {status}"),
                Err(error) => error.to_string(),
            };
            names.insert(name);
        }
        names.into_iter().collect()
    }

    /// Sees who ended since the last look, and starts those again that were away long enough.
    pub(super) fn tend(&mut self) -> Result<Vec<(u8, Fate)>, DemoError> {
        let mut fates = Vec::new();
        let mut due = Vec::new();
        for (number, slot) in (1..).zip(&mut self.slots) {
            if let Some(child) = &mut slot.child
                && !matches!(child.try_wait(), Ok(None))
            {
                slot.child = None;
                slot.ended = Some(Instant::now());
                fates.push((number, Fate::Ended));
            }
            if slot.ended.is_some_and(|ended| ended.elapsed() >= AWAY) {
                due.push(number);
            }
        }
        for number in due {
            self.spawn(number, &[])?;
            fates.push((number, Fate::StartedAgain));
        }
        Ok(fates)
    }

    /// Asks all nodes to end, waits, and kills those that take too long.
    pub(super) async fn end(&mut self) {
        for number in 1..=self.count() {
            if let Some(pid) = self.pid(number).and_then(|pid| i32::try_from(pid).ok()) {
                // One that is gone already needs no signal.
                let _gone = kill(Pid::from_raw(pid), Signal::SIGTERM);
            }
        }
        let deadline = tokio::time::Instant::now() + DRAIN;
        for slot in &mut self.slots {
            if let Some(mut child) = slot.child.take()
                && tokio::time::timeout_at(deadline, child.wait()).await.is_err()
            {
                drop(child.kill().await);
            }
        }
    }
}

fn ip(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, number)
}
