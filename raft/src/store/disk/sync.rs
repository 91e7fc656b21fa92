//! One thread makes everything durable: it takes all that wait, syncs once, and tells them all.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use crate::store::records::WhenDurable;

/// Appends that may wait for one sync; more wait for their place.
const WAITING: usize = 4096;

/// The thread. Dropping it syncs what waits and ends it.
#[derive(Debug)]
pub(super) struct Syncer {
    sender: Option<SyncSender<WhenDurable>>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    /// `sync` makes durable all that was written before it is called.
    pub(super) fn start(sync: impl FnMut() -> io::Result<()> + Send + 'static) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(WAITING);
        let thread = thread::Builder::new()
            .name("raft-log-sync".to_owned())
            .spawn(move || run(&receiver, sync))?;
        Ok(Self {
            sender: Some(sender),
            thread: Some(thread),
        })
    }

    /// Calls back after the next sync that begins.
    pub(super) fn when_durable(&self, then: WhenDurable) {
        let unsent = match &self.sender {
            Some(sender) => sender.send(then).err().map(|unsent| unsent.0),
            None => Some(then),
        };
        if let Some(then) = unsent {
            then(Err(io::Error::other("the log's sync thread has ended")));
        }
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the log's sync thread panicked");
        }
    }
}

/// After a sync that failed, nobody knows what is on disk, and the next one may say it is fine: so all that follow
/// fail too.
fn run(receiver: &Receiver<WhenDurable>, mut sync: impl FnMut() -> io::Result<()>) {
    let mut failed: Option<io::Error> = None;
    while let Ok(first) = receiver.recv() {
        let rest = receiver.try_iter().take(WAITING);
        let waiting: Vec<_> = std::iter::once(first).chain(rest).collect();
        if failed.is_none() {
            failed = sync().err();
        }
        for then in waiting {
            then(match &failed {
                None => Ok(()),
                Some(error) => Err(io::Error::new(error.kind(), error.to_string())),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn those_that_wait_share_a_sync_and_none_is_told_before_it() {
        let (go, wait) = channel::<()>();
        let syncs = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&syncs);
        let syncer = Syncer::start(move || {
            wait.recv().unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            Ok(())
        })
        .unwrap();
        let (told, tellings) = channel();
        for n in 0..100 {
            let (told, syncs) = (told.clone(), Arc::clone(&syncs));
            syncer.when_durable(Box::new(move |result| {
                result.unwrap();
                told.send((n, syncs.load(Ordering::SeqCst))).unwrap();
            }));
        }
        assert!(tellings.try_recv().is_err(), "nothing was synced yet");
        go.send(()).unwrap();
        go.send(()).unwrap();
        let all: Vec<(i32, u64)> = (0..100).map(|_| tellings.recv().unwrap()).collect();
        assert!(all.iter().map(|(n, _)| *n).eq(0..100), "in order");
        assert!(all.iter().all(|(_, syncs)| (1..=2).contains(syncs)), "{all:?}");
    }

    #[test]
    fn after_one_failure_everything_fails() {
        let calls = AtomicU64::new(0);
        let syncer = Syncer::start(move || match calls.fetch_add(1, Ordering::SeqCst) {
            0 => Err(io::Error::from(io::ErrorKind::StorageFull)),
            _ => Ok(()),
        })
        .unwrap();
        for _ in 0..2 {
            let (told, telling) = channel();
            syncer.when_durable(Box::new(move |result| told.send(result).unwrap()));
            let error = telling.recv().unwrap().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        }
    }
}
