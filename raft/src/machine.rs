//! The replicated state: entries go in, each is answered, and whoever follows the feed sees what came of them.
//!
//! It lives in memory; snapshots and the log bring it back. Entries are applied by one task; snapshots are built
//! from a copy, on a thread of their own.

mod replicated;
mod salvage;
mod snapshot;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::{Stream, TryStreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{OptionalSend, RaftSnapshotBuilder};

pub(crate) use self::salvage::Salvage;
pub(crate) use self::snapshot::snapshot_level;
pub use self::snapshot::{SnapshotError, SnapshotPlace, check_snapshot};

use self::replicated::Replicated;
use self::snapshot::Shelf;
use crate::feed::{Feed, FeedWriter};
use crate::model::{Answer, RequestId};
use crate::store::StoreError;
use crate::types::{LogId, Snapshot, SnapshotData, SnapshotMeta, StoredMembership, TypeConfig};
use crate::wire::{decode_state, encode_state};

/// Entries that are applied before what they made is shown and answered.
const PUBLISH_EVERY: usize = 64;

/// A snapshot copies all answers that are kept, so it waits for a new entry for each so many of them.
const ANSWERS_PER_ENTRY: u64 = 10;

/// A handle on the replicated state. Clones are of the same one.
#[derive(Debug, Clone)]
pub struct StateMachine {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    replicated: Mutex<Replicated>,
    feed: FeedWriter,
    shelf: Shelf,
}

impl StateMachine {
    /// Begins with the snapshot that lies there, or with nothing. Blocks.
    ///
    /// # Errors
    /// When the snapshot is damaged or of a later release, or the place cannot be used.
    pub fn open(place: SnapshotPlace) -> Result<(Self, Feed), StoreError> {
        let (shelf, replicated) = Shelf::open(place)?;
        Ok(Self::on(shelf, replicated.unwrap_or_default()))
    }

    /// Begins with a state that another log made, in memory: the log that follows begins anew.
    ///
    /// # Errors
    /// When the state is damaged or of a later release.
    pub fn with_state(state: &[u8]) -> Result<(Self, Feed), StoreError> {
        let (state, answers) =
            decode_state(state).map_err(|error| StoreError::corrupt(Path::new("(memory)"), error))?;
        let (shelf, _) = Shelf::open(SnapshotPlace::Memory)?;
        let replicated = Replicated::new(state, answers, None, StoredMembership::default());
        Ok(Self::on(shelf, replicated))
    }

    fn on(shelf: Shelf, replicated: Replicated) -> (Self, Feed) {
        let (writer, feed) = FeedWriter::new(replicated.applied());
        let shared = Arc::new(Shared {
            replicated: Mutex::new(replicated),
            feed: writer,
            shelf,
        });
        (Self { shared }, feed)
    }

    /// The state as bytes for [`StateMachine::with_state`].
    pub fn state(&self) -> Vec<u8> {
        let replicated = self.shared.replicated();
        encode_state(&replicated.state, &replicated.answers)
    }

    /// What a request was answered, if it was applied here and is not forgotten.
    pub fn answer(&self, request: RequestId) -> Option<Answer> {
        self.shared.replicated().answers.get(request).cloned()
    }
}

impl Shared {
    /// Whether enough was applied since the last snapshot.
    fn worth_a_snapshot(&self) -> bool {
        let (last, answers) = {
            let replicated = self.replicated();
            (replicated.last_applied, replicated.answers.len())
        };
        let entries = next_index(last).saturating_sub(next_index(self.shelf.kept()));
        entries.saturating_mul(ANSWERS_PER_ENTRY) >= u64::try_from(answers).unwrap_or(u64::MAX)
    }

    /// The state. A panic under the lock would be one in the model; the state is whole before and after each entry,
    /// so the next reader need not fail too.
    fn replicated(&self) -> MutexGuard<'_, Replicated> {
        self.replicated.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self) {
        let applied = self.replicated().applied();
        self.feed.publish(applied);
    }
}

/// Answers that were not given yet: nobody hears of an entry before this node shows what it made.
#[derive(Default)]
struct Unanswered(Vec<(openraft::storage::ApplyResponder<TypeConfig>, Option<Answer>)>);

impl Unanswered {
    fn answer(&mut self) {
        for (responder, answer) in self.0.drain(..) {
            responder.send(answer);
        }
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let replicated = self.shared.replicated();
        Ok((replicated.last_applied, replicated.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        let mut unanswered = Unanswered::default();
        let mut unpublished = 0_usize;
        let outcome = loop {
            let (entry, responder) = match entries.try_next().await {
                Ok(Some(next)) => next,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            };
            let index = entry.log_id.index;
            let answer = match self.shared.replicated().apply(entry) {
                Ok(answer) => answer,
                Err(error) => break Err(io::Error::other(format!("entry {index} of the log: {error}"))),
            };
            unpublished += 1;
            unanswered
                .0
                .extend(responder.map(|responder| (responder, answer)));
            if unpublished == PUBLISH_EVERY {
                self.shared.publish();
                unanswered.answer();
                unpublished = 0;
                // A long batch must not keep Raft's own calls from this thread.
                tokio::task::yield_now().await;
            }
        };
        if unpublished > 0 {
            self.shared.publish();
            unanswered.answer();
        }
        outcome
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<SnapshotBuilder> {
        if !force && !self.shared.worth_a_snapshot() {
            return None;
        }
        Some(self.get_snapshot_builder().await)
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder {
            view: Arc::new(self.shared.replicated().clone()),
            shared: Arc::clone(&self.shared),
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, bytes: SnapshotData) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let announced = meta.clone();
        blocking(move || {
            let replicated = snapshot::decode(&bytes).map_err(io::Error::other)?;
            if replicated.last_applied != announced.last_log_id
                || replicated.membership != announced.last_membership
            {
                return Err(io::Error::other(SnapshotError::Other));
            }
            shared.shelf.keep(replicated.last_applied, &bytes)?;
            *shared.replicated() = replicated;
            shared.publish();
            Ok(())
        })
        .await
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        let shared = Arc::clone(&self.shared);
        let latest = blocking(move || Ok(shared.shelf.latest()?)).await?;
        Ok(latest.map(|(meta, snapshot)| Snapshot { meta, snapshot }))
    }
}

/// Builds one snapshot of the state as it was when the builder was made.
#[derive(Debug)]
pub struct SnapshotBuilder {
    view: Arc<Replicated>,
    shared: Arc<Shared>,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let view = Arc::clone(&self.view);
        let shared = Arc::clone(&self.shared);
        blocking(move || {
            let (meta, snapshot) = snapshot::encode(&view);
            shared.shelf.keep(meta.last_log_id, &snapshot)?;
            Ok(Snapshot { meta, snapshot })
        })
        .await
    }
}

fn next_index(last: Option<LogId>) -> u64 {
    last.map_or(0, |last| last.index + 1)
}

/// Runs what takes long or waits for a disk beside the tasks.
async fn blocking<T, F>(work: F) -> io::Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> io::Result<T> + Send + 'static,
{
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}

#[cfg(test)]
#[path = "machine/machine_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "machine/raft_tests.rs"]
mod raft_tests;
