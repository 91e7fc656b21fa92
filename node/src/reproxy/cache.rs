//! What was said for how long: URL lists that answer a request without its backend (reference, section 5.5).
//!
//! Pure but for its lock: time is passed in. One cache a service, shared by all workers; nobody looks at it where
//! `reproxy_cache_maxsize` is 0. The bodies are not here, only where they are.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lru::LruCache;

use super::url::Url;
use crate::snapshot::CacheRules;

/// Longer than anybody means it, and short enough to be added to any time.
const LONGEST: Duration = Duration::from_hours(24 * 3650);

/// An answer's head, and where its body is.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where the body is, in the order in which it is tried; never empty.
    pub urls: Vec<Url>,
    /// The fields that were named to be kept: lines with CRLF.
    pub fields: Vec<u8>,
    /// The value of `Last-Modified` among them.
    pub last_modified: Option<Vec<u8>>,
}

/// What `X-REPROXY-CACHE-FOR` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CacheFor<'a> {
    /// How long.
    pub(super) lifetime: Duration,
    /// The names of the fields that are kept, separated by blanks.
    pub(super) names: &'a [u8],
}

impl<'a> CacheFor<'a> {
    /// Reads `SECS` or `SECS; Name Name …`.
    pub(super) fn parse(value: &'a [u8]) -> Option<Self> {
        let end = memchr::memchr(b';', value).unwrap_or(value.len());
        let (seconds, names) = value.split_at_checked(end)?;
        let seconds = std::str::from_utf8(seconds.trim_ascii()).ok()?;
        if seconds.is_empty() || !seconds.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let lifetime = seconds.parse().map_or(LONGEST, Duration::from_secs);
        Some(Self {
            lifetime: lifetime.min(LONGEST),
            names: names.get(1..).unwrap_or_default(),
        })
    }

    /// Whether a field is to be kept.
    pub(super) fn keeps(&self, name: &[u8]) -> bool {
        let mut names = self.names.split(u8::is_ascii_whitespace);
        names.any(|kept| !kept.is_empty() && kept.eq_ignore_ascii_case(name))
    }
}

/// The cache of one service.
#[derive(Debug)]
pub struct Cache {
    stored: Mutex<Stored>,
    lookups: AtomicU64,
    hits: AtomicU64,
}

#[derive(Debug)]
struct Stored {
    epoch: u64,
    entries: LruCache<Box<[u8]>, (Instant, Arc<Entry>)>,
}

/// The figures of one cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheFigures {
    /// Entries, those that are out of date included.
    pub size: usize,
    /// Requests that were answered from it since the start.
    pub hits: u64,
    /// Requests that were looked for since the start.
    pub lookups: u64,
}

impl Default for Cache {
    fn default() -> Self {
        let stored = Stored {
            epoch: 0,
            entries: LruCache::unbounded(),
        };
        Self {
            stored: Mutex::new(stored),
            lookups: AtomicU64::new(0),
            hits: AtomicU64::new(0),
        }
    }
}

impl Cache {
    /// What is known of a request, if it is not out of date.
    pub fn look_up(&self, rules: CacheRules, key: &[u8], now: Instant) -> Option<Arc<Entry>> {
        self.lookups.fetch_add(1, Ordering::Relaxed);
        let found = self.with(rules, |entries| match entries.get(key) {
            Some((until, entry)) if now < *until => Some(Arc::clone(entry)),
            _ => None,
        });
        if found.is_some() {
            self.hits.fetch_add(1, Ordering::Relaxed);
        }
        found
    }

    /// Keeps an entry from `now` on for `lifetime`; it may push out the one that was used longest ago.
    pub fn store(&self, rules: CacheRules, key: &[u8], entry: Entry, now: Instant, lifetime: Duration) {
        let until = now + lifetime.min(LONGEST);
        self.with(rules, |entries| {
            entries.put(key.into(), (until, Arc::new(entry)));
        });
        // Once more, so that the limit holds.
        self.with(rules, |_| ());
    }

    /// Drops an entry.
    pub fn forget(&self, rules: CacheRules, key: &[u8]) {
        self.with(rules, |entries| {
            entries.pop(key);
        });
    }

    /// Its figures; where there are no rules it is not in use.
    pub fn figures(&self, rules: Option<CacheRules>) -> CacheFigures {
        CacheFigures {
            size: rules.map_or(0, |rules| self.with(rules, |entries| entries.len())),
            hits: self.hits.load(Ordering::Relaxed),
            lookups: self.lookups.load(Ordering::Relaxed),
        }
    }

    /// Works on the entries as they are by these rules.
    fn with<T>(
        &self,
        rules: CacheRules,
        work: impl FnOnce(&mut LruCache<Box<[u8]>, (Instant, Arc<Entry>)>) -> T,
    ) -> T {
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        if stored.epoch != rules.epoch {
            stored.epoch = rules.epoch;
            stored.entries.clear();
        }
        while stored.entries.len() > rules.entries {
            stored.entries.pop_lru();
        }
        work(&mut stored.entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: CacheRules = CacheRules { entries: 2, epoch: 1 };

    fn entry(path: &str) -> Entry {
        Entry {
            urls: super::super::url::parse_list(format!("http://h{path}").as_bytes()),
            fields: Vec::new(),
            last_modified: None,
        }
    }

    fn find(cache: &Cache, rules: CacheRules, key: &str, now: Instant) -> Option<String> {
        let entry = cache.look_up(rules, key.as_bytes(), now)?;
        Some(entry.urls[0].path.clone())
    }

    #[test]
    fn serves_until_it_is_out_of_date() {
        let (cache, now) = (Cache::default(), Instant::now());
        let second = Duration::from_secs(1);
        assert_eq!(find(&cache, RULES, "h|/", now), None);
        cache.store(RULES, b"h|/", entry("/a"), now, second);
        assert_eq!(find(&cache, RULES, "h|/", now).unwrap(), "/a");
        assert_eq!(find(&cache, RULES, "g|/", now), None);
        assert_eq!(find(&cache, RULES, "h|/", now + second), None);
        cache.store(RULES, b"h|/", entry("/b"), now, Duration::ZERO);
        assert_eq!(find(&cache, RULES, "h|/", now), None);
        cache.store(RULES, b"h|/", entry("/b"), now, Duration::MAX);
        assert!(find(&cache, RULES, "h|/", now + Duration::from_hours(87_000)).is_some());
        cache.forget(RULES, b"h|/");
        let figures = cache.figures(Some(RULES));
        assert_eq!((figures.size, figures.hits, figures.lookups), (0, 2, 6));
    }

    #[test]
    fn pushes_out_what_was_used_longest_ago() {
        let (cache, now) = (Cache::default(), Instant::now());
        for key in ["a", "b"] {
            cache.store(
                RULES,
                key.as_bytes(),
                entry(&format!("/{key}")),
                now,
                Duration::MAX,
            );
        }
        assert!(find(&cache, RULES, "a", now).is_some());
        cache.store(RULES, b"c", entry("/c"), now, Duration::MAX);
        let all = |rules| ["a", "b", "c"].map(|key| find(&cache, rules, key, now).is_some());
        assert_eq!(all(RULES), [true, false, true]);
        assert_eq!(cache.figures(Some(RULES)).size, 2);
        let smaller = CacheRules { entries: 1, ..RULES };
        assert_eq!(all(smaller), [false, false, true]);
        let emptied = CacheRules { epoch: 2, ..RULES };
        assert_eq!(all(emptied), [false; 3]);
        assert!(cache.figures(Some(emptied)).lookups > 0, "the figures stay");
    }

    #[test]
    fn how_long_and_what() {
        let read = |text: &'static str| CacheFor::parse(text.as_bytes());
        let cache_for = read("60; Content-Type  last-modified").unwrap();
        assert_eq!(cache_for.lifetime, Duration::from_mins(1));
        assert!(cache_for.keeps(b"content-type") && cache_for.keeps(b"Last-Modified"));
        assert!(!cache_for.keeps(b"Set-Cookie") && !cache_for.keeps(b""));
        assert!(!read("0").unwrap().keeps(b"Content-Type"));
        assert_eq!(read("99999999999999999999").unwrap().lifetime, LONGEST);
        for bad in ["", ";", "-1", "1.5; A", "x"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
