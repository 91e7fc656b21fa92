//! Files that a backend names: opened and read on threads that may block, never on a worker's.
//!
//! Only regular files are opened. Where there is a root, nothing outside of it can be.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::files::{self, OpenError, Opened, Patience};

/// How much is read at once, in bytes; what a client that takes nothing costs.
pub(super) const PIECE: usize = 64 * 1024;

/// Where files may be: anywhere, or below a directory. An error where this node cannot tell: nowhere.
pub(super) type Root = Result<Option<PathBuf>, String>;

/// A file to be sent.
#[derive(Debug, Clone)]
pub(super) struct Source {
    file: Arc<File>,
    /// Its size in bytes when it was opened; never 0.
    pub(super) size: u64,
}

/// Why a file cannot be sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    /// It cannot be opened, or must not be.
    #[error("the file is not opened")]
    Open(#[from] OpenError),
    /// Perlbal sends no empty file either.
    #[error("the file is empty")]
    Empty,
}

/// Opens a file that is where files may be; below a root, the path may begin with the root, or be relative to it.
/// Dropping the future does not stop the system's work, only waiting for it.
///
/// # Errors
/// When there is no such file, or it may not be sent.
pub(super) async fn open(root: &Root, path: &[u8]) -> Result<Source, SourceError> {
    let (root, path) = (root.clone(), PathBuf::from(OsStr::from_bytes(path)));
    let opened = files::blocking(move || match root {
        Ok(None) => files::anywhere(&path),
        Ok(Some(root)) => open_below(&root, &path),
        Err(_) => Err(OpenError::Outside),
    });
    Source::new(opened.await?)
}

fn open_below(root: &Path, path: &Path) -> Result<Opened, OpenError> {
    let below = if path.is_absolute() {
        path.strip_prefix(root).map_err(|_| OpenError::Outside)?
    } else {
        path
    };
    files::below(root, below, Patience::Wait)
}

impl Source {
    fn new(opened: Opened) -> Result<Self, SourceError> {
        match opened.stamp.size {
            _ if opened.stamp.is_directory() => Err(OpenError::NotAFile.into()),
            0 => Err(SourceError::Empty),
            size => Ok(Self {
                file: Arc::new(opened.file),
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
        files::blocking(move || {
            let mut piece = vec![0; length];
            let read = file.read_at(&mut piece, offset)?;
            piece.truncate(read);
            Ok(piece)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    async fn only_what_is_below_the_root_and_no_empty_file() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir_all(root.join("sub")).unwrap();
        std::fs::create_dir(dir.path().join("root2")).unwrap();
        for file in ["root/sub/a", "root2/a"] {
            std::fs::write(dir.path().join(file), "text").unwrap();
        }
        std::fs::write(root.join("empty"), "").unwrap();
        let set = Ok(Some(root.clone()));
        let from = |path: PathBuf| {
            let set = set.clone();
            async move { open(&set, path.as_os_str().as_bytes()).await }
        };
        for good in [root.join("sub/a"), PathBuf::from("sub/a")] {
            assert_eq!(from(good).await.unwrap().size, 4);
        }
        for bad in ["root2/a", "root/../root2/a"] {
            let result = from(dir.path().join(bad)).await;
            assert!(
                matches!(result, Err(SourceError::Open(OpenError::Outside))),
                "{bad}"
            );
        }
        let result = from(root.join("sub")).await;
        assert!(matches!(result, Err(SourceError::Open(OpenError::NotAFile))));
        let result = from(root.join("empty")).await;
        assert!(matches!(result, Err(SourceError::Empty)));
        let nowhere = open(&Err(String::new()), b"/etc/passwd").await;
        assert!(matches!(nowhere, Err(SourceError::Open(OpenError::Outside))));
    }
}
