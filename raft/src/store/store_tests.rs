use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;

use super::*;
use crate::machine::{SnapshotPlace, StateMachine};

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
