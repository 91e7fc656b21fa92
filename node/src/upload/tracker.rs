//! The progress of uploads (Perlbal, reference section 4.13): whoever reads a body tells trackers by UDP, at most once a
//! second; a tracker remembers what it heard last, and answers `/__upload_status` from it.
//!
//! Datagrams come from anybody and prove nothing: they are checked, and what is remembered of them is bounded.

mod announce;
mod listen;
mod target;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use announce::{Announcer, Report};
pub use listen::listen;
pub use target::{session, status_session};

/// How long an upload is remembered that nothing was heard of.
const FORGET: Duration = Duration::from_secs(4);

/// How often it is looked for those.
const SWEEP: Duration = Duration::from_secs(1);

/// Uploads that are remembered, at most.
const SESSIONS: usize = 65_536;

/// What this process knows of uploads.
#[derive(Debug, Default)]
pub struct Tracker(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    sessions: HashMap<Box<str>, Progress>,
    swept: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Progress {
    done: u64,
    total: u64,
    started: u64,
    heard: Instant,
}

impl Tracker {
    /// Takes a datagram in, `UPLOAD:ID:DONE:TOTAL:STARTEPOCH:NOWEPOCH`; any other is ignored. As in Perlbal it is then
    /// that others are forgotten which nothing was heard of for four seconds.
    pub fn receive(&self, datagram: &[u8], now: Instant) {
        let Some((session, progress)) = parse(datagram, now) else {
            return;
        };
        let mut known = self.lock();
        let due = known
            .swept
            .is_none_or(|swept| now.saturating_duration_since(swept) >= SWEEP);
        if due {
            known.swept = Some(now);
            known
                .sessions
                .retain(|_, progress| now.saturating_duration_since(progress.heard) <= FORGET);
        }
        if known.sessions.len() < SESSIONS || known.sessions.contains_key(session) {
            known.sessions.insert(session.into(), progress);
        }
    }

    /// The body of an answer that tells of an upload, at `now` seconds since the epoch.
    pub fn status(&self, session: &str, now: u64) -> String {
        let known = self.lock();
        let Some(progress) = known.sessions.get(session) else {
            return "{}".into();
        };
        let Progress {
            done, total, started, ..
        } = progress;
        format!("{{done:{done},total:{total},starttime:{started},nowtime:{now}}}")
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parse(datagram: &[u8], heard: Instant) -> Option<(&str, Progress)> {
    let text = std::str::from_utf8(datagram).ok()?.trim_ascii_end();
    let mut words = text.strip_prefix("UPLOAD:")?.split(':');
    let session = words.next().filter(|session| target::is_session(session))?;
    let mut number = || {
        let word = words.next()?;
        let is_number = word.bytes().all(|byte| byte.is_ascii_digit());
        word.parse().ok().filter(|_| is_number)
    };
    let (done, total, started, _sent) = (number()?, number()?, number()?, number()?);
    words.next().is_none().then_some((
        session,
        Progress {
            done,
            total,
            started,
            heard,
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_it_heard_last() {
        let tracker = Tracker::default();
        let now = Instant::now();
        assert_eq!(tracker.status("abcdef", 7), "{}");
        tracker.receive(b"UPLOAD:abcdef:10:20:30:40", now);
        assert_eq!(
            tracker.status("abcdef", 1_795_395_908),
            "{done:10,total:20,starttime:30,nowtime:1795395908}"
        );
        tracker.receive(b"UPLOAD:abcdef:11:20:30:41\n", now);
        assert!(tracker.status("abcdef", 7).starts_with("{done:11,"));
    }

    #[test]
    fn forgets_when_it_hears_of_others() {
        let tracker = Tracker::default();
        let now = Instant::now();
        let after = |seconds| now + Duration::from_secs(seconds);
        tracker.receive(b"UPLOAD:first:1:2:3:4", now);
        tracker.receive(b"UPLOAD:second:1:2:3:4", after(4));
        assert_ne!(tracker.status("first", 0), "{}");
        tracker.receive(b"UPLOAD:second:1:2:3:4", after(5));
        assert_eq!(tracker.status("first", 0), "{}");
        assert_ne!(tracker.status("second", 0), "{}");
    }

    #[test]
    fn ignores_what_is_no_progress() {
        let tracker = Tracker::default();
        let now = Instant::now();
        for bad in [
            &b""[..],
            b"UPLOAD:abcde",
            b"UPLOAD:abcde:1:2:3",
            b"UPLOAD:abcde:1:2:3:4:5",
            b"UPLOAD:abcde:+1:2:3:4",
            b"UPLOAD:abcde:-1:2:3:4",
            b"UPLOAD:abcde::2:3:4",
            b"UPLOAD:abcde:99999999999999999999:2:3:4",
            b"UPLOAD:abcd:1:2:3:4",
            b"UPLOAD:ab}de:1:2:3:4",
            b"upload:abcde:1:2:3:4",
            b"UPLOAD:abcde:1:2:3:\xff",
        ] {
            tracker.receive(bad, now);
        }
        assert!(tracker.lock().sessions.is_empty());
    }

    #[test]
    fn remembers_no_more_than_it_may() {
        let tracker = Tracker::default();
        let now = Instant::now();
        for number in 0..SESSIONS + 10 {
            tracker.receive(format!("UPLOAD:session{number}:1:2:3:4").as_bytes(), now);
        }
        assert_eq!(tracker.lock().sessions.len(), SESSIONS);
        tracker.receive(b"UPLOAD:session0:9:9:3:4", now);
        assert!(tracker.status("session0", 0).starts_with("{done:9,"));
    }
}
