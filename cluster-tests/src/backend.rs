//! Sample backends: they answer their own name, remember what they were asked, and can be taken away.

use std::collections::BTreeMap;
use std::io::{BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::message::{Kind, Message};
use crate::{Result, wait};

/// Requests that a backend remembers, the first ones.
const REMEMBERED: usize = 1000;

/// Numbers of connections: no two of this process are the same, so that one of a backend's former life takes away none of
/// its next one.
static NUMBERS: AtomicUsize = AtomicUsize::new(0);

/// A backend. `GET /anything` answers its name; `/size/N` N bytes; `/slow/MS` its name after that long; `/echo` the
/// request's body; `/status/CODE` that status; `/hangup` closes the connection instead of an answer.
#[derive(Debug)]
pub struct Backend {
    name: String,
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    stopped: AtomicBool,
    count: AtomicU64,
    /// Whether it answers what verifies connections, and fails all other requests.
    fails: AtomicBool,
    /// Milliseconds that every answer takes.
    delay: AtomicU64,
    requests: Mutex<Vec<Message>>,
    arrivals: Mutex<Vec<Instant>>,
    /// Connections accepted since it last started.
    accepted: AtomicUsize,
    /// Those that are open, by their number.
    connections: Mutex<BTreeMap<usize, TcpStream>>,
}

impl Backend {
    /// Starts one.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub fn start(name: &str, address: SocketAddr) -> Result<Self> {
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            stopped: AtomicBool::new(false),
            count: AtomicU64::new(0),
            fails: AtomicBool::new(false),
            delay: AtomicU64::new(0),
            requests: Mutex::default(),
            arrivals: Mutex::default(),
            accepted: AtomicUsize::new(0),
            connections: Mutex::default(),
        });
        let mut backend = Self {
            name: name.to_owned(),
            address,
            shared,
            accepting: None,
        };
        backend.restart()?;
        Ok(backend)
    }

    /// Its name, which is also what it answers.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests it got.
    pub fn count(&self) -> u64 {
        self.shared.count.load(Ordering::SeqCst)
    }

    /// How many connections it accepted since it last started.
    pub fn connections(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// How many of them are open.
    pub fn open(&self) -> usize {
        lock(&self.shared.connections).len()
    }

    /// The first requests that it got.
    pub fn requests(&self) -> Vec<Message> {
        lock(&self.shared.requests).clone()
    }

    /// When the first requests came.
    pub fn arrivals(&self) -> Vec<Instant> {
        lock(&self.shared.arrivals).clone()
    }

    /// From now on it answers what verifies connections, and every other request with 500; or not any more.
    pub fn fail_requests(&self, fails: bool) {
        self.shared.fails.store(fails, Ordering::SeqCst);
    }

    /// From now on every answer takes so long.
    pub fn delay(&self, time: Duration) {
        let millis = time.as_millis().try_into().unwrap_or(u64::MAX);
        self.shared.delay.store(millis, Ordering::SeqCst);
    }

    /// Listens again after a [`Self::stop`].
    ///
    /// # Errors
    /// When the address cannot be had any more.
    pub fn restart(&mut self) -> Result<()> {
        self.stop();
        // Connections of the last life may still be closing.
        let address = self.address;
        let listener = wait::until(format!("{address} to be free"), wait::PATIENCE, || {
            Ok(Some(TcpListener::bind(address)?))
        })?;
        self.shared.stopped.store(false, Ordering::SeqCst);
        self.shared.accepted.store(0, Ordering::SeqCst);
        let shared = Arc::clone(&self.shared);
        self.accepting = Some(thread::spawn(move || accept(&listener, &shared)));
        Ok(())
    }

    /// Closes the listener and every connection.
    pub fn stop(&mut self) {
        let Some(accepting) = self.accepting.take() else {
            return;
        };
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the accepting thread; where that fails, it is awake already.
        drop(TcpStream::connect_timeout(&self.address, Duration::from_secs(1)));
        drop(accepting.join());
        for connection in std::mem::take(&mut *lock(&self.shared.connections)).into_values() {
            drop(connection.shutdown(Shutdown::Both));
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stop();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let number = NUMBERS.fetch_add(1, Ordering::SeqCst);
        shared.accepted.fetch_add(1, Ordering::SeqCst);
        if let Ok(kept) = stream.try_clone() {
            lock(&shared.connections).insert(number, kept);
        }
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            // A client that goes away is no matter for a backend.
            drop(serve(stream, &shared));
            lock(&shared.connections).remove(&number);
        });
    }
}

fn serve(stream: TcpStream, shared: &Shared) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = Message::read(&mut reader, Kind::Request)? {
        shared.count.fetch_add(1, Ordering::SeqCst);
        if request.start.contains(" /hangup ") {
            // Nothing is answered: the request was taken, and nobody will ever know what became of it.
            return Ok(writer.shutdown(Shutdown::Both)?);
        }
        let answer = answer(&request, shared)?;
        let stays = if request.start.ends_with("HTTP/1.0") {
            request
                .header("connection")
                .is_some_and(|value| value.eq_ignore_ascii_case("keep-alive"))
        } else {
            !request.closes()
        };
        {
            let mut requests = lock(&shared.requests);
            if requests.len() < REMEMBERED {
                requests.push(request);
                lock(&shared.arrivals).push(Instant::now());
            }
        }
        writer.write_all(&answer)?;
        if !stays {
            writer.shutdown(Shutdown::Both)?;
            break;
        }
    }
    Ok(())
}

fn answer(request: &Message, shared: &Shared) -> Result<Vec<u8>> {
    let mut words = request.start.split(' ');
    let method = words.next().unwrap_or_default();
    let target = words.next().context("a request without a target")?;
    let mut parts = target.trim_start_matches('/').split('/');
    let (what, argument) = (parts.next().unwrap_or_default(), parts.next().unwrap_or("0"));
    let mut status = 200;
    let body = match what {
        "size" => vec![b'x'; argument.parse()?],
        "echo" => request.body.clone(),
        "slow" => {
            thread::sleep(Duration::from_millis(argument.parse()?));
            shared.name.clone().into_bytes()
        }
        "status" => {
            status = argument.parse()?;
            shared.name.clone().into_bytes()
        }
        _ => shared.name.clone().into_bytes(),
    };
    thread::sleep(Duration::from_millis(shared.delay.load(Ordering::SeqCst)));
    if shared.fails.load(Ordering::SeqCst) && method != "OPTIONS" {
        status = 500;
    }
    let mut answer = format!(
        "HTTP/1.1 {status} Fine\r\nX-Backend: {}\r\nContent-Length: {}\r\n\r\n",
        shared.name,
        body.len()
    )
    .into_bytes();
    if method != "HEAD" {
        answer.extend(body);
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{client, ports::Net};

    #[test]
    fn goes_and_comes_back_on_the_same_address() {
        let net = Net::claim().unwrap();
        let mut backend = Backend::start("b1", net.backend(1)).unwrap();
        assert_eq!(client::get(backend.address(), "/").unwrap().text(), "b1");
        backend.stop();
        assert!(client::get(backend.address(), "/").is_err());
        backend.restart().unwrap();
        assert_eq!(client::get(backend.address(), "/size/9").unwrap().body.len(), 9);
        assert_eq!(backend.count(), 2);
        assert_eq!(backend.requests().len(), 2);
    }

    #[test]
    fn keeps_no_connection_that_is_over() {
        let net = Net::claim().unwrap();
        let backend = Backend::start("b1", net.backend(1)).unwrap();
        let kept = TcpStream::connect(backend.address()).unwrap();
        for _ in 0..5 {
            client::get(backend.address(), "/").unwrap();
        }
        wait::for_true("the others to go", wait::PATIENCE, || Ok(backend.open() == 1)).unwrap();
        assert_eq!(backend.connections(), 6);
        drop(kept);
        wait::for_true("the last one to go", wait::PATIENCE, || Ok(backend.open() == 0)).unwrap();
    }
}
