use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use nix::sys::stat::{self, SFlag};

use super::*;

fn contents(root: &Path, path: &str) -> Result<String, OpenError> {
    let mut opened = below(root, Path::new(path), Patience::Wait)?;
    let mut text = String::new();
    opened.file.read_to_string(&mut text).map_err(OpenError::System)?;
    Ok(text)
}

fn tree(dir: &Path) -> PathBuf {
    let root = dir.join("root");
    std::fs::create_dir_all(root.join("sub")).unwrap();
    std::fs::write(root.join("sub/a"), "inside").unwrap();
    std::fs::write(dir.join("secret"), "outside").unwrap();
    symlink("sub/a", root.join("link")).unwrap();
    symlink("../secret", root.join("out")).unwrap();
    symlink(dir.join("secret"), root.join("absolute")).unwrap();
    symlink("..", root.join("up")).unwrap();
    symlink("/proc/self/root", root.join("magic")).unwrap();
    root
}

#[test]
fn nothing_leads_out_of_its_directory() {
    let dir = tempfile::tempdir().unwrap();
    let root = tree(dir.path());
    for good in ["sub/a", "sub/./a", "sub//a", "link"] {
        assert_eq!(contents(&root, good).unwrap(), "inside", "{good}");
    }
    for bad in [
        "../secret",
        "sub/../../secret",
        "sub/../sub/a",
        "out",
        "absolute",
        "up/secret",
        "magic/etc/passwd",
        "/etc/passwd",
    ] {
        assert!(matches!(contents(&root, bad), Err(OpenError::Outside)), "{bad}");
    }
    for bad in ["nothing", "sub/a\0b", "sub/a/b"] {
        assert!(matches!(contents(&root, bad), Err(OpenError::System(_))), "{bad}");
    }
    let nowhere = below(&dir.path().join("no"), Path::new("a"), Patience::Wait);
    assert!(matches!(nowhere, Err(OpenError::NoRoot(_))));
}

#[test]
fn only_files_and_directories_are_opened() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    std::fs::create_dir(root.join("dir")).unwrap();
    nix::unistd::mkfifo(&root.join("fifo"), stat::Mode::S_IRWXU).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    symlink("/dev/zero", root.join("zero")).unwrap();
    for bad in ["fifo", "socket"] {
        assert!(matches!(contents(root, bad), Err(OpenError::NotAFile)), "{bad}");
        let result = anywhere(&root.join(bad));
        assert!(matches!(result, Err(OpenError::NotAFile)), "{bad}");
    }
    for place in ["dir", "", "."] {
        let opened = below(root, Path::new(place), Patience::Wait).unwrap();
        assert!(opened.stamp.is_directory(), "{place}");
    }
    let result = anywhere(&root.join("dir"));
    assert!(matches!(result, Err(OpenError::NotAFile)));
    let result = anywhere(&root.join("zero"));
    assert!(matches!(result, Err(OpenError::NotAFile)));
    // Only root can make one; where the test is not, the link above has to do.
    let device = stat::makedev(1, 5);
    if stat::mknod(&root.join("node"), SFlag::S_IFCHR, stat::Mode::S_IRWXU, device).is_ok() {
        assert!(matches!(contents(root, "node"), Err(OpenError::NotAFile)));
    }
}
