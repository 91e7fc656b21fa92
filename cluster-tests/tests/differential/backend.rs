//! A backend that records what it gets and answers by a script.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use fleetbal_cluster_tests::Result;

use super::corpus::{Act, Answer, Script};
use super::text::{self, Places};
use super::transcript::{Message, Request};

/// How long anything that an exchange waits for may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// What all backends of an exchange have seen on one side.
#[derive(Debug, Default)]
struct Seen {
    requests: Vec<Request>,
    /// Those among them that came whole.
    complete: usize,
    released: usize,
    held: usize,
    streams: Vec<TcpStream>,
    stopped: bool,
}

/// The record that all backends of an exchange share on one side.
#[derive(Debug, Clone, Default)]
pub(crate) struct Record {
    seen: Arc<(Mutex<Seen>, Condvar)>,
}

impl Record {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Seen) -> T) -> T {
        let changed = change(&mut self.lock());
        self.seen.1.notify_all();
        changed
    }

    fn wait(&self, what: &str, mut done: impl FnMut(&Seen) -> bool) -> Result {
        let until = Instant::now() + PATIENCE;
        let mut seen = self.lock();
        while !done(&seen) {
            let left = until.saturating_duration_since(Instant::now());
            ensure!(!left.is_zero(), "waited {PATIENCE:?} for {what}");
            let woken = self.seen.1.wait_timeout(seen, left);
            seen = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    /// Waits until so many requests are there, whole.
    ///
    /// # Errors
    /// When they do not come.
    pub(crate) fn wait_requests(&self, count: usize) -> Result {
        self.wait(&format!("{count} requests at the backends"), |seen| {
            seen.complete >= count || seen.stopped
        })
    }

    /// Waits until so many connections are there, or were.
    ///
    /// # Errors
    /// When they do not come.
    pub(crate) fn wait_opened(&self, count: usize) -> Result {
        self.wait(&format!("{count} connections to the backends"), |seen| {
            seen.streams.len() >= count || seen.stopped
        })
    }

    /// How many connections there were.
    pub(crate) fn opened(&self) -> usize {
        self.lock().streams.len()
    }

    /// Lets one `hold` end.
    pub(crate) fn release(&self) {
        self.change(|seen| seen.released += 1);
    }

    /// All requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.lock().requests.clone()
    }

    fn hold(&self) -> Result {
        let number = self.change(|seen| {
            seen.held += 1;
            seen.held
        });
        self.wait("a release", |seen| seen.released >= number || seen.stopped)
    }
}

/// A place of a backend, taken before it plays.
#[derive(Debug)]
pub(crate) struct Place {
    /// None where nobody listens yet.
    listener: Option<TcpListener>,
    /// Where it is.
    pub(crate) address: SocketAddr,
}

impl Place {
    /// Takes a free port.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn take(address: Ipv4Addr) -> Result<Self> {
        let listener = TcpListener::bind((address, 0))?;
        let address = listener.local_addr()?;
        Ok(Self {
            listener: Some(listener),
            address,
        })
    }

    /// One where nobody listens before its backend plays.
    pub(crate) fn late(address: SocketAddr) -> Self {
        Self {
            listener: None,
            address,
        }
    }

    fn listener(&self) -> Result<TcpListener> {
        let listener = self.listener.as_ref().map(TcpListener::try_clone);
        Ok(listener.unwrap_or_else(|| TcpListener::bind(self.address))?)
    }
}

/// A backend that plays.
#[derive(Debug)]
pub(crate) struct Playing {
    address: SocketAddr,
    record: Record,
    thread: Option<JoinHandle<()>>,
}

/// What a backend plays.
#[derive(Debug, Clone)]
struct Player {
    number: usize,
    script: Arc<Script>,
    places: Arc<Places>,
    record: Record,
}

impl Playing {
    /// Begins.
    ///
    /// # Errors
    /// When the listener cannot be shared.
    pub(crate) fn start(
        place: &Place,
        number: usize,
        script: &Script,
        places: &Arc<Places>,
        record: &Record,
    ) -> Result<Self> {
        let listener = place.listener()?;
        let player = Player {
            number,
            script: Arc::new(script.clone()),
            places: Arc::clone(places),
            record: record.clone(),
        };
        let thread = thread::spawn(move || player.accept(&listener));
        Ok(Self {
            address: place.address,
            record: record.clone(),
            thread: Some(thread),
        })
    }
}

impl Drop for Playing {
    fn drop(&mut self) {
        self.record.change(|seen| {
            seen.stopped = true;
            for stream in &seen.streams {
                drop(stream.shutdown(Shutdown::Both));
            }
        });
        // The accepting thread looks up once more, and sees that it is over.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Player {
    fn accept(&self, listener: &TcpListener) {
        let mut threads = Vec::new();
        for stream in listener.incoming() {
            let Ok(stream) = stream else { break };
            let copy = stream.try_clone();
            let stopped = self.record.change(|seen| {
                seen.streams.extend(copy);
                seen.stopped
            });
            if stopped {
                break;
            }
            let player = self.clone();
            // What goes wrong on a connection shows in what was seen.
            if self.script.serial {
                drop(player.serve(stream));
            } else {
                threads.push(thread::spawn(move || drop(player.serve(stream))));
            }
        }
        for thread in threads {
            drop(thread.join());
        }
    }

    fn serve(&self, stream: TcpStream) -> Result {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut stream = stream;
        let mut connection = None;
        loop {
            let (head, whole) = read_head(&mut reader)?;
            if head.is_empty() {
                return Ok(());
            }
            let message = Message::head(&text::shown(&head, &self.places));
            let probe = message.line.starts_with("OPTIONS ");
            let (at, number) = self.enter(message, &mut connection);
            if !whole {
                return Ok(());
            }
            let answer = self.answer(number, probe).context("no answer")?;
            if answer.early {
                self.play(answer, &mut stream)?;
            }
            let read = self.read_body(at, &mut reader);
            self.record.change(|seen| seen.complete += 1);
            read?;
            if !answer.early {
                self.play(answer, &mut stream)?;
            }
        }
    }

    /// Records a head; where it stands in the record, and which request of this backend it is.
    fn enter(&self, message: Message, connection: &mut Option<usize>) -> (usize, usize) {
        self.record.change(|seen| {
            let earlier = seen.requests.iter().filter(|one| one.backend == self.number);
            let connections = earlier.clone().map(|one| one.connection).max().unwrap_or(0);
            let connection = *connection.get_or_insert(connections + 1);
            let probes =
                |one: &&Request| one.message.line.starts_with("OPTIONS ") && !self.script.probes.is_empty();
            let is_probe = message.line.starts_with("OPTIONS ") && !self.script.probes.is_empty();
            let number = earlier.filter(|one| probes(one) == is_probe).count();
            seen.requests.push(Request {
                backend: self.number,
                connection,
                message,
            });
            (seen.requests.len() - 1, number)
        })
    }

    fn answer(&self, number: usize, probe: bool) -> Option<&Answer> {
        let answers = if probe && !self.script.probes.is_empty() {
            &self.script.probes
        } else {
            &self.script.answers
        };
        answers.get(number).or(answers.last())
    }

    fn read_body(&self, at: usize, reader: &mut BufReader<TcpStream>) -> Result {
        let Some(message) = self.record.lock().requests.get(at).map(|one| one.message.clone()) else {
            return Ok(());
        };
        let (body, ended) = read_request_body(&message, reader);
        if !body.is_empty() || ended.is_err() {
            let mut shown = text::shown_body(&body, &self.places);
            if let Err(error) = &ended {
                shown = format!("{shown}, then {error}");
            }
            self.record.change(|seen| {
                if let Some(request) = seen.requests.get_mut(at) {
                    request.message.body = shown;
                }
            });
        }
        ended
    }

    fn play(&self, answer: &Answer, stream: &mut TcpStream) -> Result {
        for act in &answer.acts {
            match act {
                Act::Send(bytes) => stream.write_all(&text::bytes(bytes, &self.places)?)?,
                Act::Pause(millis) => thread::sleep(Duration::from_millis(*millis)),
                Act::Hold => self.record.hold()?,
                Act::Shut => stream.shutdown(Shutdown::Write)?,
                Act::Close => {
                    stream.shutdown(Shutdown::Both)?;
                    anyhow::bail!("closed as the script says");
                }
            }
        }
        Ok(())
    }
}

/// Reads to the empty line; whether it came.
fn read_head(reader: &mut BufReader<TcpStream>) -> Result<(Vec<u8>, bool)> {
    let mut head = Vec::new();
    loop {
        if reader.read_until(b'\n', &mut head)? == 0 {
            return Ok((head, false));
        }
        if head.ends_with(b"\r\n\r\n") {
            return Ok((head, true));
        }
    }
}

fn read_request_body(message: &Message, reader: &mut BufReader<TcpStream>) -> (Vec<u8>, Result) {
    if message.field("transfer-encoding").is_some() {
        let mut body = Vec::new();
        let read = read_chunks(reader, &mut body);
        return (body, read);
    }
    let length = message
        .field("content-length")
        .and_then(|value| value.trim().parse().ok());
    read_length(reader, length.unwrap_or(0))
}

/// Reads so many bytes, or those that come.
pub(crate) fn read_length(reader: &mut impl Read, length: u64) -> (Vec<u8>, Result) {
    let mut body = Vec::new();
    let read = reader.take(length).read_to_end(&mut body);
    let whole = body.len() as u64 == length;
    let ended = match read {
        Ok(_) if whole => Ok(()),
        Ok(_) | Err(_) => Err(anyhow::anyhow!("the connection ended before {length} bytes")),
    };
    (body, ended)
}

/// Reads a chunked body and its trailers, which are left out.
///
/// # Errors
/// When it breaks off, or is none.
pub(crate) fn read_chunks(reader: &mut impl BufRead, body: &mut Vec<u8>) -> Result {
    loop {
        let line = read_line(reader)?;
        let digits = line.split(';').next().unwrap_or_default();
        let size = u64::from_str_radix(digits.trim(), 16).context("no size of a chunk")?;
        if size == 0 {
            while !read_line(reader)?.is_empty() {}
            return Ok(());
        }
        let (chunk, ended) = read_length(reader, size);
        body.extend(chunk);
        ended?;
        ensure!(read_line(reader)?.is_empty(), "a chunk that does not end");
    }
}

fn read_line(reader: &mut impl BufRead) -> Result<String> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line)?;
    ensure!(line.ends_with(b"\n"), "the connection ended within the chunks");
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}
