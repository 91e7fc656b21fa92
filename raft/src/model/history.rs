//! Who changed what, and the way back.
//!
//! Each version has a record: who asked for it, when and through which node, the changes that made it, and those that
//! take it back. Both are the smallest set of changes between the two configurations, so a version costs what it
//! changed, however large the configuration is. Records are chained by their hashes: none can be altered or left out
//! without it showing.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::change::{Batch, Change, Entry, RequestId, Typist, UnixMillis};
use super::config::{FleetConfig, Version};
use super::diff::diff;
use super::fleet::{FleetState, RecordHash};
use super::rejection::{Refusal, Rejection};

/// The longest time that a version may wait for its `confirm`, in seconds.
pub const LONGEST_CONFIRM: u32 = 3600;

/// The fewest and the most versions that are kept.
const KEEP: std::ops::RangeInclusive<u32> = 1..=10_000;

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Lines, one or a transaction of them.
    Lines,
    /// `fleetbal config apply`: the configuration of a file.
    File,
    /// `config rollback V`.
    Rollback(Version),
    /// Nothing: a version that was not confirmed in time was undone.
    Unconfirmed(Version),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lines => f.write_str("lines"),
            Self::File => f.write_str("config apply"),
            Self::Rollback(to) => write!(f, "config rollback {to}"),
            Self::Unconfirmed(version) => write!(f, "version {version} was not confirmed"),
        }
    }
}

/// One version's entry in the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The version that it made.
    pub version: Version,
    /// When it was proposed, by the proposer's clock.
    pub time: UnixMillis,
    /// The node where it was typed.
    pub node: String,
    /// Who typed it.
    pub typist: Typist,
    /// The request's id.
    pub request_id: RequestId,
    /// What was asked for.
    pub cause: Cause,
    /// From the version before to this one.
    pub forward: Vec<Change>,
    /// From this version to the one before.
    pub backward: Vec<Change>,
    /// Of all this and of the record before.
    pub hash: RecordHash,
}

impl Record {
    fn new(before: &FleetConfig, after: &FleetConfig, entry: &Entry, cause: Cause, last: RecordHash) -> Self {
        let mut record = Self {
            version: after.version,
            time: entry.time,
            node: entry.origin_node.clone(),
            typist: entry.typist.clone(),
            request_id: entry.request_id,
            cause,
            forward: diff(before, after),
            backward: diff(after, before),
            hash: RecordHash::default(),
        };
        record.hash = record.hash_behind(last);
        record
    }

    /// SHA-256 over lines of text: the hash before in hex, what the record says of itself, and its changes.
    fn hash_behind(&self, last: RecordHash) -> RecordHash {
        let mut hash = Sha256::new();
        let mut line = |text: &dyn fmt::Display| hash.update(format!("{text}\n"));
        line(&last);
        line(&self.version);
        line(&self.time.0);
        line(&self.node);
        line(&self.typist.address);
        line(&self.typist.token.as_deref().unwrap_or("-"));
        line(&self.request_id);
        line(&self.cause);
        for change in &self.forward {
            line(&format_args!("+{change}"));
        }
        for change in &self.backward {
            line(&format_args!("-{change}"));
        }
        RecordHash(hash.finalize().into())
    }
}

/// A version that is undone unless somebody confirms it in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    /// The version.
    pub version: Version,
    /// For how long it waits, in seconds.
    pub seconds: u32,
}

/// The records that are kept, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History {
    pub(crate) records: VecDeque<Arc<Record>>,
    /// Of the last record that was let go.
    pub(crate) before: RecordHash,
    pub(crate) pending: Option<Pending>,
}

/// What an intact history was found to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intact {
    /// How many records.
    pub records: usize,
    /// The oldest configuration that can be had again.
    pub oldest: Version,
    /// Of the newest record.
    pub hash: RecordHash,
}

/// A history that was altered or damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// A record is not what it was.
    #[error("the record of version {0} does not match its hash")]
    Hash(Version),
    /// Its changes do not fit.
    #[error("version {0} cannot be gone through: {1}")]
    Changes(Version, Rejection),
    /// Back and forth does not lead where it began.
    #[error("the history does not lead to the configuration of version {0}")]
    Elsewhere(Version),
}

impl History {
    /// All records, oldest first.
    pub fn records(&self) -> impl DoubleEndedIterator<Item = &Arc<Record>> + ExactSizeIterator {
        self.records.iter()
    }

    /// The record of a version.
    pub fn record(&self, version: Version) -> Option<&Arc<Record>> {
        let at = self
            .records
            .binary_search_by_key(&version, |record| record.version);
        at.ok().and_then(|at| self.records.get(at))
    }

    /// The hash of the record before a version's.
    pub fn hash_before(&self, version: Version) -> RecordHash {
        let earlier = self.records.partition_point(|record| record.version < version);
        let last = earlier.checked_sub(1).and_then(|last| self.records.get(last));
        last.map_or(self.before, |record| record.hash)
    }

    /// The version that waits for its `confirm`.
    pub fn pending(&self) -> Option<Pending> {
        self.pending
    }

    fn head(&self) -> RecordHash {
        self.records.back().map_or(self.before, |record| record.hash)
    }

    fn push(&mut self, record: Record, keep: usize) {
        self.records.push_back(Arc::new(record));
        while self.records.len() > keep
            && let Some(oldest) = self.records.pop_front()
        {
            self.before = oldest.hash;
        }
    }
}

impl FleetState {
    /// What each version was, and who made it.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// The configuration as it was at a version.
    ///
    /// # Errors
    /// When that version is not kept any more, or is still to come.
    pub fn config_at(&self, version: Version) -> Result<Arc<FleetConfig>, Rejection> {
        if version == self.config.version {
            return Ok(Arc::clone(&self.config));
        }
        let oldest = self.oldest();
        if version < oldest || version > self.config.version {
            return Err(Rejection::NoVersion {
                wanted: version,
                oldest,
                latest: self.config.version,
            });
        }
        let mut config = FleetConfig::clone(&self.config);
        for record in self.history.records().rev() {
            if record.version <= version {
                break;
            }
            config.apply_all(&record.backward).map_err(|(_, why)| why)?;
        }
        config.version = version;
        Ok(Arc::new(config))
    }

    /// The oldest configuration that can be had again.
    fn oldest(&self) -> Version {
        let first = self.history.records.front();
        first.map_or(self.config.version, |record| {
            Version(record.version.0.saturating_sub(1))
        })
    }

    /// Goes through the whole history: every hash, and every change back and forth.
    ///
    /// # Errors
    /// The first place where it does not hold.
    pub fn verify_history(&self) -> Result<Intact, HistoryError> {
        let mut last = self.history.before;
        for record in self.history.records() {
            if record.hash_behind(last) != record.hash {
                return Err(HistoryError::Hash(record.version));
            }
            last = record.hash;
        }
        let mut config = FleetConfig::clone(&self.config);
        let mut go = |record: &Record, changes: &[Change]| {
            let gone = config.apply_all(changes);
            gone.map_err(|(_, why)| HistoryError::Changes(record.version, why))
        };
        for record in self.history.records().rev() {
            go(record, &record.backward)?;
        }
        for record in self.history.records() {
            go(record, &record.forward)?;
        }
        if !config.says_the_same(&self.config) {
            return Err(HistoryError::Elsewhere(self.config.version));
        }
        Ok(Intact {
            records: self.history.records.len(),
            oldest: self.oldest(),
            hash: last,
        })
    }

    pub(super) fn apply_batch(&mut self, batch: &Batch, entry: &Entry) -> Result<Version, Refusal> {
        let whole = |why: Rejection| Refusal::of(&why, Refusal::WHOLE);
        if batch
            .confirm
            .is_some_and(|seconds| !(1..=LONGEST_CONFIRM).contains(&seconds))
        {
            return Err(whole(Rejection::ConfirmTime));
        }
        let next = self.config.with_batch(batch)?;
        let cause = if batch.from_file {
            Cause::File
        } else {
            Cause::Lines
        };
        let before = self.config.version;
        let version = self.become_next(next, entry, cause).map_err(whole)?;
        if let Some(seconds) = batch.confirm
            && version != before
        {
            Arc::make_mut(&mut self.history).pending = Some(Pending { version, seconds });
        }
        Ok(version)
    }

    /// Makes the configuration what it was at an earlier version, as a new one.
    pub(super) fn roll_back(
        &mut self,
        to: Version,
        if_version: Option<Version>,
        entry: &Entry,
    ) -> Result<Version, Rejection> {
        self.config.check_version(if_version)?;
        self.become_again(to, entry, Cause::Rollback(to))
    }

    fn become_again(&mut self, to: Version, entry: &Entry, cause: Cause) -> Result<Version, Rejection> {
        let mut next = FleetConfig::clone(&*self.config_at(to)?);
        next.version = self.config.version;
        next.count_from(&self.config);
        self.become_next(next, entry, cause)
    }

    pub(super) fn confirm(&mut self) -> Result<Version, Rejection> {
        if self.history.pending.is_none() {
            return Err(Rejection::NothingToConfirm);
        }
        Arc::make_mut(&mut self.history).pending = None;
        Ok(self.config.version)
    }

    /// Takes a version back whose time to be confirmed is over.
    pub(super) fn undo(&mut self, version: Version, entry: &Entry) -> Result<Version, Rejection> {
        let Some(pending) = self.history.pending.filter(|pending| pending.version == version) else {
            return Err(Rejection::NothingToConfirm);
        };
        Arc::make_mut(&mut self.history).pending = None;
        let before = Version(version.0.saturating_sub(1));
        let undone = self.become_again(before, entry, Cause::Unconfirmed(version));
        if undone.is_err() {
            Arc::make_mut(&mut self.history).pending = Some(pending);
        }
        undone
    }

    /// Takes a configuration on that was counted already, and writes it into the history.
    fn become_next(&mut self, next: FleetConfig, entry: &Entry, cause: Cause) -> Result<Version, Rejection> {
        if next.version == self.config.version {
            return Ok(next.version);
        }
        if let Some(pending) = self.history.pending {
            return Err(Rejection::WaitsForConfirm(pending.version));
        }
        let record = Record::new(&self.config, &next, entry, cause, self.history.head());
        debug_assert!(
            leads(&self.config, &record.forward, &next),
            "{:?}",
            record.forward
        );
        debug_assert!(
            leads(&next, &record.backward, &self.config),
            "{:?}",
            record.backward
        );
        Arc::make_mut(&mut self.history).push(record, next.config_history());
        self.config = Arc::new(next);
        Ok(self.config.version)
    }
}

/// Whether changes make one configuration out of the other.
fn leads(from: &FleetConfig, changes: &[Change], to: &FleetConfig) -> bool {
    let mut config = from.clone();
    config.apply_all(changes).is_ok() && config.says_the_same(to)
}

impl FleetConfig {
    pub(super) fn set_config_history(&mut self, versions: u32) -> Result<(), Rejection> {
        if !KEEP.contains(&versions) {
            return Err(Rejection::ConfigHistory);
        }
        self.config_history = Some(versions);
        Ok(())
    }
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
