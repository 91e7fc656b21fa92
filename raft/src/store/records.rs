//! What a log needs of its medium: records by index, a few values by key, and to be told when they are durable.
//! Bytes only; what they mean is the log's affair.

use std::fmt::Debug;
use std::io;
use std::ops::Range;

/// Called once, when all that was written before is durable, or cannot be made so.
pub(super) type WhenDurable = Box<dyn FnOnce(io::Result<()>) + Send>;

/// A value that is kept beside the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    /// The last vote.
    Vote,
    /// The last entry that was purged.
    Purged,
}

/// A medium. Whatever returns is visible at once; it is durable only when [`Records::when_durable`] says so. All
/// that was written becomes durable in the order in which it was written.
pub(super) trait Records: Debug + Send + Sync {
    /// Adds records behind the last one, as one.
    fn append(&self, records: Vec<(u64, Vec<u8>)>) -> io::Result<()>;

    /// Those records that are there, in order: at least one if there is one, and no further one once `limit` bytes
    /// are reached.
    fn read(&self, indexes: Range<u64>, limit: usize) -> io::Result<Vec<Vec<u8>>>;

    /// The last record.
    fn last(&self) -> io::Result<Option<Vec<u8>>>;

    /// Removes this record and all behind it, the last one first, so that no hole is ever left.
    fn remove_from(&self, index: u64) -> io::Result<()>;

    /// Writes down how far the log is purged, then removes the records up to and with `index`.
    fn purge(&self, index: u64, purged: Vec<u8>) -> io::Result<()>;

    /// A value; none where nothing was put.
    fn get(&self, key: Key) -> io::Result<Option<Vec<u8>>>;

    /// Puts a value, or takes it away.
    fn put(&self, key: Key, value: Option<Vec<u8>>) -> io::Result<()>;

    /// Calls back once all that was written so far is durable.
    fn when_durable(&self, then: WhenDurable);

    /// Notes that this entry is known to be committed, for when it is durable here. The note survives this process; it may be
    /// lost, or be an older one, where the machine fails.
    fn note_committed(&self, index: u64, note: Vec<u8>) -> io::Result<()>;

    /// The last such note, if it can be told.
    fn committed(&self) -> io::Result<Option<Vec<u8>>>;
}
