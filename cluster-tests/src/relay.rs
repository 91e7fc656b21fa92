//! A line that takes its time: bytes wait here for as long as they would be on their way. Kernels without netem cannot do
//! that to packets.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::Result;

/// The bytes that are read at once, and the pieces that may be on their way.
const PIECE: usize = 16 * 1024;
const ON_THE_WAY: usize = 4096;

/// Takes connections, and carries what is sent over them to somewhere else and back. Ends when it is dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    line: Arc<Line>,
}

#[derive(Debug, Default)]
struct Line {
    /// Microseconds, each way.
    delay: AtomicU64,
    ended: AtomicBool,
}

type Piece = (Instant, Vec<u8>);

impl Relay {
    /// Listens at an address for another one; there is no delay yet.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub fn start(address: SocketAddr, target: SocketAddr) -> Result<Self> {
        let listener =
            TcpListener::bind(address).with_context(|| format!("a relay cannot listen at {address}"))?;
        let line = Arc::<Line>::default();
        let kept = Arc::clone(&line);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if line.ended.load(Ordering::Relaxed) {
                    return;
                }
                // Where nobody listens behind it, the connection ends at once.
                if let Ok(onward) = TcpStream::connect(target) {
                    drop(join(&stream, &onward, &line));
                }
            }
        });
        Ok(Self { address, line: kept })
    }

    /// How long bytes are on their way from now on, in each direction.
    pub fn delay(&self, delay: Duration) {
        let micros = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        self.line.delay.store(micros, Ordering::Relaxed);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.line.ended.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(self.address));
    }
}

/// Both directions of a connection.
fn join(here: &TcpStream, there: &TcpStream, line: &Arc<Line>) -> std::io::Result<()> {
    for (from, to) in [(here, there), (there, here)] {
        to.set_nodelay(true)?;
        let (from, to, line) = (from.try_clone()?, to.try_clone()?, Arc::clone(line));
        let (sender, pieces) = sync_channel(ON_THE_WAY);
        thread::spawn(move || take_in(from, &sender, &line));
        thread::spawn(move || hand_on(to, &pieces));
    }
    Ok(())
}

/// Until the sender has no more, or is gone, or the relay ends.
fn take_in(mut from: TcpStream, pieces: &SyncSender<Piece>, line: &Line) {
    let mut buffer = vec![0; PIECE];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let delay = Duration::from_micros(line.delay.load(Ordering::Relaxed));
        let piece = buffer.get(..length).unwrap_or_default().to_vec();
        let is_over = line.ended.load(Ordering::Relaxed);
        if is_over || pieces.send((Instant::now() + delay, piece)).is_err() {
            break;
        }
    }
}

fn hand_on(mut to: TcpStream, pieces: &Receiver<Piece>) {
    while let Ok((due, piece)) = pieces.recv() {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if to.write_all(&piece).is_err() {
            break;
        }
    }
    drop(to.shutdown(Shutdown::Write));
}
