//! Opening: only regular files and directories, and below a directory nothing that is not below it.
//!
//! The kernel resolves a path below its directory (openat2 with `RESOLVE_BENEATH`), links included, so that no link
//! made in between leads out either.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Statx, StatxFlags, openat2, statx};
use rustix::io::Errno;

/// Opening what is no file must neither wait nor change anything.
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// A place, without what it would take to read what is there.
const PLACE: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

/// The end of the year 9999, in seconds since the epoch.
const LAST_DATE: u64 = 253_402_300_799;

/// Why something cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is not below its directory, or the path says so in a way that is not followed.
    #[error("the path leads out of its directory")]
    Outside,
    /// A device, a pipe or a socket; or a directory where none will do.
    #[error("not a regular file")]
    NotAFile,
    /// The directory that it should be below cannot be opened.
    #[error("cannot open the directory")]
    NoRoot(#[source] io::Error),
    /// The system says no.
    #[error("cannot open the file")]
    System(#[from] io::Error),
    /// Nobody knows without waiting for a disk, and it was not to be waited for.
    #[error("not known without waiting")]
    WouldWait,
}

/// Whether to wait for a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// As long as it takes.
    Wait,
    /// Not at all: only what the kernel has at hand counts.
    Now,
}

impl Patience {
    fn flags(self) -> ResolveFlags {
        match self {
            Self::Wait => ResolveFlags::empty(),
            Self::Now => ResolveFlags::CACHED,
        }
    }

    /// Whether that is how the kernel says that it would take longer.
    fn is_over(self, errno: Errno) -> bool {
        errno == Errno::AGAIN && self == Self::Now
    }
}

/// A regular file that can be read, or a directory as a place.
#[derive(Debug)]
pub struct Opened {
    /// It.
    pub file: File,
    /// What it was then.
    pub stamp: Stamp,
}

/// What tells one state of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    device: (u32, u32),
    inode: u64,
    is_directory: bool,
    is_file: bool,
    /// Its size in bytes.
    pub size: u64,
    /// When its content changed last: seconds since the epoch, and nanoseconds.
    pub modified: (i64, u32),
    changed: (i64, u32),
}

impl Stamp {
    /// Of what is at that path now, links followed.
    ///
    /// # Errors
    /// The system's.
    pub fn at(path: &[u8]) -> io::Result<Self> {
        let stat = statx(CWD, path, AtFlags::empty(), StatxFlags::BASIC_STATS)?;
        Ok(Self::new(&stat))
    }

    /// Of what is open.
    ///
    /// # Errors
    /// The system's.
    pub fn of(file: impl AsFd) -> io::Result<Self> {
        let stat = statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
        Ok(Self::new(&stat))
    }

    fn new(stat: &Statx) -> Self {
        let kind = FileType::from_raw_mode(stat.stx_mode.into());
        Self {
            device: (stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
            is_directory: kind == FileType::Directory,
            is_file: kind == FileType::RegularFile,
            size: stat.stx_size,
            modified: (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
            changed: (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec),
        }
    }

    /// When its content changed last, in whole seconds since the epoch. What lies before 1970 or behind the last year of
    /// four digits has no date in HTTP.
    pub fn modified_second(&self) -> u64 {
        u64::try_from(self.modified.0).unwrap_or_default().min(LAST_DATE)
    }

    /// The same as the value of `Last-Modified`.
    pub fn last_modified(&self) -> String {
        let since = std::time::Duration::from_secs(self.modified_second());
        httpdate::fmt_http_date(std::time::UNIX_EPOCH + since)
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.is_directory
    }
}

/// Opens a file, wherever it is.
///
/// # Errors
/// When there is no such file, or it is none.
pub fn anywhere(path: &Path) -> Result<Opened, OpenError> {
    // To open a device can do something already, so it is not opened to be asked what it is.
    if !path.metadata().map_err(OpenError::System)?.is_file() {
        return Err(OpenError::NotAFile);
    }
    let mut options = OpenOptions::new();
    let options = options
        .read(true)
        .custom_flags(i32::try_from(READ.bits()).unwrap_or_default());
    readable(options.open(path).map_err(OpenError::System)?)
}

/// Opens what is at a path below a directory: a file, or a directory as a place. The path is relative to it.
///
/// # Errors
/// When there is nothing, or nothing that may be opened.
pub fn below(root: &Path, path: &Path, patience: Patience) -> Result<Opened, OpenError> {
    if path
        .components()
        .any(|part| !matches!(part, Component::Normal(_) | Component::CurDir))
    {
        return Err(OpenError::Outside);
    }
    let root = root_of(root, patience)?;
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    // Asked first what it is, without being opened: the same reason.
    let found = beneath(&root, path, PLACE, patience)?;
    let stamp = Stamp::of(&found).map_err(OpenError::System)?;
    if stamp.is_directory {
        return Ok(Opened {
            file: found.into(),
            stamp,
        });
    }
    if !stamp.is_file {
        return Err(OpenError::NotAFile);
    }
    readable(beneath(&root, path, READ, patience)?.into())
}

/// The directory itself, as a place. It may be a link.
pub(super) fn root_of(root: &Path, patience: Patience) -> Result<OwnedFd, OpenError> {
    let opened = openat2(
        CWD,
        root,
        PLACE | OFlags::DIRECTORY,
        Mode::empty(),
        patience.flags(),
    );
    opened.map_err(|errno| {
        if patience.is_over(errno) {
            OpenError::WouldWait
        } else {
            OpenError::NoRoot(errno.into())
        }
    })
}

/// A directory below another one, as a place; the other one itself, where the path is empty.
pub(super) fn directory_beneath(root: &OwnedFd, path: &Path) -> Result<OwnedFd, OpenError> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    beneath(root, path, PLACE | OFlags::DIRECTORY, Patience::Wait)
}

fn beneath(root: &OwnedFd, path: &Path, flags: OFlags, patience: Patience) -> Result<OwnedFd, OpenError> {
    let resolve = patience.flags() | ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    openat2(root, path, flags, Mode::empty(), resolve).map_err(|errno| match errno {
        Errno::XDEV | Errno::LOOP => OpenError::Outside,
        _ if patience.is_over(errno) => OpenError::WouldWait,
        _ => OpenError::System(errno.into()),
    })
}

fn readable(file: File) -> Result<Opened, OpenError> {
    let stamp = Stamp::of(&file).map_err(OpenError::System)?;
    if !stamp.is_file {
        return Err(OpenError::NotAFile);
    }
    Ok(Opened { file, stamp })
}

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
