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

/// Between two requests of a connection, so that the load leaves a small machine its breath.
const PACE: Duration = Duration::from_millis(2);

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
    /// The longest time that one took.
    pub slowest: Duration,
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
            "{} of {} requests failed: {first:?}",
            self.failures.len(),
            self.answered + self.failures.len() as u64
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
        let load = Self {
            stop: Arc::default(),
            shared: Arc::new(Shared {
                address,
                done: AtomicU64::new(0),
                report: Mutex::default(),
            }),
            threads: Vec::new(),
        };
        let load = load.with_threads(connections);
        load.pass(connections as u64)?;
        Ok(load)
    }

    fn with_threads(mut self, connections: usize) -> Self {
        for _ in 0..connections {
            let (stop, shared) = (Arc::clone(&self.stop), Arc::clone(&self.shared));
            self.threads.push(thread::spawn(move || drive(&stop, &shared)));
        }
        self
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
        let goal = self.done() + more;
        wait::for_true(
            format!("{more} more requests at {}", self.shared.address),
            wait::PATIENCE,
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

fn drive(stop: &AtomicBool, shared: &Shared) {
    let mut connection = None;
    while !stop.load(Ordering::SeqCst) {
        let start = Instant::now();
        let outcome = one_request(&mut connection, shared.address);
        let took = start.elapsed();
        {
            let mut report = shared.report.lock().unwrap_or_else(PoisonError::into_inner);
            report.slowest = report.slowest.max(took);
            match outcome {
                Ok(body) => {
                    report.answered += 1;
                    *report.bodies.entry(body).or_default() += 1;
                }
                Err(error) => {
                    connection = None;
                    report
                        .failures
                        .push(format!("{}: {error:#} (after {took:?})", shared.address));
                }
            }
        }
        shared.done.fetch_add(1, Ordering::SeqCst);
        thread::sleep(PACE);
    }
}

/// One request; the connection is kept unless the response says that it closes. Being closed without that word is a
/// failure: a client cannot tell such a request from a lost one.
fn one_request(connection: &mut Option<Http>, address: SocketAddr) -> Result<String> {
    let mut http = match connection.take() {
        Some(open) => open,
        None => Http::connect(address)?,
    };
    let response = http.request("GET", "/load", b"")?;
    ensure!(response.status()? == 200, "answered '{}'", response.start);
    if !response.closes() {
        *connection = Some(http);
    }
    Ok(response.text())
}
