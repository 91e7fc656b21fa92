//! What changes, as it happens: the configuration, the health of backends, the fleet. For whoever reads
//! `/api/v1/events`.
//!
//! A reader is a number, the next event that it wants; events are kept once for all readers, the last of them only. So a
//! slow reader costs nothing, and is told when it has missed something. While nobody reads, nothing is compared and
//! nothing is kept: what is kept then belongs to another life, which the ids of events tell.

mod watch;

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch::{Receiver, Sender};

pub use watch::run;

/// How many events are kept, and how many bytes of them.
const KEPT: usize = 1_000;
const KEPT_BYTES: usize = 1024 * 1024;

/// How much a reader is given at once, in bytes, where it has much to catch up with.
const PIECE: usize = 64 * 1024;

/// What a reader is told when nothing else is, and how often: a connection that is dead is found out by it.
const KEEP_ALIVE: &str = ": nothing new\n\n";
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);

/// The events of this node, and who reads them.
#[derive(Debug, Default)]
pub struct Events {
    kept: Mutex<Kept>,
    /// Moves whenever there is something new.
    news: Sender<()>,
    readers: Sender<usize>,
}

#[derive(Debug, Default)]
struct Kept {
    /// When this life began, in milliseconds of Unix time; none while nobody reads.
    life: Option<u64>,
    /// The number of the next event.
    next: u64,
    bytes: usize,
    /// The last events as they are sent, without their ids.
    events: VecDeque<String>,
}

impl Kept {
    fn oldest(&self) -> u64 {
        self.next - self.events.len() as u64
    }
}

impl Events {
    /// A new life, in which nothing has happened yet.
    fn begin(&self, life: u64) {
        *self.lock() = Kept {
            life: Some(life),
            ..Kept::default()
        };
        self.news.send_replace(());
    }

    /// From now on nothing is noticed.
    fn end(&self) {
        *self.lock() = Kept::default();
    }

    /// Keeps an event for all readers.
    fn push(&self, kind: &str, data: &impl Serialize) {
        // Names and numbers always have a JSON.
        let data = serde_json::to_string(data).unwrap_or_default();
        let event = format!("event: {kind}\ndata: {data}\n\n");
        let mut kept = self.lock();
        kept.next += 1;
        kept.bytes += event.len();
        kept.events.push_back(event);
        while kept.events.len() > KEPT || kept.bytes > KEPT_BYTES {
            let gone = kept.events.pop_front().unwrap_or_default();
            kept.bytes -= gone.len();
        }
        drop(kept);
        self.news.send_replace(());
    }

    /// A reader of all that happens once this is there: whoever shows the id of an event, of all that came behind it.
    pub async fn reader(self: &Arc<Self>, last_id: Option<&str>) -> Reader {
        let mut reader = Reader {
            news: self.news.subscribe(),
            events: Arc::clone(self),
            life: 0,
            next: 0,
            missed: false,
        };
        self.readers.send_modify(|readers| *readers += 1);
        loop {
            reader.news.mark_unchanged();
            if reader.settle(last_id) || reader.news.changed().await.is_err() {
                return reader;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who reads events.
#[derive(Debug)]
pub struct Reader {
    events: Arc<Events>,
    news: Receiver<()>,
    life: u64,
    next: u64,
    /// Whether there was something that it can be told of no more.
    missed: bool,
}

impl Reader {
    /// Finds its place; false while nothing is noticed yet.
    fn settle(&mut self, last_id: Option<&str>) -> bool {
        let kept = self.events.lock();
        let Some(life) = kept.life else { return false };
        let shown = last_id.map(|id| {
            let (life, number) = id.split_once('-')?;
            Some((life.parse::<u64>().ok()?, number.parse::<u64>().ok()?))
        });
        self.life = life;
        self.next = kept.next;
        match shown {
            Some(Some((of, number))) if of == life && number < kept.next => self.next = number + 1,
            Some(_) => self.missed = true,
            None => {}
        }
        true
    }

    /// The next events as they are sent, or after a while what keeps the connection alive. Dropping the future loses
    /// nothing.
    pub async fn next(&mut self) -> String {
        loop {
            self.news.mark_unchanged();
            if let Some(piece) = self.piece() {
                return piece;
            }
            let changed = tokio::time::timeout(KEEP_ALIVE_EVERY, self.news.changed()).await;
            if !matches!(changed, Ok(Ok(()))) {
                return KEEP_ALIVE.to_owned();
            }
        }
    }

    fn piece(&mut self) -> Option<String> {
        let kept = self.events.lock();
        let mut piece = String::new();
        let life = kept.life?;
        if life != self.life || self.next < kept.oldest() {
            (self.life, self.next, self.missed) = (life, kept.oldest(), true);
        }
        if std::mem::take(&mut self.missed) {
            piece += "event: missed\ndata: {}\n\n";
        }
        let skipped = self.next.saturating_sub(kept.oldest());
        for event in kept.events.iter().skip(skipped.try_into().unwrap_or(usize::MAX)) {
            if piece.len() > PIECE {
                break;
            }
            // Writing to a string cannot fail.
            write!(piece, "id: {}-{}\n{event}", self.life, self.next).unwrap_or_default();
            self.next += 1;
        }
        (!piece.is_empty()).then_some(piece)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.events.readers.send_modify(|readers| *readers -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events() -> Arc<Events> {
        let events = Arc::new(Events::default());
        events.begin(7);
        events
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_goes_on_where_it_was() {
        let events = events();
        let mut reader = events.reader(None).await;
        events.push("change", &1);
        events.push("change", &2);
        let both = "id: 7-0\nevent: change\ndata: 1\n\nid: 7-1\nevent: change\ndata: 2\n\n";
        assert_eq!(reader.next().await, both);
        assert_eq!(reader.next().await, KEEP_ALIVE);
        let mut again = events.reader(Some("7-0")).await;
        assert_eq!(again.next().await, "id: 7-1\nevent: change\ndata: 2\n\n");
        for unknown in ["6-0", "7-2", "x", "", "7-99999999999999999999"] {
            let mut lost = events.reader(Some(unknown)).await;
            assert_eq!(lost.next().await, "event: missed\ndata: {}\n\n", "{unknown}");
            assert_eq!(lost.next().await, KEEP_ALIVE);
        }
        assert_eq!(*events.readers.borrow(), 2);
        drop((reader, again));
        assert_eq!(*events.readers.borrow(), 0);
    }

    #[tokio::test]
    async fn a_slow_reader_costs_nothing_and_is_told() {
        let events = events();
        let mut slow = events.reader(None).await;
        for number in 0..5_000 {
            events.push("health", &number);
        }
        assert_eq!(events.lock().events.len(), KEPT);
        let piece = slow.next().await;
        assert!(
            piece.starts_with("event: missed\ndata: {}\n\nid: 7-4000\n"),
            "{piece}"
        );
        let long = "x".repeat(100_000);
        for _ in 0..50 {
            events.push("health", &long);
        }
        let kept = events.lock().bytes;
        assert!(kept <= KEPT_BYTES && kept > KEPT_BYTES / 2, "{kept}");
        let piece = slow.next().await;
        assert!(piece.len() < PIECE + long.len() + 100, "{}", piece.len());
    }

    #[tokio::test(start_paused = true)]
    async fn another_life_is_another() {
        let events = events();
        let mut reader = events.reader(None).await;
        events.push("change", &1);
        reader.next().await;
        events.end();
        events.begin(8);
        events.push("change", &2);
        let told = "event: missed\ndata: {}\n\nid: 8-0\nevent: change\ndata: 2\n\n";
        assert_eq!(reader.next().await, told);
    }
}
