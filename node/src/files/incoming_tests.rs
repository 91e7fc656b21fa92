use std::fs;
use std::os::unix::fs::symlink;

use super::*;

fn spot(root: &Path, path: &str, existing: usize) -> Spot {
    Spot {
        root: root.to_owned(),
        path: path.into(),
        existing,
    }
}

fn put(spot: &Spot, content: &str) -> Result<(), IncomingError> {
    let mut incoming = Incoming::create(spot, false)?;
    incoming.write(content.as_bytes())?;
    incoming.finish(None)
}

/// The names of all that is in a directory.
fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_file_is_there_when_it_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let place = spot(root, "a/b/c", 0);
    let mut incoming = Incoming::create(&place, false).unwrap();
    incoming.write(b"first").unwrap();
    assert!(names(&root.join("a/b")).is_empty());
    incoming.finish(None).unwrap();
    assert_eq!(fs::read(root.join("a/b/c")).unwrap(), b"first");
    put(&place, "second").unwrap();
    assert_eq!(fs::read(root.join("a/b/c")).unwrap(), b"second");
    // One that does not come to its end changes nothing.
    let mut incoming = Incoming::create(&place, false).unwrap();
    incoming.write(b"third").unwrap();
    drop(incoming);
    assert_eq!(fs::read(root.join("a/b/c")).unwrap(), b"second");
    assert_eq!(names(&root.join("a/b")), ["c"]);
}

#[test]
fn what_a_crash_left_between_two_names_is_in_nobodys_way() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    put(&spot(root, "a", 0), "first").unwrap();
    let digest = HEXLOWER.encode(&Sha256::digest(b"a"));
    let left = root.join(format!("{TEMPORARY}{digest}"));
    fs::write(&left, "left").unwrap();
    put(&spot(root, "a", 0), "second").unwrap();
    assert_eq!(fs::read(root.join("a")).unwrap(), b"second");
    assert_eq!(names(root), ["a"]);
}

#[test]
fn many_may_put_one_file() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    std::thread::scope(|scope| {
        for number in 0..8 {
            scope.spawn(move || {
                for _ in 0..20 {
                    put(&spot(root, "a", 0), &format!("{number}{number}")).unwrap();
                }
            });
        }
    });
    let content = fs::read_to_string(root.join("a")).unwrap();
    assert_eq!(content.len(), 2);
    assert_eq!(names(root), ["a"]);
}

#[test]
fn where_files_must_have_names_they_go_with_the_upload() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let place = spot(root, "a", 0);
    let begin = || {
        let mut incoming = Incoming::create(&place, false).unwrap();
        let (file, temporary) = named(&incoming.directory).unwrap();
        (incoming.file, incoming.temporary) = (file.into(), temporary);
        incoming.write(b"text").unwrap();
        assert!(names(root).iter().any(|name| name.starts_with(TEMPORARY)));
        incoming
    };
    drop(begin());
    assert!(names(root).is_empty());
    begin().finish(None).unwrap();
    assert_eq!(names(root), ["a"]);
}

#[test]
fn what_came_must_be_what_was_announced() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let finish = |expected: &str| {
        let mut incoming = Incoming::create(&spot(root, "a", 0), true).unwrap();
        incoming.write(b"he").unwrap();
        incoming.write(b"llo").unwrap();
        incoming.finish(Some(expected))
    };
    let Err(IncomingError::Digest { expected, actual }) = finish("AAAA==") else {
        panic!("it is taken");
    };
    assert_eq!(
        (expected.as_str(), actual.as_str()),
        ("AAAA", "XUFAKrxLKna5cZ2REBfFkg")
    );
    assert!(names(root).is_empty());
    finish("XUFAKrxLKna5cZ2REBfFkg==").unwrap();
    finish("XUFAKrxLKna5cZ2REBfFkg").unwrap();
}

#[test]
fn nothing_is_put_or_removed_outside() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    fs::create_dir_all(root.join("sub")).unwrap();
    fs::create_dir(dir.path().join("other")).unwrap();
    fs::write(dir.path().join("other/secret"), "secret").unwrap();
    symlink("../other", root.join("out")).unwrap();
    symlink("../other/secret", root.join("link")).unwrap();
    symlink("sub", root.join("in")).unwrap();
    for bad in ["out/secret", "out/new/file"] {
        let result = put(&spot(&root, bad, 0), "evil");
        assert!(
            matches!(result, Err(IncomingError::Place(OpenError::Outside))),
            "{bad}"
        );
        assert!(remove(&spot(&root, bad, 0)).is_err(), "{bad}");
    }
    // A link gives way to the file, and is not followed.
    put(&spot(&root, "link", 0), "text").unwrap();
    assert!(root.join("link").symlink_metadata().unwrap().is_file());
    assert_eq!(fs::read(dir.path().join("other/secret")).unwrap(), b"secret");
    put(&spot(&root, "in/a", 0), "text").unwrap();
    assert_eq!(names(&root.join("sub")), ["a"]);
    remove(&spot(&root, "in/a", 0)).unwrap();
    assert!(names(&root.join("sub")).is_empty());
}

#[test]
fn what_is_in_the_way_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    fs::create_dir(root.join("d")).unwrap();
    fs::write(root.join("f"), "text").unwrap();
    nix::unistd::mkfifo(&root.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    for bad in ["d", "fifo"] {
        let result = put(&spot(root, bad, 0), "");
        assert!(
            matches!(result, Err(IncomingError::Place(OpenError::NotAFile))),
            "{bad}"
        );
    }
    assert!(put(&spot(root, "f/a", 0), "").is_err());
    for (path, existing) in [("x/a", 1), ("d/x/a", 2), ("f/a", 1)] {
        let result = put(&spot(root, path, existing), "");
        assert!(matches!(result, Err(IncomingError::NoBase)), "{path}");
    }
    put(&spot(root, "d/x/a", 1), "").unwrap();
    for bad in ["d", "x", "f/a"] {
        assert!(remove(&spot(root, bad, 0)).is_err(), "{bad}");
    }
    assert_eq!(names(root), ["d", "f", "fifo"]);
}
