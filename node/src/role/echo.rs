//! The `echo` role (Perlbal's `EchoService`, reference section 8.2): each line of a connection comes back, after a while
//! where the service says so.

use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use fleetbal_raft::model::Role;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout};

use super::local::Counted;
use super::record::Record;
use crate::tls::Stream;

/// Bytes of a connection that wait to come back, at most: it is read no further then. A longer line is the end of it.
const MAX_WAITING: usize = 64 * 1024;

/// Bytes that are read at once.
const READ: usize = 4096;

/// Serves a connection to its end.
pub(super) async fn serve(counted: Counted, mut io: Stream, peer: SocketAddr) {
    let Some(current) = counted.served.current(&counted.local) else {
        return;
    };
    let deadlines = &counted.local.deadlines;
    let record = Record::new(
        &counted.served,
        Some(Role::Echo),
        io.as_raw_fd(),
        peer,
        deadlines.now(),
    );
    let _shown = deadlines.add(record);
    let mut echo = Echo {
        delay: current.view.echo_delay,
        patience: current.view.settings.idle_timeout,
        ..Echo::default()
    };
    drop(current);
    // Nobody is left to be told.
    if let Err(error) = echo.run(&mut io, &counted).await {
        tracing::debug!(%error, %peer, "an echo ended");
    }
}

/// What a connection has said, and what of it has not come back.
#[derive(Debug, Default)]
struct Echo {
    delay: Duration,
    /// How long it may say nothing; none: for ever.
    patience: Option<Duration>,
    /// The beginning of a line.
    part: Vec<u8>,
    waiting: VecDeque<(Instant, Vec<u8>)>,
    /// Bytes of those.
    held: usize,
}

/// What happened first.
enum Event {
    Read(usize),
    Due,
    Silence,
}

impl Echo {
    async fn run(&mut self, io: &mut Stream, counted: &Counted) -> io::Result<()> {
        let mut buffer = [0; READ];
        let mut has_ended = false;
        let mut heard = Instant::now();
        loop {
            self.say(io).await?;
            let is_over = has_ended || counted.local.is_draining();
            if is_over && self.waiting.is_empty() {
                return io.shutdown().await;
            }
            match self.next(io, &mut buffer, heard, has_ended).await? {
                Event::Read(0) => has_ended = true,
                Event::Read(length) => {
                    heard = Instant::now();
                    if !self.hear(buffer.get(..length).unwrap_or_default(), heard) {
                        return Ok(());
                    }
                }
                Event::Due => {}
                Event::Silence => return Ok(()),
            }
        }
    }

    /// Whichever comes first: bytes, the time of a line, or the end of patience. Only where nothing waits that ends.
    async fn next(
        &self,
        io: &mut Stream,
        buffer: &mut [u8],
        heard: Instant,
        has_ended: bool,
    ) -> io::Result<Event> {
        let due = self.waiting.front().map(|(due, _)| *due);
        let silence = self.patience.filter(|_| due.is_none()).map(|time| heard + time);
        tokio::select! {
            read = io.read(buffer), if !has_ended && self.held < MAX_WAITING => read.map(Event::Read),
            () = at(due) => Ok(Event::Due),
            () = at(silence) => Ok(Event::Silence),
        }
    }

    /// Takes in what was said; false: a line that is too long.
    fn hear(&mut self, mut bytes: &[u8], now: Instant) -> bool {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at(end + 1);
            let mut whole = std::mem::take(&mut self.part);
            whole.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
            if whole.ends_with(b"\r") {
                whole.pop();
            }
            whole.extend_from_slice(b"\r\n");
            self.held += whole.len();
            self.waiting.push_back((now + self.delay, whole));
            bytes = rest;
        }
        self.part.extend_from_slice(bytes);
        self.part.len() <= MAX_WAITING
    }

    /// Says back what is due.
    async fn say(&mut self, io: &mut Stream) -> io::Result<()> {
        let now = Instant::now();
        let mut said = Vec::new();
        while let Some((_, line)) = self.waiting.pop_front_if(|(due, _)| *due <= now) {
            self.held -= line.len();
            said.extend_from_slice(&line);
        }
        let writing = async {
            io.write_all(&said).await?;
            io.flush().await
        };
        match self.patience {
            Some(patience) if !said.is_empty() => timeout(patience, writing).await?,
            Some(_) | None => writing.await,
        }
    }
}

/// At that time; none: never.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}
