//! The log and the vote: what this node promised the others, kept before anything is answered.
//!
//! An entry or a vote counts only once it is synced to disk. Entries are appended at once and made durable
//! together, by one thread (group commit); whether they are is told afterwards, in order.

mod disk;
mod error;
pub(crate) mod files;
mod memory;
mod noted;
mod records;

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::path::Path;
use std::sync::Arc;

use fleetbal_proto::v1;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use openraft::OptionalSend;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use prost::Message;

pub use self::error::StoreError;
pub(crate) use self::noted::FirstFailure;

use self::disk::Disk;
use self::memory::Memory;
use self::noted::Noted;
use self::records::{Key, Records};
use crate::types::{LogEntry, LogId, TypeConfig, Vote};
use crate::wire::WireError;
use crate::wire::raft::{
    decode_log_id, decode_vote, encode_log_entry, encode_log_id, encode_vote, log_entry_from_bytes,
};

/// Bytes that are read at once, for one call to a follower or while applying; one entry may be more.
const READ_BYTES: usize = 1024 * 1024;

/// A handle on the log. Clones are of the same one; the last one that goes closes it.
#[derive(Debug, Clone)]
pub struct LogStore {
    records: Arc<dyn Records>,
    failure: FirstFailure,
}

impl LogStore {
    /// Opens the log in this directory, or makes one there. Blocks, up to 2 s where another process has it.
    ///
    /// # Errors
    /// When it is held by another process, damaged, of a later release, or the directory cannot be used.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        Ok(Self::on(Disk::open(dir)?))
    }

    /// A log that is gone with the process.
    pub fn in_memory() -> Self {
        Self::on(Memory::default())
    }

    fn on(records: impl Records + 'static) -> Self {
        let failure = FirstFailure::default();
        let records = Arc::new(Noted {
            records,
            failure: failure.clone(),
        });
        Self { records, failure }
    }

    /// What the medium failed with first.
    pub(crate) fn failure(&self) -> FirstFailure {
        self.failure.clone()
    }

    /// All entries from this one on. Blocks.
    ///
    /// # Errors
    /// When one cannot be read.
    pub(crate) fn entries_from(&self, index: u64) -> io::Result<Vec<LogEntry>> {
        self.read(index..u64::MAX, usize::MAX)
    }

    fn read(&self, indexes: Range<u64>, limit: usize) -> io::Result<Vec<LogEntry>> {
        let records = self.records.read(indexes, limit)?;
        records
            .iter()
            .map(|bytes| log_entry_from_bytes(bytes).map_err(undecodable))
            .collect()
    }

    fn log_id(&self, key: Key) -> io::Result<Option<LogId>> {
        decoded_log_id(self.records.get(key)?)
    }

    async fn durable(&self) -> io::Result<()> {
        let (told, durable) = tokio::sync::oneshot::channel();
        self.records.when_durable(Box::new(move |result| {
            // Nobody waits any more where the receiver is gone.
            drop(told.send(result));
        }));
        durable.await.map_err(io::Error::other)?
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn entries_stream<R>(&mut self, range: R) -> impl Stream<Item = io::Result<LogEntry>> + OptionalSend
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        // Piece by piece: all that waits to be applied may be more than fits into memory.
        let store = self.clone();
        stream::try_unfold(half_open(&range), move |indexes| {
            let read = store.read(indexes.clone(), READ_BYTES);
            async move {
                let entries = read?;
                Ok::<_, io::Error>(entries.last().map(|entry| entry.log_id.index + 1).map(|next| {
                    let rest = next..indexes.end;
                    (stream::iter(entries).map(Ok), rest)
                }))
            }
        })
        .try_flatten()
    }

    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> io::Result<Vec<LogEntry>> {
        self.read(half_open(&range), usize::MAX)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<LogEntry>> {
        self.read(start..end, READ_BYTES)
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        let decode = |bytes: Vec<u8>| decode_vote(v1::StoredVote::decode(bytes.as_slice())?.vote.as_ref());
        let bytes = self.records.get(Key::Vote)?;
        bytes.map(decode).transpose().map_err(undecodable)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let last_purged_log_id = self.log_id(Key::Purged)?;
        let last = self.records.last()?;
        let last = last.map(|bytes| log_entry_from_bytes(&bytes).map_err(undecodable));
        let last_log_id = last.transpose()?.map(|entry| entry.log_id);
        Ok(LogState {
            last_purged_log_id,
            last_log_id: last_log_id.or(last_purged_log_id),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let stored = v1::StoredVote {
            vote: Some(encode_vote(vote)),
        };
        self.records.put(Key::Vote, Some(stored.encode_to_vec()))?;
        self.durable().await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        let Some(committed) = committed else { return Ok(()) };
        let note = encode_log_id(&committed).encode_to_vec();
        self.records.note_committed(committed.index, note)
    }

    /// Where the note is of an entry that is not in the log, it says nothing of those that are.
    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        let Some(committed) = decoded_log_id(self.records.committed()?)? else {
            return Ok(None);
        };
        let next = committed.index.saturating_add(1);
        let held = self.read(committed.index..next, usize::MAX)?;
        let is_held = held.first().is_some_and(|entry| entry.log_id == committed);
        let is_known = is_held || self.log_id(Key::Purged)? >= Some(committed);
        Ok(Some(committed).filter(|_| is_known))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = LogEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let records = entries
            .into_iter()
            .map(|entry| (entry.log_id.index, encode_log_entry(entry).encode_to_vec()))
            .collect();
        self.records.append(records)?;
        self.records
            .when_durable(Box::new(move |result| callback.io_completed(result)));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        self.records.remove_from(last.map_or(0, |last| last.index + 1))?;
        self.durable().await
    }

    async fn purge(&mut self, log_id: LogId) -> io::Result<()> {
        let bytes = encode_log_id(&log_id).encode_to_vec();
        self.records.purge(log_id.index, bytes)
    }
}

fn decoded_log_id(bytes: Option<Vec<u8>>) -> io::Result<Option<LogId>> {
    let decode = |bytes: Vec<u8>| decode_log_id(&v1::LogId::decode(bytes.as_slice())?);
    bytes.map(decode).transpose().map_err(undecodable)
}

fn undecodable(error: WireError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn half_open(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

#[cfg(test)]
#[path = "store/store_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "store/crash_tests.rs"]
mod crash_tests;
