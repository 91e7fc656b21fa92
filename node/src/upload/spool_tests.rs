use std::future::poll_fn;
use std::os::unix::fs::PermissionsExt;

use super::*;

fn name(directory: &Path) -> SpoolName {
    SpoolName {
        directory: directory.to_owned(),
        service: "www".into(),
        listen: "127.0.0.1:80".into(),
    }
}

fn files(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

async fn until_empty(directory: &Path) {
    while !files(directory).is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_is_written_is_read_and_the_file_goes() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::create(name(dir.path()), 7, true).await.unwrap();
    let seen = files(dir.path());
    assert_eq!(seen.len(), 1);
    assert!(seen[0].starts_with("www-127.0.0.1:80-client-7-"), "{seen:?}");
    assert!(name(dir.path()).matches(&seen[0]));
    let mode = fs::metadata(dir.path().join(&seen[0]))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let body: Vec<u8> = (0..=255).cycle().take(2 * PIECE + 77).collect();
    let mut emptied = Vec::new();
    for part in body.chunks(100_000) {
        emptied.extend_from_slice(part);
        (spool, emptied) = spool.append(emptied).await.unwrap();
        assert!(emptied.is_empty());
    }
    assert_eq!(spool.length(), body.len() as u64);
    let mut replay = spool.replay();
    let mut got = Vec::new();
    loop {
        let piece = poll_fn(|cx| replay.poll_piece(cx)).await.unwrap();
        if piece.is_empty() {
            break;
        }
        assert!(piece.len() <= PIECE);
        got.extend_from_slice(&piece);
        assert_eq!(replay.left(), (body.len() - got.len()) as u64);
    }
    assert!(got == body);
    assert_eq!(files(dir.path()), seen);
    drop(replay);
    until_empty(dir.path()).await;
}

#[tokio::test]
async fn a_sweep_removes_what_nobody_holds() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::create(name(dir.path()), 1, false).await.unwrap();
    let held = files(dir.path());
    let left_over = "www-[::1]:80-client-3-99";
    let others = [
        "www",
        "www-127.0.0.1:80-client-3-x",
        "www-127.0.0.1:80-other-3-9",
        "www--client-3-9",
        "wwww-127.0.0.1:80-client-3-9",
        "notes.txt",
    ];
    for name in others.iter().chain([&left_over]) {
        fs::write(dir.path().join(name), "x").unwrap();
    }
    fs::create_dir(dir.path().join("www-127.0.0.1:80-client-3-10")).unwrap();
    assert_eq!(name(dir.path()).sweep().unwrap(), 1);
    let now = files(dir.path());
    assert!(!now.contains(&left_over.to_owned()));
    assert!(now.contains(&held[0]));
    assert_eq!(now.len(), others.len() + 2);
    drop(spool);
    while files(dir.path()).contains(&held[0]) {
        tokio::task::yield_now().await;
    }
    // The first file of a process takes what an earlier one left.
    fs::write(dir.path().join(left_over), "x").unwrap();
    let spool = Spool::create(name(dir.path()), 1, true).await.unwrap();
    assert!(!files(dir.path()).contains(&left_over.to_owned()));
    drop(spool);
}

#[tokio::test]
async fn says_when_it_cannot_be_made_or_read() {
    let missing = Path::new("/nonexistent/spool");
    assert!(Spool::create(name(missing), 1, true).await.is_err());
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::create(name(dir.path()), 1, false).await.unwrap();
    let (spool, _) = spool.append(b"abc".to_vec()).await.unwrap();
    let path = dir.path().join(&files(dir.path())[0]);
    OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(1)
        .unwrap();
    let mut replay = spool.replay();
    assert!(poll_fn(|cx| replay.poll_piece(cx)).await.is_err());
    assert!(poll_fn(|cx| replay.poll_piece(cx)).await.is_err());
    until_empty(dir.path()).await;
}
