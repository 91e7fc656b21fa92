//! What `AtomInject` puts in and `AtomStream` sends out (Perlbal, reference section 8.2): one feed for all services and
//! workers of a node. Other nodes have their own, as Perlbal's processes have.
//!
//! What of it is in memory is bounded: the feed keeps items for [`REPLAY`] and up to [`MOST`] bytes of them, a reader
//! what it is behind with, [`BEHIND`] bytes and one item more. An item is there once, however many wait for it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::watch;

/// How long an item can be had again.
const REPLAY: Duration = Duration::from_mins(1);

/// Bytes of items that can be had again, at most.
const MOST: usize = 16 * 1024 * 1024;

/// A reader that has so many bytes yet to take misses what comes.
pub(crate) const BEHIND: usize = 262_144;

/// What each item counts for beside its bytes.
const ITEM: usize = 64;

/// What is shorter is copied for a reader, together with what stands beside it, up to [`TOGETHER`] bytes.
const SHORT: usize = 1024;
const TOGETHER: usize = 16 * 1024;

/// The longest item, in bytes.
pub(super) const MOST_ITEM: usize = 1024 * 1024;

/// What was put in lately.
#[derive(Debug, Default)]
pub struct Feed {
    kept: Mutex<Kept>,
    /// The number of the next item, so that readers know of a new one.
    next: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Kept {
    items: VecDeque<Item>,
    /// What they take.
    held: usize,
    /// The number of the next one; those that are kept have the numbers before it.
    next: u64,
}

#[derive(Debug)]
struct Item {
    since: Instant,
    /// The same in seconds since 1970.
    second: u64,
    path: Box<[u8]>,
    body: Bytes,
}

impl Feed {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an item in: at that path, in that second since 1970.
    pub(super) fn put(&self, path: &[u8], body: &[u8], second: u64) {
        let item = Item {
            since: Instant::now(),
            second,
            path: path.into(),
            body: Bytes::copy_from_slice(body),
        };
        if body.is_empty() {
            return;
        }
        let mut kept = self.kept();
        kept.forget(item.size());
        kept.held += item.size();
        kept.items.push_back(item);
        kept.next += 1;
        let next = kept.next;
        drop(kept);
        self.next.send_replace(next);
    }
}

impl Item {
    fn size(&self) -> usize {
        self.body.len() + self.path.len() + ITEM
    }
}

impl Kept {
    /// Makes room for so many bytes, and lets go of what is too old.
    fn forget(&mut self, room: usize) {
        while let Some(first) = self.items.front() {
            let fits = self.held + room <= MOST;
            if fits && first.since.elapsed() <= REPLAY {
                return;
            }
            self.held -= first.size();
            self.items.pop_front();
        }
    }

    /// The number of the first that is kept.
    fn first(&self) -> u64 {
        self.next.saturating_sub(self.items.len() as u64)
    }

    /// The number of the first that came in that second or later, and can be had again.
    fn since(&self, second: u64) -> u64 {
        let is_early = |item: &Item| item.second < second || item.since.elapsed() > REPLAY;
        self.first() + self.items.iter().take_while(|item| is_early(item)).count() as u64
    }
}

/// A stream of a feed that a client asks for.
#[derive(Debug, Clone)]
pub struct Subscription {
    feed: Arc<Feed>,
    /// What the path of an item begins with.
    prefix: Box<[u8]>,
    /// What came in that second since 1970 or later is sent first; 0: nothing is.
    since: u64,
}

impl PartialEq for Subscription {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.feed, &other.feed) && (&self.prefix, self.since) == (&other.prefix, other.since)
    }
}

impl Eq for Subscription {}

impl Subscription {
    pub(super) fn new(feed: &Arc<Feed>, prefix: &[u8], since: u64) -> Self {
        Self {
            feed: Arc::clone(feed),
            prefix: prefix.into(),
            since,
        }
    }

    /// Begins: what reads it, and what tells of new items.
    pub(crate) fn open(self) -> (Reader, watch::Receiver<u64>) {
        let news = self.feed.next.subscribe();
        let head = format!(
            "HTTP/1.0 200 OK\r\nContent-Type: text/xml\r\nConnection: close\r\n\r\n\
             <?xml version='1.0' encoding='utf-8' ?>\n<atomStream><!-- since={} -->\n",
            self.since
        );
        let kept = self.feed.kept();
        let live = kept.next;
        let next = if self.since == 0 {
            live
        } else {
            kept.since(self.since)
        };
        drop(kept);
        let mut reader = Reader {
            feed: self.feed,
            prefix: self.prefix,
            next,
            live,
            waiting: VecDeque::new(),
            at: 0,
            held: 0,
            missed: 0,
        };
        reader.say(&head);
        reader.take_in();
        (reader, news)
    }
}

/// What a client has yet to take.
#[derive(Debug)]
enum Piece {
    /// An item that others have as well.
    Item(Bytes),
    /// Short ones, and what is said about them.
    Text(Vec<u8>),
}

/// What a client has yet to take of a stream.
#[derive(Debug)]
pub(crate) struct Reader {
    feed: Arc<Feed>,
    prefix: Box<[u8]>,
    /// The number of the next item.
    next: u64,
    /// Up to this one it hears again what was.
    live: u64,
    waiting: VecDeque<Piece>,
    /// How much of the first of them was sent.
    at: usize,
    /// Bytes that were not.
    held: usize,
    /// Items that came while it was too far behind, of which it was not told.
    missed: u64,
}

impl Reader {
    /// Takes in what is new. Of a replay only as much as it may be behind; the rest can wait where it is.
    pub(crate) fn take_in(&mut self) {
        let feed = Arc::clone(&self.feed);
        let kept = feed.kept();
        if self.next < self.live {
            // What came while it hears again what was is heard behind that.
            self.live = kept.next;
        }
        let first = kept.first();
        // What it was too slow for was let go of meanwhile.
        self.missed += first.saturating_sub(self.next);
        self.next = self.next.max(first);
        let skipped = usize::try_from(self.next - first).unwrap_or(usize::MAX);
        for item in kept.items.iter().skip(skipped) {
            let is_behind = self.held > BEHIND;
            if is_behind && self.next < self.live {
                return;
            }
            self.next += 1;
            if !item.path.starts_with(&self.prefix) {
                continue;
            }
            if is_behind {
                self.missed += 1;
            } else {
                self.confess();
                self.add(&item.body);
            }
        }
    }

    /// Another second.
    pub(crate) fn beat(&mut self, second: u64) {
        if self.held <= BEHIND {
            self.confess();
            self.say(format!("<time>{second}</time>\n"));
        }
    }

    /// Says what was missed.
    fn confess(&mut self) {
        let missed = std::mem::take(&mut self.missed);
        if missed > 0 {
            self.say(format!("<sorryTooSlow youMissed=\"{missed}\" />\n"));
        }
    }

    fn add(&mut self, item: &Bytes) {
        if item.len() < SHORT {
            self.say(item);
        } else {
            self.held += item.len();
            self.waiting.push_back(Piece::Item(item.clone()));
        }
    }

    fn say(&mut self, text: impl AsRef<[u8]>) {
        let text = text.as_ref();
        self.held += text.len();
        match self.waiting.back_mut() {
            Some(Piece::Text(last)) if last.len() < TOGETHER => last.extend_from_slice(text),
            Some(_) | None => self.waiting.push_back(Piece::Text(text.to_vec())),
        }
    }

    /// What is to be sent next; none: it has all.
    pub(crate) fn front(&self) -> Option<&[u8]> {
        let bytes = match self.waiting.front()? {
            Piece::Item(bytes) => bytes,
            Piece::Text(text) => &text[..],
        };
        bytes.get(self.at..)
    }

    /// So many bytes of that were sent.
    pub(crate) fn sent(&mut self, length: usize) {
        let left = self.front().map_or(0, <[u8]>::len);
        let length = length.min(left);
        self.held -= length;
        self.at += length;
        if length == left {
            self.waiting.pop_front();
            self.at = 0;
        }
        if self.next < self.live {
            self.take_in();
        }
    }
}

#[cfg(test)]
#[path = "feed_tests.rs"]
mod tests;
