//! The thread that writes all logs of a node.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::sink::Sink;
use super::{Batch, Shared, Trouble};
use crate::snapshot::LogTarget;

/// How often a log is tried that has not taken everything.
const SOON: Duration = Duration::from_millis(50);

/// How often programs are looked at.
const LATER: Duration = Duration::from_secs(1);

/// How long a log stays open that nobody asks for any more: lines of it may be on their way.
const GRACE: Duration = Duration::from_secs(1);

/// How long the slow may take at the end.
const FLUSH: Duration = Duration::from_millis(500);

/// How long it is told that lines were lost because they came too fast.
const OVERRUN: Duration = Duration::from_secs(10);

/// What the thread is asked.
#[derive(Debug)]
pub(super) enum Message {
    /// To write lines.
    Lines(Batch),
    /// To have these logs open and no others.
    Open(BTreeSet<Arc<LogTarget>>, oneshot::Sender<()>),
    /// To open files again.
    Reopen,
    /// To say when all is written.
    Flush(oneshot::Sender<()>),
}

#[derive(Debug)]
pub(super) struct Writer {
    received: Receiver<Message>,
    shared: Arc<Shared>,
    sinks: BTreeMap<Arc<LogTarget>, Sink>,
    /// Logs that are closed at that time.
    leaving: BTreeMap<Arc<LogTarget>, Instant>,
    /// Programs whose input is closed.
    ending: Vec<Child>,
    /// Since when lines come too fast, and until when that is told.
    overrun: Option<(Instant, Instant)>,
}

impl Writer {
    pub(super) fn new(received: Receiver<Message>, shared: Arc<Shared>) -> Self {
        Self {
            received,
            shared,
            sinks: BTreeMap::new(),
            leaving: BTreeMap::new(),
            ending: Vec::new(),
            overrun: None,
        }
    }

    /// Writes until nobody is left who could ask for it.
    pub(super) fn run(mut self) {
        let mut next_look = Instant::now();
        loop {
            let now = Instant::now();
            if now >= next_look {
                self.look(now);
                next_look = Instant::now() + self.pause();
            }
            let message = match self
                .received
                .recv_timeout(next_look.saturating_duration_since(now))
            {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let now = Instant::now();
            self.take(message, now);
            next_look = next_look.min(now + self.pause());
        }
        self.flush();
    }

    /// How long nothing has to be done.
    fn pause(&self) -> Duration {
        let sinks = || self.sinks.values();
        if sinks().any(Sink::is_restless) {
            SOON
        } else if sinks().any(Sink::is_watched)
            || !self.leaving.is_empty()
            || !self.ending.is_empty()
            || self.overrun.is_some()
        {
            LATER
        } else {
            Duration::from_hours(1)
        }
    }

    fn take(&mut self, message: Message, now: Instant) {
        match message {
            Message::Lines(batch) => {
                self.shared.queued.fetch_sub(batch.bytes.len(), Ordering::Relaxed);
                self.write(batch, now);
            }
            Message::Open(targets, done) => {
                self.open(&targets, now);
                self.publish();
                // Whoever asked may have stopped waiting.
                done.send(()).unwrap_or_default();
            }
            Message::Reopen => {
                for sink in self.sinks.values_mut() {
                    sink.reopen(now);
                }
                self.publish();
            }
            Message::Flush(done) => {
                self.flush();
                done.send(()).unwrap_or_default();
            }
        }
        if self.shared.overrun.swap(false, Ordering::Relaxed) {
            let since = self.overrun.map_or(now, |(since, _)| since);
            self.overrun = Some((since, now + OVERRUN));
            self.publish();
        }
    }

    fn write(&mut self, batch: Batch, now: Instant) {
        let Some(sink) = self.sinks.get_mut(&batch.target) else {
            // It was closed meanwhile, or must not be opened on this node.
            batch.stats.log_lines_dropped(batch.lines);
            return;
        };
        let before = sink.trouble().cloned();
        sink.take(batch, now);
        if sink.trouble() != before.as_ref() {
            self.publish();
        }
    }

    fn open(&mut self, targets: &BTreeSet<Arc<LogTarget>>, now: Instant) {
        for target in targets {
            self.leaving.remove(target);
            if !self.sinks.contains_key(target) {
                let sink = Sink::open(Arc::clone(target), now);
                self.sinks.insert(Arc::clone(target), sink);
            }
        }
        for target in self.sinks.keys().filter(|target| !targets.contains(*target)) {
            self.leaving.entry(Arc::clone(target)).or_insert(now + GRACE);
        }
    }

    /// Looks after what needs it.
    fn look(&mut self, now: Instant) {
        for sink in self.sinks.values_mut() {
            if sink.is_restless() || sink.is_watched() {
                sink.advance(now);
            }
        }
        let due: Vec<_> = self.leaving.iter().filter(|(_, at)| now >= **at).collect();
        let due: Vec<_> = due.into_iter().map(|(target, _)| Arc::clone(target)).collect();
        for target in due {
            self.leaving.remove(&target);
            self.ending
                .extend(self.sinks.remove(&target).and_then(Sink::close));
        }
        self.ending
            .retain_mut(|child| !matches!(child.try_wait(), Ok(Some(_)) | Err(_)));
        if self.overrun.is_some_and(|(_, until)| now >= until) {
            self.overrun = None;
        }
        self.publish();
    }

    fn flush(&mut self) {
        let give_up = Instant::now() + FLUSH;
        loop {
            let now = Instant::now();
            for sink in self.sinks.values_mut().filter(|sink| sink.is_behind()) {
                sink.advance(now);
            }
            if now >= give_up || !self.sinks.values().any(Sink::is_behind) {
                return;
            }
            std::thread::sleep(SOON / 10);
        }
    }

    /// Tells what is wrong.
    fn publish(&self) {
        let of_all = self.overrun.map(|(since, _)| Trouble {
            target: None,
            reason: "lines come faster than they can be written; lines are lost".to_owned(),
            since,
        });
        let troubles = self.sinks.values().filter_map(Sink::trouble).cloned();
        let troubles: Vec<_> = troubles.chain(of_all).collect();
        if **self.shared.troubles.load() != troubles {
            self.shared.troubles.store(Arc::new(troubles));
        }
    }
}
