use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::*;

fn synced(disk: &Disk) {
    let (told, telling) = channel();
    disk.when_durable(Box::new(move |result| told.send(result).unwrap()));
    telling.recv().unwrap().unwrap();
}

fn record(index: u64) -> (u64, Vec<u8>) {
    (index, vec![u8::try_from(index).unwrap(); 3 * keys::PART_BYTES])
}

fn append(disk: &Disk, indexes: Range<u64>) {
    disk.append(indexes.map(record).collect()).unwrap();
}

fn indexes(disk: &Disk) -> Vec<u64> {
    let records = disk.read(0..u64::MAX, usize::MAX).unwrap();
    records.iter().map(|record| u64::from(record[0])).collect()
}

/// Works on the closed store behind the log's back, as soon as its threads have ended and it is no longer locked.
fn meddle(dir: &TempDir, with: impl FnOnce(&sled::Tree)) {
    let patience = Instant::now() + Duration::from_secs(30);
    let db = loop {
        match sled::open(dir.path().join("sled")) {
            Ok(db) => break db,
            Err(error) => assert!(Instant::now() < patience, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    with(&db.open_tree("log").unwrap());
    db.flush().unwrap();
}

fn reason(dir: &TempDir) -> String {
    match Disk::open(dir.path()) {
        Err(StoreError::Corrupt { reason, .. }) => reason,
        other => panic!("expected a corrupt store, got {other:?}"),
    }
}

#[test]
fn the_file_is_synced_before_anybody_is_told() {
    let dir = TempDir::new().unwrap();
    let syncs = std::sync::Arc::new(AtomicU64::new(0));
    let counted = std::sync::Arc::clone(&syncs);
    let disk = Disk::open_with(
        dir.path(),
        Box::new(move |file| {
            counted.fetch_add(1, Ordering::SeqCst);
            file.sync_data()
        }),
    )
    .unwrap();
    append(&disk, 0..3);
    disk.put(Key::Vote, Some(vec![1])).unwrap();
    assert_eq!(syncs.load(Ordering::SeqCst), 0, "nobody asked yet");
    for n in 1..4 {
        synced(&disk);
        assert_eq!(syncs.load(Ordering::SeqCst), n);
    }
}

#[test]
fn a_failed_sync_is_told_and_not_tried_again() {
    let dir = TempDir::new().unwrap();
    let disk = Disk::open_with(dir.path(), Box::new(|_| Err(io::ErrorKind::StorageFull.into()))).unwrap();
    for _ in 0..2 {
        let (told, telling) = channel();
        disk.when_durable(Box::new(move |result| told.send(result).unwrap()));
        assert_eq!(
            telling.recv().unwrap().unwrap_err().kind(),
            io::ErrorKind::StorageFull
        );
    }
}

#[test]
fn a_last_record_in_pieces_goes_only_if_nobody_was_told_of_it() {
    let dir = TempDir::new().unwrap();
    let disk = Disk::open(dir.path()).unwrap();
    append(&disk, 0..2);
    synced(&disk);
    append(&disk, 2..3);
    drop(disk);
    meddle(&dir, |log| {
        log.remove(keys::part(2, 3)).unwrap().unwrap();
    });
    let disk = Disk::open(dir.path()).unwrap();
    assert_eq!(indexes(&disk), [0, 1]);
    append(&disk, 2..3);
    synced(&disk);
    drop(disk);
    assert_eq!(indexes(&Disk::open(dir.path()).unwrap()), [0, 1, 2]);
    meddle(&dir, |log| {
        log.remove(keys::part(2, 3)).unwrap().unwrap();
    });
    assert_eq!(reason(&dir), "its log has lost entries that were durable");
}

#[test]
fn a_hole_is_reported() {
    for (parts, expected) in [
        (0..4, "entry 1 of its log is missing"),
        (3..4, "entry 1 of its log is not whole"),
        (0..1, "entry 1 of its log is missing"),
    ] {
        let dir = TempDir::new().unwrap();
        let disk = Disk::open(dir.path()).unwrap();
        append(&disk, 0..4);
        synced(&disk);
        drop(disk);
        meddle(&dir, |log| {
            for part in parts {
                log.remove(keys::part(1, part)).unwrap().unwrap();
            }
        });
        assert_eq!(reason(&dir), expected);
    }
}

#[test]
fn a_purge_that_a_crash_cut_short_is_finished() {
    let dir = TempDir::new().unwrap();
    let disk = Disk::open(dir.path()).unwrap();
    append(&disk, 0..5);
    synced(&disk);
    disk.purge(2, vec![7]).unwrap();
    drop(disk);
    meddle(&dir, |log| {
        for (key, part) in keys::cut(2, &record(2).1).skip(1) {
            log.insert(key, part).unwrap();
        }
    });
    let disk = Disk::open(dir.path()).unwrap();
    assert_eq!(indexes(&disk), [3, 4]);
    assert_eq!(disk.get(Key::Purged).unwrap(), Some(vec![7]));
}

#[test]
fn a_store_that_lags_behind_its_mark_is_reported() {
    let dir = TempDir::new().unwrap();
    let disk = Disk::open(dir.path()).unwrap();
    synced(&disk);
    drop(disk);
    let older = std::fs::read(dir.path().join("sled/db")).unwrap();
    let disk = Disk::open(dir.path()).unwrap();
    disk.put(Key::Vote, Some(vec![1])).unwrap();
    synced(&disk);
    drop(disk);
    for file in std::fs::read_dir(dir.path().join("sled")).unwrap() {
        let path = file.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("snap") {
            std::fs::remove_file(path).unwrap();
        }
    }
    std::fs::write(dir.path().join("sled/db"), older).unwrap();
    assert_eq!(reason(&dir), "its log has lost entries that were durable");
}

#[test]
fn what_sled_panics_with_becomes_an_error() {
    let error = guarded(Path::new("/x"), || -> Result<(), StoreError> {
        panic!("first\nsecond")
    });
    let text = error.unwrap_err().to_string();
    assert!(text.starts_with("the store /x is corrupt (first); "), "{text}");
}
