//! Steady traffic over keep-alive connections that forgives nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::client::Http;
use crate::{Result, wait};

/// Between two requests of a connection at least, so that the load leaves a small machine its breath. It is three times what the
/// last one took where that is longer: a slow machine is not loaded beyond what it does.
const PACE: Duration = Duration::from_millis(2);

/// The load stands for other machines: it must not take the processor time of the nodes.
const NICE: i32 = 10;

/// What the traffic is like.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Connections that are kept for as long as the responses allow.
    pub kept: usize,
    /// Clients that open a connection for each request.
    pub fresh: usize,
    /// What all of them ask for.
    pub target: String,
}

/// Traffic at one address.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    address: SocketAddr,
    target: String,
    retries: bool,
    done: AtomicU64,
    report: Mutex<Report>,
}

/// What became of the requests.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// How many were answered well.
    pub answered: u64,
    /// What they were answered: body and how often.
    pub bodies: BTreeMap<String, u64>,
    /// Each one that failed, and why.
    pub failures: Vec<String>,
    /// The same, without where and when: each reason and how often.
    pub kinds: BTreeMap<String, u64>,
    /// The longest time that one took.
    pub slowest: Duration,
    /// How many were sent once more, since their connection was cut.
    pub retried: u64,
}

impl Report {
    /// Says no where a request failed or was refused.
    ///
    /// # Errors
    /// What failed.
    pub fn expect_flawless(&self) -> Result<()> {
        let first: Vec<_> = self.failures.iter().take(5).collect();
        ensure!(
            self.failures.is_empty(),
            "{} of {} requests failed, by kind {:?}, the first ones {first:?}",
            self.failures.len(),
            self.answered + self.failures.len() as u64,
            self.kinds
        );
        ensure!(self.answered > 0, "no request was sent");
        Ok(())
    }
}

impl Load {
    /// Starts it over so many connections, and waits until each was answered once.
    ///
    /// # Errors
    /// When nothing is answered.
    pub fn start(address: SocketAddr, connections: usize) -> Result<Self> {
        let shape = Shape {
            kept: connections,
            fresh: 0,
            target: "/load".to_owned(),
        };
        Self::of(address, &shape)
    }

    /// Starts it in that shape, and waits until so many requests were answered as there are clients.
    ///
    /// # Errors
    /// When nothing is answered.
    pub fn of(address: SocketAddr, shape: &Shape) -> Result<Self> {
        Self::with(address, shape, false)
    }

    /// The same, of clients that send a request once more where its connection was cut or could not be had.
    ///
    /// # Errors
    /// When nothing is answered.
    pub fn that_retries_once(address: SocketAddr, shape: &Shape) -> Result<Self> {
        Self::with(address, shape, true)
    }

    fn with(address: SocketAddr, shape: &Shape, retries: bool) -> Result<Self> {
        let mut load = Self {
            stop: Arc::default(),
            shared: Arc::new(Shared {
                address,
                target: shape.target.clone(),
                retries,
                done: AtomicU64::new(0),
                report: Mutex::default(),
            }),
            threads: Vec::new(),
        };
        for number in 0..shape.kept + shape.fresh {
            let (stop, shared) = (Arc::clone(&load.stop), Arc::clone(&load.shared));
            let keeps = number < shape.kept;
            load.threads
                .push(thread::spawn(move || drive(&stop, &shared, keeps)));
        }
        load.pass(load.threads.len() as u64)?;
        Ok(load)
    }

    /// How many requests ended, well or not.
    pub fn done(&self) -> u64 {
        self.shared.done.load(Ordering::SeqCst)
    }

    /// Waits until so many more have ended.
    ///
    /// # Errors
    /// When they do not.
    pub fn pass(&self, more: u64) -> Result<()> {
        self.reach(self.done() + more, wait::PATIENCE)
    }

    /// Waits until so many have ended since the start.
    ///
    /// # Errors
    /// When they do not within that time.
    pub fn reach(&self, goal: u64, within: Duration) -> Result<()> {
        wait::for_true(
            format!("{goal} requests at {}", self.shared.address),
            within,
            || Ok(self.done() >= goal),
        )
    }

    /// What became of the requests so far, without an end.
    pub fn so_far(&self) -> Report {
        self.shared
            .report
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Ends it: each connection after its request.
    pub fn finish(mut self) -> Report {
        self.end();
        self.so_far()
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.end();
    }
}

fn drive(stop: &AtomicBool, shared: &Shared, keeps: bool) {
    // Linux has a nice level for each thread. Where it cannot be had, the load is as it was.
    rustix::process::setpriority_process(None, NICE).unwrap_or_default();
    let mut connection = None;
    while !stop.load(Ordering::SeqCst) {
        let start = Instant::now();
        let mut outcome = one_request(&mut connection, shared);
        let retries = shared.retries && outcome.is_err();
        if retries {
            connection = None;
            outcome = one_request(&mut connection, shared);
        }
        if !keeps {
            connection = None;
        }
        let took = start.elapsed();
        {
            let mut report = shared.report.lock().unwrap_or_else(PoisonError::into_inner);
            report.slowest = report.slowest.max(took);
            report.retried += u64::from(retries);
            match outcome {
                Ok(body) => {
                    report.answered += 1;
                    *report.bodies.entry(body).or_default() += 1;
                }
                Err(error) => {
                    connection = None;
                    *report.kinds.entry(format!("{error:#}")).or_default() += 1;
                    report
                        .failures
                        .push(format!("{}: {error:#} (after {took:?})", shared.address));
                }
            }
        }
        shared.done.fetch_add(1, Ordering::SeqCst);
        thread::sleep(PACE.max(took * 3));
    }
}

/// One request; the connection is kept unless the response says that it closes. Being closed without that word is a
/// failure: a client cannot tell such a request from a lost one.
fn one_request(connection: &mut Option<Http>, shared: &Shared) -> Result<String> {
    let mut http = match connection.take() {
        Some(open) => open,
        None => Http::connect(shared.address)?,
    };
    let response = http.request("GET", &shared.target, b"")?;
    ensure!(response.status()? == 200, "answered '{}'", response.start);
    if !response.closes() {
        *connection = Some(http);
    }
    Ok(response.text())
}
