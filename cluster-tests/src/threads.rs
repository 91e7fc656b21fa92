//! Work of the load programs, on several threads.

use std::thread::{self, ScopedJoinHandle};

use anyhow::anyhow;

use crate::Result;

/// Runs `work` on so many threads, each with its number, and adds up what they counted.
///
/// # Errors
/// The first error of a thread, or that one panicked; once all have ended.
pub fn sum(threads: usize, work: impl Fn(usize) -> Result<u64> + Sync) -> Result<u64> {
    let work = &work;
    thread::scope(|scope| {
        let started: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || work(thread)))
            .collect();
        let ended = started.into_iter().map(ScopedJoinHandle::join);
        ended
            .map(|count| count.map_err(|_| anyhow!("a thread panicked"))?)
            .sum()
    })
}
