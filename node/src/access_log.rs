//! Access logs: a line for each request, written off the request's path.
//!
//! Workers hand over lines in batches and never wait. One thread a node writes them; it is started by the first log. What
//! it cannot write in time is dropped and counted, and what is wrong with a log is there to be told of.

mod line;
mod sink;
mod writer;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::sync::oneshot;

use crate::monitor::stats::ServiceStats;
use crate::snapshot::LogTarget;
pub use line::{Line, Stamp};
pub use sink::open_file;
use writer::{Message, Writer};

/// So many bytes may wait for the writer, in all logs; more are dropped.
const MOST_QUEUED: usize = 16 << 20;

/// Lines of one service.
#[derive(Debug)]
pub struct Batch {
    /// Where they go.
    pub target: Arc<LogTarget>,
    /// They.
    pub bytes: Vec<u8>,
    /// How many they are.
    pub lines: u64,
    /// Where it is counted what became of them.
    pub stats: Arc<ServiceStats>,
}

/// What is wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The log; none: all of them.
    pub target: Option<Arc<LogTarget>>,
    /// What it is. It does not change for as long as the trouble is the same.
    pub reason: String,
    /// Since when.
    pub since: Instant,
}

/// The logs of a node. Clones are the same; the writer ends with the last of them.
#[derive(Debug, Clone, Default)]
pub struct AccessLogs(Arc<Handle>);

#[derive(Debug, Default)]
struct Handle {
    /// None where no thread could be had.
    writer: OnceLock<Option<Sender<Message>>>,
    shared: Arc<Shared>,
}

/// What the writer and those that hand over lines look at.
#[derive(Debug, Default)]
struct Shared {
    queued: AtomicUsize,
    overrun: AtomicBool,
    troubles: ArcSwap<Vec<Trouble>>,
}

impl AccessLogs {
    /// Hands lines over. Never waits.
    pub fn write(&self, batch: Batch) {
        let shared = &self.0.shared;
        let length = batch.bytes.len();
        // The channel has no bound of its own: what counts is how many bytes wait.
        if shared.queued.fetch_add(length, Ordering::Relaxed) + length > MOST_QUEUED {
            shared.queued.fetch_sub(length, Ordering::Relaxed);
            shared.overrun.store(true, Ordering::Relaxed);
            batch.stats.log_lines_dropped(batch.lines);
            return;
        }
        self.tell(Message::Lines(batch));
    }

    /// Opens these logs, and closes all others soon. Ready when each was tried.
    pub async fn open(&self, targets: BTreeSet<Arc<LogTarget>>) {
        self.ask(|done| Message::Open(targets, done)).await;
    }

    /// Opens all files again: somebody may have moved them.
    pub fn reopen(&self) {
        if self.0.writer.get().is_some() {
            self.tell(Message::Reopen);
        }
    }

    /// Ready when all that was handed over before was tried.
    pub async fn flush(&self) {
        if self.0.writer.get().is_some() {
            self.ask(Message::Flush).await;
        }
    }

    /// What is wrong now.
    pub fn troubles(&self) -> Arc<Vec<Trouble>> {
        self.0.shared.troubles.load_full()
    }

    async fn ask(&self, message: impl FnOnce(oneshot::Sender<()>) -> Message) {
        let (done, is_done) = oneshot::channel();
        self.tell(message(done));
        // Without a writer there is nothing to wait for.
        drop(is_done.await);
    }

    fn tell(&self, message: Message) {
        let writer = self.0.writer.get_or_init(|| start(&self.0.shared));
        // It lives for as long as there is a sender.
        let unsent = match writer {
            Some(writer) => writer.send(message).map_err(|lost| lost.0).err(),
            None => Some(message),
        };
        if let Some(Message::Lines(batch)) = unsent {
            self.0
                .shared
                .queued
                .fetch_sub(batch.bytes.len(), Ordering::Relaxed);
            batch.stats.log_lines_dropped(batch.lines);
        }
    }
}

fn start(shared: &Arc<Shared>) -> Option<Sender<Message>> {
    let (sender, received) = mpsc::channel();
    let writer = Writer::new(received, Arc::clone(shared));
    let thread = thread::Builder::new().name("access-log".to_owned());
    let started = thread.spawn(move || writer.run());
    started
        .map(|_| sender)
        .inspect_err(|error| tracing::error!(%error, "access logs cannot be written: no thread"))
        .ok()
}

#[cfg(test)]
#[path = "access_log/tests.rs"]
mod tests;
