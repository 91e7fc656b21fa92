//! Who types changes and fresh reads at any node while things break, and who looks at what the nodes say of themselves.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context;
use fleetbal_cluster_tests::oracle::Status;
use fleetbal_cluster_tests::{Manage, Reply, Result};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::journal::{Journal, Operation, Outcome, register_name};

/// Between two operations of a typist.
const PACE: Duration = Duration::from_millis(20);

/// Registers that are in use at a time.
const IN_USE: u64 = 3;

/// All of them; they end when told to.
pub(super) struct Typists {
    stop: Arc<AtomicBool>,
    /// The first register in use: an older one is left alone.
    first: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Typists {
    pub(super) fn start(
        count: usize,
        seed: u64,
        nodes: &[SocketAddr],
        journal: &Journal,
        registers: u64,
    ) -> Self {
        let (stop, first) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let mut threads = Vec::new();
        for number in 0..count {
            let mut typist = Typist {
                number,
                nodes: nodes.to_vec(),
                at: number % nodes.len(),
                open: BTreeMap::new(),
                rng: StdRng::seed_from_u64(seed.wrapping_add(1 + number as u64)),
                journal: journal.clone(),
                asked: 0,
                registers,
            };
            let (stop, first) = (Arc::clone(&stop), Arc::clone(&first));
            threads.push(thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    typist.ask(first.load(Ordering::SeqCst));
                    thread::sleep(PACE);
                }
            }));
        }
        let (nodes, journal, ends) = (nodes.to_vec(), journal.clone(), Arc::clone(&stop));
        threads.push(thread::spawn(move || watch(&nodes, &journal, &ends)));
        Self { stop, first, threads }
    }

    /// So much of the time is over, of a whole of 1: other registers are in use from now on.
    pub(super) fn use_registers_from(&self, first: u64) {
        self.first.store(first, Ordering::SeqCst);
    }

    /// Waits until each has ended what it began.
    pub(super) fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            drop(thread.join());
        }
    }
}

struct Typist {
    number: usize,
    nodes: Vec<SocketAddr>,
    at: usize,
    open: BTreeMap<usize, Manage>,
    rng: StdRng,
    journal: Journal,
    asked: u64,
    registers: u64,
}

impl Typist {
    /// One operation at a node that can be reached; nothing where it cannot.
    fn ask(&mut self, first: u64) {
        if self.rng.random_ratio(1, 3) {
            self.at = self.rng.random_range(0..self.nodes.len());
        }
        let Some(mut manage) = self.connection() else {
            self.at = (self.at + 1) % self.nodes.len();
            return;
        };
        self.asked += 1;
        let own = format!("t{}x{}", self.number, self.asked);
        let register = (first + self.rng.random_range(0..IN_USE)).min(self.registers - 1);
        let operation = match self.rng.random_range(0..3) {
            0 => Operation::Create(own),
            1 => Operation::Write { register, value: own },
            _ => Operation::Read { register },
        };
        let which = self.journal.call(operation.clone());
        match carry_out(&mut manage, &operation) {
            Ok(outcome) => {
                self.journal.end(which, outcome);
                self.open.insert(self.at, manage);
            }
            // The connection is gone, and with it whoever knew.
            Err(_) => self.journal.end(which, Outcome::Unknown { request: None }),
        }
    }

    fn connection(&mut self) -> Option<Manage> {
        match self.open.remove(&self.at) {
            Some(open) => Some(open),
            None => Manage::connect(*self.nodes.get(self.at)?).ok(),
        }
    }
}

fn carry_out(manage: &mut Manage, operation: &Operation) -> Result<Outcome> {
    let line = match operation {
        Operation::Create(name) => format!("CREATE POOL {name}"),
        Operation::Write { register, value } => {
            format!("SET {}.health_host = {value}", register_name(*register))
        }
        Operation::Read { .. } => "sync".to_owned(),
    };
    match manage.ask(&line)? {
        Reply::Error(text) => return Ok(refusal(text)),
        Reply::Data(lines) => anyhow::bail!("'{line}' was answered {lines:?}"),
        Reply::Ok => {}
    }
    let Operation::Read { register } = operation else {
        return Ok(Outcome::Done);
    };
    let dump = manage.data("dumpconfig")?;
    Ok(Outcome::Value(value_in(&dump, *register)))
}

fn refusal(text: String) -> Outcome {
    // It counts, and the node that says so does not balance by it yet.
    if text.starts_with("applied as version ") {
        return Outcome::Done;
    }
    match text.strip_prefix("outcome unknown (request ") {
        Some(id) => Outcome::Unknown {
            request: Some(id.trim_end_matches(')').to_owned()),
        },
        None => Outcome::Refused(text),
    }
}

/// What a register holds in a dump, where a pool's settings follow its name.
fn value_in(dump: &[String], register: u64) -> Option<String> {
    let begin = format!("CREATE POOL {}", register_name(register));
    let behind = dump.iter().skip_while(|line| line.trim() != begin).skip(1);
    behind
        .take_while(|line| !line.trim().starts_with("CREATE"))
        .find_map(|line| Some(line.trim().strip_prefix("SET health_host = ")?.to_owned()))
}

/// Looks at all nodes again and again: at one version they have one hash.
fn watch(nodes: &[SocketAddr], journal: &Journal, stop: &AtomicBool) {
    let mut known: BTreeMap<u64, (String, String)> = BTreeMap::new();
    while !stop.load(Ordering::SeqCst) {
        for &address in nodes {
            // Whoever is down says nothing wrong.
            let Ok((node, version, hash)) = own_standing(address) else {
                continue;
            };
            let (first, known) = known
                .entry(version)
                .or_insert_with(|| (node.clone(), hash.clone()));
            if *known != hash {
                journal.differ(format!("at version {version} {first} has {known}, {node} {hash}"));
            }
        }
        thread::sleep(PACE);
    }
}

fn own_standing(address: SocketAddr) -> Result<(String, u64, String)> {
    let lines = Manage::connect(address)?.data("cluster status json")?;
    let status = Status::parse(lines.first().context("no line")?)?;
    let own = status
        .json
        .get("self")
        .and_then(|own| own.as_str())
        .context("no self")?;
    let version = status.node(own, "version")?.as_u64().context("no version")?;
    Ok((own.to_owned(), version, status.node_text(own, "hash")?.to_owned()))
}
