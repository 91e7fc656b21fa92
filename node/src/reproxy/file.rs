//! Files that a backend names: opened and read on threads that may block, never on a worker's.
//!
//! Only regular files are opened. Where there is a root, nothing outside of it can be: the kernel resolves the path
//! below it (openat2 with `RESOLVE_BENEATH`), links included, so that no link made in between leads out either.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::{self, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;

/// How much is read at once, in bytes; what a client that takes nothing costs.
pub(super) const PIECE: usize = 64 * 1024;

/// Where files may be: anywhere, or below a directory. An error where this node cannot tell: nowhere.
pub(super) type Root = Result<Option<PathBuf>, String>;

/// Opening what is no file must neither wait nor change anything.
const READ: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_NONBLOCK)
    .union(OFlag::O_NOCTTY)
    .union(OFlag::O_CLOEXEC);

/// A file to be sent.
#[derive(Debug, Clone)]
pub(super) struct Source {
    file: Arc<File>,
    /// Its size in bytes when it was opened; never 0.
    pub(super) size: u64,
}

/// Why a file cannot be sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    /// It is not below the root, or the path says so in a way that is not followed.
    #[error("the path leads out of reproxy_file_root")]
    Outside,
    /// A directory, a device, a pipe or a socket.
    #[error("not a regular file")]
    NotAFile,
    /// Perlbal sends no empty file either.
    #[error("the file is empty")]
    Empty,
    /// The system says no.
    #[error("cannot open the file")]
    System(#[source] io::Error),
}

/// Opens a file that is where files may be; below a root, the path may begin with the root, or be relative to it.
/// Dropping the future does not stop the system's work, only waiting for it.
///
/// # Errors
/// When there is no such file, or it may not be sent.
pub(super) async fn open(root: &Root, path: &[u8]) -> Result<Source, OpenError> {
    let (root, path) = (root.clone(), PathBuf::from(OsStr::from_bytes(path)));
    let opened = tokio::task::spawn_blocking(move || match root {
        Ok(None) => open_anywhere(&path),
        Ok(Some(root)) => open_below(&root, &path),
        Err(_) => Err(OpenError::Outside),
    });
    opened.await.map_err(|error| OpenError::System(error.into()))?
}

fn open_anywhere(path: &Path) -> Result<Source, OpenError> {
    // To open a device can do something already, so it is not opened to be asked what it is.
    if !path.metadata().map_err(OpenError::System)?.is_file() {
        return Err(OpenError::NotAFile);
    }
    let mut options = OpenOptions::new();
    let options = options.read(true).custom_flags(READ.bits());
    Source::new(options.open(path).map_err(OpenError::System)?)
}

fn open_below(root: &Path, path: &Path) -> Result<Source, OpenError> {
    let below = if path.is_absolute() {
        path.strip_prefix(root).map_err(|_| OpenError::Outside)?
    } else {
        path
    };
    if below
        .components()
        .any(|part| !matches!(part, Component::Normal(_) | Component::CurDir))
    {
        return Err(OpenError::Outside);
    }
    let system = |errno: nix::Error| {
        if matches!(errno, nix::Error::EXDEV | nix::Error::ELOOP) {
            OpenError::Outside
        } else {
            OpenError::System(errno.into())
        }
    };
    let place = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let root = fcntl::open(root, place | OFlag::O_DIRECTORY, Mode::empty()).map_err(system)?;
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let how = |flags| OpenHow::new().flags(flags).resolve(resolve);
    // Asked first what it is, without being opened: the same reason.
    let found = openat2(&root, below, how(place)).map_err(system)?;
    if !is_file(&File::from(found))? {
        return Err(OpenError::NotAFile);
    }
    Source::new(File::from(openat2(&root, below, how(READ)).map_err(system)?))
}

fn is_file(file: &File) -> Result<bool, OpenError> {
    Ok(file.metadata().map_err(OpenError::System)?.is_file())
}

impl Source {
    fn new(file: File) -> Result<Self, OpenError> {
        let metadata = file.metadata().map_err(OpenError::System)?;
        if !metadata.is_file() {
            return Err(OpenError::NotAFile);
        }
        match metadata.len() {
            0 => Err(OpenError::Empty),
            size => Ok(Self {
                file: Arc::new(file),
                size,
            }),
        }
    }

    /// Reads at most [`PIECE`] and at most `left` bytes from an offset on. None at the end, also where that has moved.
    ///
    /// # Errors
    /// The system's.
    pub(super) async fn read(&self, offset: u64, left: u64) -> io::Result<Vec<u8>> {
        let file = Arc::clone(&self.file);
        let length = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
        let read = tokio::task::spawn_blocking(move || {
            let mut piece = vec![0; length];
            let read = file.read_at(&mut piece, offset)?;
            piece.truncate(read);
            Ok(piece)
        });
        read.await?
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use nix::sys::stat::SFlag;

    use super::*;

    async fn contents(root: Option<&Path>, path: &Path) -> Result<Vec<u8>, OpenError> {
        let source = open(&Ok(root.map(PathBuf::from)), path.as_os_str().as_bytes()).await?;
        source.read(0, source.size).await.map_err(OpenError::System)
    }

    #[tokio::test]
    async fn reads_in_pieces() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, vec![7; PIECE + 5]).unwrap();
        let source = open(&Ok(None), path.as_os_str().as_bytes()).await;
        let source = source.unwrap();
        let size = source.size;
        assert_eq!(source.read(0, size).await.unwrap(), vec![7; PIECE]);
        assert_eq!(source.read(PIECE as u64, 5).await.unwrap(), [7; 5]);
        assert_eq!(source.read(10, 3).await.unwrap(), [7; 3]);
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(2)
            .unwrap();
        assert!(source.read(2, 5).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn nothing_leads_out_of_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir_all(root.join("sub")).unwrap();
        std::fs::write(root.join("sub/a"), "inside").unwrap();
        std::fs::write(dir.path().join("secret"), "outside").unwrap();
        std::fs::create_dir(dir.path().join("root2")).unwrap();
        std::fs::write(dir.path().join("root2/a"), "outside").unwrap();
        symlink("sub/a", root.join("link")).unwrap();
        symlink("../secret", root.join("out")).unwrap();
        symlink(dir.path().join("secret"), root.join("absolute")).unwrap();
        symlink("..", root.join("up")).unwrap();
        symlink("/proc/self/root", root.join("magic")).unwrap();
        let from = |path: &str| {
            let (root, path) = (root.clone(), root.join(path));
            async move { contents(Some(&root), &path).await }
        };
        assert_eq!(from("sub/a").await.unwrap(), b"inside");
        assert_eq!(from("sub/./a").await.unwrap(), b"inside");
        assert_eq!(from("link").await.unwrap(), b"inside");
        let relative = contents(Some(&root), Path::new("sub/a")).await;
        assert_eq!(relative.unwrap(), b"inside");
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
            assert!(matches!(from(bad).await, Err(OpenError::Outside)), "{bad}");
        }
        let sibling = contents(Some(&root), &dir.path().join("root2/a")).await;
        assert!(matches!(sibling, Err(OpenError::Outside)));
        let nowhere = open(&Err(String::new()), b"/etc/passwd").await;
        assert!(matches!(nowhere, Err(OpenError::Outside)));
        for bad in ["nothing", "sub/a\0b", "sub/a/b"] {
            assert!(matches!(from(bad).await, Err(OpenError::System(_))), "{bad}");
        }
    }

    #[tokio::test]
    async fn only_files_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        std::fs::create_dir(root.join("dir")).unwrap();
        std::fs::write(root.join("empty"), "").unwrap();
        nix::unistd::mkfifo(&root.join("fifo"), Mode::S_IRWXU).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
        symlink("/dev/zero", root.join("zero")).unwrap();
        for root_set in [None, Some(root)] {
            for bad in ["dir", "fifo", "socket"] {
                let result = contents(root_set, &root.join(bad)).await;
                assert!(matches!(result, Err(OpenError::NotAFile)), "{bad}");
            }
            let empty = contents(root_set, &root.join("empty")).await;
            assert!(matches!(empty, Err(OpenError::Empty)));
            assert!(contents(root_set, root).await.is_err());
        }
        let device = contents(None, &root.join("zero")).await;
        assert!(matches!(device, Err(OpenError::NotAFile)));
        // Only root can make one; where the test is not, the link above has to do.
        let node = root.join("node");
        if nix::sys::stat::mknod(
            &node,
            SFlag::S_IFCHR,
            Mode::S_IRWXU,
            nix::sys::stat::makedev(1, 5),
        )
        .is_ok()
        {
            let device = contents(Some(root), &node).await;
            assert!(matches!(device, Err(OpenError::NotAFile)));
        }
    }
}
