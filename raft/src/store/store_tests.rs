use futures::TryStreamExt;
use openraft::impls::leader_id_adv::LeaderId;
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::TypeConfigExt;
use openraft::{EntryPayload, StorageError};
use tempfile::TempDir;

use super::*;
use crate::machine::{SnapshotPlace, StateMachine};
use crate::types::LogCommand;

struct OnDisk;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, TempDir> for OnDisk {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), StorageError<TypeConfig>> {
        let dir = TempDir::new().unwrap();
        let log = LogStore::open(&dir.path().join("log")).unwrap();
        let (machine, _) = StateMachine::open(SnapshotPlace::Dir(dir.path().join("snapshots"))).unwrap();
        Ok((dir, log, machine))
    }
}

struct InMemory;

impl StoreBuilder<TypeConfig, LogStore, StateMachine> for InMemory {
    async fn build(&self) -> Result<((), LogStore, StateMachine), StorageError<TypeConfig>> {
        let (machine, _) = StateMachine::open(SnapshotPlace::Memory).unwrap();
        Ok(((), LogStore::in_memory(), machine))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_library_s_own_suite_passes_on_disk() {
    Suite::test_all(OnDisk).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_library_s_own_suite_passes_in_memory() {
    Suite::test_all(InMemory).await.unwrap();
}

fn log_id(term: u64, index: u64) -> LogId {
    let leader_id = LeaderId { term, node_id: 1 };
    LogId { leader_id, index }
}

fn entry(term: u64, index: u64, size: usize) -> LogEntry {
    let skip = usize::try_from(index % 251).unwrap();
    let bytes = (0_u8..251).cycle().skip(skip).take(size).collect();
    LogEntry {
        log_id: log_id(term, index),
        payload: EntryPayload::Normal(LogCommand(bytes)),
    }
}

async fn append(log: &mut LogStore, entries: Vec<LogEntry>) {
    let (told, durable) = TypeConfig::oneshot();
    log.append(entries, IOFlushed::signal(told)).await.unwrap();
    durable.await.unwrap().unwrap();
}

async fn all(log: &mut LogStore) -> Vec<LogEntry> {
    log.try_get_log_entries(..).await.unwrap()
}

#[tokio::test]
async fn what_was_kept_is_there_after_reopening() {
    let dir = TempDir::new().unwrap();
    let entries: Vec<_> = (0..20).map(|index| entry(1, index, 100)).collect();
    let vote = Vote::new_committed(3, 7);
    {
        let mut log = LogStore::open(dir.path()).unwrap();
        append(&mut log, entries.clone()).await;
        log.save_vote(&vote).await.unwrap();
        log.save_committed(Some(log_id(1, 15))).await.unwrap();
        log.purge(log_id(1, 4)).await.unwrap();
    }
    let mut log = LogStore::open(dir.path()).unwrap();
    assert_eq!(all(&mut log).await, entries[5..]);
    assert_eq!(log.read_vote().await.unwrap(), Some(vote));
    assert_eq!(log.read_committed().await.unwrap(), Some(log_id(1, 15)));
    let state = log.get_log_state().await.unwrap();
    assert_eq!(state.last_purged_log_id, Some(log_id(1, 4)));
    assert_eq!(state.last_log_id, Some(log_id(1, 19)));
}

#[tokio::test]
async fn what_is_not_in_the_log_is_not_taken_for_committed() {
    let mut log = LogStore::in_memory();
    append(&mut log, vec![entry(1, 0, 10), entry(2, 1, 10)]).await;
    for (noted, is_known) in [(log_id(2, 1), true), (log_id(1, 1), false), (log_id(2, 2), false)] {
        log.save_committed(Some(noted)).await.unwrap();
        assert_eq!(
            log.read_committed().await.unwrap(),
            Some(noted).filter(|_| is_known)
        );
    }
}

#[tokio::test]
async fn what_was_cut_off_stays_away_after_reopening() {
    let dir = TempDir::new().unwrap();
    {
        let mut log = LogStore::open(dir.path()).unwrap();
        append(&mut log, (0..10).map(|index| entry(1, index, 200_000)).collect()).await;
        log.truncate_after(Some(log_id(1, 3))).await.unwrap();
        append(&mut log, vec![entry(2, 4, 10)]).await;
    }
    let mut log = LogStore::open(dir.path()).unwrap();
    let mut expected: Vec<_> = (0..4).map(|index| entry(1, index, 200_000)).collect();
    expected.push(entry(2, 4, 10));
    assert!(all(&mut log).await == expected);
    log.truncate_after(None).await.unwrap();
    drop(log);
    let mut log = LogStore::open(dir.path()).unwrap();
    assert_eq!(log.get_log_state().await.unwrap(), LogState::default());
}

#[tokio::test]
async fn a_log_begins_behind_a_snapshot_that_was_ahead_of_it() {
    let dir = TempDir::new().unwrap();
    {
        let mut log = LogStore::open(dir.path()).unwrap();
        append(&mut log, (0..3).map(|index| entry(1, index, 10)).collect()).await;
        log.purge(log_id(2, 100)).await.unwrap();
        append(&mut log, vec![entry(2, 101, 10)]).await;
    }
    let mut log = LogStore::open(dir.path()).unwrap();
    assert_eq!(all(&mut log).await, [entry(2, 101, 10)]);
}

#[tokio::test]
async fn the_largest_change_comes_back_and_needs_no_file_of_its_own() {
    let dir = TempDir::new().unwrap();
    let mut entries = vec![entry(1, 0, 16 << 20), entry(1, 1, 3)];
    entries.extend((2..100).map(|index| entry(1, index, 30_000)));
    {
        let mut log = LogStore::open(dir.path()).unwrap();
        append(&mut log, entries.clone()).await;
        assert!(all(&mut log).await == entries);
    }
    let mut log = LogStore::open(dir.path()).unwrap();
    assert!(all(&mut log).await == entries);
    assert_eq!(log.limited_get_log_entries(0, 2).await.unwrap().len(), 1);
    let blobs = std::fs::read_dir(dir.path().join("sled/blobs")).unwrap();
    assert_eq!(blobs.count(), 0);
}

#[tokio::test]
async fn much_is_read_in_pieces_and_nothing_is_left_out() {
    let dir = TempDir::new().unwrap();
    for mut log in [LogStore::open(dir.path()).unwrap(), LogStore::in_memory()] {
        let entries: Vec<_> = (0..12).map(|index| entry(1, index, READ_BYTES / 4)).collect();
        append(&mut log, entries.clone()).await;
        let some = log.limited_get_log_entries(2, 12).await.unwrap();
        assert!(some == entries[2..6], "{} entries", some.len());
        let streamed: Vec<_> = log.entries_stream(1..11).await.try_collect().await.unwrap();
        assert!(streamed == entries[1..11]);
        let none: Vec<_> = log.entries_stream(12..20).await.try_collect().await.unwrap();
        assert!(none.is_empty());
    }
}

#[test]
fn a_store_that_is_open_elsewhere_is_named() {
    let dir = TempDir::new().unwrap();
    let first = LogStore::open(dir.path()).unwrap();
    let error = LogStore::open(dir.path()).unwrap_err();
    assert!(matches!(error, StoreError::Held(_)));
    let expected = format!(
        "the store {} is held by another process; stop that one first",
        dir.path().display()
    );
    assert_eq!(error.to_string(), expected);
    drop(first);
    LogStore::open(dir.path()).unwrap();
}

#[test]
fn a_later_format_is_named() {
    let dir = TempDir::new().unwrap();
    drop(LogStore::open(dir.path()).unwrap());
    std::fs::write(dir.path().join("format"), "2\n").unwrap();
    let error = LogStore::open(dir.path()).unwrap_err();
    let expected = format!(
        "the store {} has format 2, of a later release; this release reads up to format 1",
        dir.path().display()
    );
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn missing_parts_of_a_store_are_named() {
    for (part, reason) in [
        ("format", "its format file is missing"),
        ("sled", "its log is missing"),
        ("sled/db", "its log is missing"),
    ] {
        let dir = TempDir::new().unwrap();
        let mut log = LogStore::open(dir.path()).unwrap();
        log.save_vote(&Vote::new(1, 1)).await.unwrap();
        drop(log);
        let path = dir.path().join(part);
        if path.is_dir() {
            std::fs::remove_dir_all(&path).unwrap();
        } else {
            std::fs::remove_file(&path).unwrap();
        }
        let error = LogStore::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
        assert!(error.contains(&dir.path().display().to_string()), "{error}");
    }
}

/// Damages one place after the other. Either the damage is reported, or it hit nothing that counts.
#[tokio::test]
async fn damage_is_reported_or_harmless_and_never_forgets_quietly() {
    let sound = TempDir::new().unwrap();
    let entries: Vec<_> = (0..300).map(|index| entry(1, index, 2000)).collect();
    let mut log = LogStore::open(sound.path()).unwrap();
    for entry in &entries {
        append(&mut log, vec![entry.clone()]).await;
    }
    log.save_vote(&Vote::new(5, 1)).await.unwrap();
    drop(log);
    let db = std::fs::read(sound.path().join("sled/db")).unwrap();
    let mut reported = 0;
    for place in 0..24 {
        let dir = copy(&sound);
        let mut damaged = db.clone();
        let at = db.len() / 24 * place + 100;
        damaged[at..at + 64].iter_mut().for_each(|byte| *byte ^= 0x55);
        std::fs::write(dir.path().join("sled/db"), damaged).unwrap();
        match LogStore::open(dir.path()) {
            Err(StoreError::Corrupt { path, .. }) => {
                assert_eq!(path, dir.path());
                reported += 1;
            }
            Err(other) => panic!("damage at {at} was reported as: {other}"),
            Ok(mut log) => {
                assert!(all(&mut log).await == entries, "damage at {at} was not reported");
                assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new(5, 1)));
            }
        }
    }
    assert!(reported > 0);
}

fn copy(from: &TempDir) -> TempDir {
    let to = TempDir::new().unwrap();
    std::fs::create_dir_all(to.path().join("sled/blobs")).unwrap();
    for dir in ["", "sled"] {
        for file in std::fs::read_dir(from.path().join(dir)).unwrap() {
            let file = file.unwrap();
            if file.file_type().unwrap().is_file() {
                std::fs::copy(file.path(), to.path().join(dir).join(file.file_name())).unwrap();
            }
        }
    }
    to
}
