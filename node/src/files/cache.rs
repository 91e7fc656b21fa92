//! Files of one worker that stay open: a request costs one look at its path, and no opening.
//!
//! Whoever asks gets what is at the path at that moment: the look says whether it is still what was opened.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::num::NonZeroUsize;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use lru::LruCache;
use rustix::io::{Errno, ReadWriteFlags, preadv2};

use super::open::{self, OpenError, Opened, Patience, Stamp};

/// So many files stay open in one worker, at most.
const OPEN: NonZeroUsize = NonZeroUsize::MIN.saturating_add(511);

/// A file that nobody asked for in so many ticks is closed: a removed one takes space for as long as it is open.
const UNUSED: u64 = 10;

/// A regular file that is open for reading.
#[derive(Debug)]
pub struct OpenFile {
    /// It.
    pub file: Arc<File>,
    /// What it was when it was opened.
    pub stamp: Stamp,
    /// `Last-Modified`, as a value.
    pub last_modified: Box<[u8]>,
    /// `ETag`, as a value: as nginx makes them.
    pub etag: Box<[u8]>,
    /// The tick of its last use.
    used: Cell<u64>,
    /// The tick in which all of it was in memory.
    resident: Cell<Option<u64>>,
}

impl OpenFile {
    fn new(opened: Opened, tick: u64) -> Self {
        let (seconds, _) = opened.stamp.modified;
        Self {
            last_modified: opened.stamp.last_modified().into_bytes().into(),
            file: Arc::new(opened.file),
            stamp: opened.stamp,
            etag: format!("\"{seconds:x}-{:x}\"", opened.stamp.size)
                .into_bytes()
                .into(),
            used: Cell::new(tick),
            resident: Cell::new(None),
        }
    }

    /// Whether the kernel had all of it in memory, less than a second ago.
    pub(super) fn is_resident(&self) -> bool {
        self.resident.get() == Some(self.used.get())
    }

    /// The kernel has all of it in memory.
    pub(super) fn was_resident(&self) {
        self.resident.set(Some(self.used.get()));
    }

    /// When its content changed last, in seconds since the epoch, as [`Self::last_modified`] says it.
    pub fn modified(&self) -> u64 {
        self.stamp.modified_second()
    }

    /// Reads all of `into` from an offset on, if the kernel has it in memory. Whether it has.
    ///
    /// # Errors
    /// The system's; and that the file has become shorter.
    pub fn read_now(&self, into: &mut [u8], offset: u64) -> io::Result<bool> {
        let wanted = into.len();
        match preadv2(
            &*self.file,
            &mut [IoSliceMut::new(into)],
            offset,
            ReadWriteFlags::NOWAIT,
        ) {
            Ok(read) if read == wanted => Ok(true),
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::INTR) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// What a look came to.
#[derive(Debug)]
pub enum Look {
    /// A file.
    File(Rc<OpenFile>),
    /// A directory.
    Directory(Stamp),
    /// Nothing that may be sent.
    Failed(OpenError),
}

/// The open files of one worker.
#[derive(Debug)]
pub struct Files {
    open: RefCell<LruCache<Box<[u8]>, Rc<OpenFile>>>,
    /// The path that is looked at, for a single step.
    path: RefCell<Vec<u8>>,
    tick: Cell<u64>,
}

impl Default for Files {
    fn default() -> Self {
        Self {
            open: RefCell::new(LruCache::new(OPEN)),
            path: RefCell::default(),
            tick: Cell::new(0),
        }
    }
}

impl Files {
    /// What is at a path below a directory now, without waiting for a disk: [`OpenError::WouldWait`] where it takes
    /// that.
    pub fn look(&self, root: &Path, path: &[u8]) -> Look {
        let mut full = self.path.borrow_mut();
        full.clear();
        full.extend_from_slice(root.as_os_str().as_bytes());
        full.push(b'/');
        full.extend_from_slice(path);
        let mut open = self.open.borrow_mut();
        if let Some(file) = open.get(&full[..]) {
            if Stamp::at(&full).is_ok_and(|stamp| stamp == file.stamp) {
                file.used.set(self.tick.get());
                return Look::File(Rc::clone(file));
            }
            open.pop(&full[..]);
        }
        drop(open);
        let opened = open::below(root, &relative(path), Patience::Now);
        self.keep(&full, opened)
    }

    /// The same, as long as it takes. Dropping the future loses nothing.
    pub async fn wait(&self, root: &Path, path: &[u8]) -> Look {
        let full = [root.as_os_str().as_bytes(), b"/", path].concat();
        let (root, path) = (root.to_owned(), relative(path));
        let opened = super::blocking(move || open::below(&root, &path, Patience::Wait)).await;
        self.keep(&full, opened)
    }

    fn keep(&self, full: &[u8], opened: Result<Opened, OpenError>) -> Look {
        let opened = match opened {
            Ok(opened) if opened.stamp.is_directory() => return Look::Directory(opened.stamp),
            Ok(opened) => opened,
            Err(error) => return Look::Failed(error),
        };
        let file = Rc::new(OpenFile::new(opened, self.tick.get()));
        self.open.borrow_mut().put(full.into(), Rc::clone(&file));
        Look::File(file)
    }

    /// A second has passed: closes what nobody has asked for in a while.
    pub fn tick(&self) {
        let tick = self.tick.get() + 1;
        self.tick.set(tick);
        let mut open = self.open.borrow_mut();
        while open
            .peek_lru()
            .is_some_and(|(_, file)| file.used.get() + UNUSED < tick)
        {
            open.pop_lru();
        }
    }
}

/// A path of a request, from its directory on.
pub fn relative(path: &[u8]) -> PathBuf {
    let start = path.iter().position(|byte| *byte != b'/').unwrap_or(path.len());
    let path = path.get(start..).unwrap_or_default();
    PathBuf::from(std::ffi::OsString::from_vec(path.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is there; whether the kernel knows it by itself is left to chance.
    async fn find(files: &Files, root: &Path, path: &str) -> Look {
        let look = files.look(root, path.as_bytes());
        if matches!(look, Look::Failed(OpenError::WouldWait)) {
            return files.wait(root, path.as_bytes()).await;
        }
        look
    }

    async fn file(files: &Files, root: &Path, path: &str) -> Rc<OpenFile> {
        let Look::File(file) = find(files, root, path).await else {
            panic!("{path} is not found");
        };
        file
    }

    #[tokio::test]
    async fn a_file_stays_open_until_it_changes_or_nobody_asks() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        std::fs::write(root.join("a"), "one").unwrap();
        let files = Files::default();
        let first = file(&files, root, "/a").await;
        assert!(Rc::ptr_eq(&first, &file(&files, root, "/a").await));
        let mut text = [0; 3];
        assert!(first.read_now(&mut text, 0).unwrap());
        assert_eq!(&text, b"one");
        std::fs::write(root.join("b"), "two").unwrap();
        std::fs::rename(root.join("b"), root.join("a")).unwrap();
        let second = file(&files, root, "/a").await;
        assert!(!Rc::ptr_eq(&first, &second));
        for _ in 0..UNUSED {
            files.tick();
        }
        assert!(Rc::ptr_eq(&second, &file(&files, root, "/a").await));
        for _ in 0..=UNUSED {
            files.tick();
        }
        assert_eq!(Rc::strong_count(&second), 1, "it is open still");
        std::fs::remove_file(root.join("a")).unwrap();
        assert!(matches!(
            find(&files, root, "/a").await,
            Look::Failed(OpenError::System(_))
        ));
    }

    #[tokio::test]
    async fn a_link_that_comes_to_lead_out_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir(&root).unwrap();
        std::fs::write(root.join("a"), "inside").unwrap();
        std::fs::write(dir.path().join("secret"), "outside").unwrap();
        std::os::unix::fs::symlink("a", root.join("link")).unwrap();
        let files = Files::default();
        file(&files, &root, "/link").await;
        std::fs::remove_file(root.join("link")).unwrap();
        std::os::unix::fs::symlink("../secret", root.join("link")).unwrap();
        assert!(matches!(
            find(&files, &root, "/link").await,
            Look::Failed(OpenError::Outside)
        ));
    }

    #[tokio::test]
    async fn no_more_are_open_than_may_be() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::default();
        for number in 0..OPEN.get() + 10 {
            let name = number.to_string();
            std::fs::write(dir.path().join(&name), &name).unwrap();
            file(&files, dir.path(), &name).await;
        }
        assert_eq!(files.open.borrow().len(), OPEN.get());
    }
}
