//! Files that come from clients. One has no name before it is whole and on disk: then it takes its place in one step, so
//! that whoever looks, also after a crash or a loss of power, finds what was there before or all of the new.
//!
//! All of it waits for the disk, so it belongs on a thread that may.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use data_encoding::{BASE64_NOPAD, HEXLOWER};
use md5::{Digest, Md5};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, linkat, mkdirat, openat, renameat, statat, unlinkat};
use rustix::io::Errno;
use sha2::Sha256;

use super::open::{OpenError, Patience, directory_beneath, root_of};

/// What names of files begin with that are there for a moment only; no client may put one of them.
pub const TEMPORARY: &str = ".fleetbal-put-";

const DIRECTORY_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;

/// How often the last step is begun again where others put the same file at the same time, and the pause in between.
const TRIES: usize = 2_000;
const PAUSE: Duration = Duration::from_millis(1);

/// Where a file belongs, below a directory.
#[derive(Debug, Clone)]
pub struct Spot {
    /// The directory that nothing leads out of.
    pub root: PathBuf,
    /// The path below it: names alone.
    pub path: PathBuf,
    /// So many of the directories on the way have to be there already; the rest are made.
    pub existing: usize,
}

/// Why a file is not taken in, or not removed.
#[derive(Debug, thiserror::Error)]
pub enum IncomingError {
    /// One of those that have to be there.
    #[error("a directory that has to be there is not")]
    NoBase,
    /// What is at its place is no regular file, or cannot be reached.
    #[error("the place of the file cannot be used")]
    Place(#[from] OpenError),
    /// What came is not what was announced: base64 of both MD5, without padding.
    #[error("the content is not the one that was announced")]
    Digest {
        /// What was announced.
        expected: String,
        /// What came.
        actual: String,
    },
    /// The system says no.
    #[error("cannot write the file")]
    System(#[from] io::Error),
}

/// A file on its way in. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub struct Incoming {
    directory: OwnedFd,
    name: PathBuf,
    file: File,
    /// Its name for now, where the system has no files without one.
    temporary: Option<String>,
    digest: Option<Md5>,
}

impl Incoming {
    /// Begins with a file, and makes the directories that lead to its place. With `digests` its content can be checked
    /// in the end.
    ///
    /// # Errors
    /// When it could not take its place either.
    pub fn create(spot: &Spot, digests: bool) -> Result<Self, IncomingError> {
        let (directory, name) = spot.enter(true)?;
        match statat(&directory, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => {
                let kind = FileType::from_raw_mode(stat.st_mode);
                if !matches!(kind, FileType::RegularFile | FileType::Symlink) {
                    return Err(OpenError::NotAFile.into());
                }
            }
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(io::Error::from(errno).into()),
        }
        let (file, temporary) = nameless(&directory)?;
        let file = File::from(file);
        file.try_lock().map_err(io::Error::from)?;
        Ok(Self {
            directory,
            name,
            file,
            temporary,
            digest: digests.then(Md5::new),
        })
    }

    /// Adds what came.
    ///
    /// # Errors
    /// The system's.
    pub fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        if let Some(digest) = &mut self.digest {
            digest.update(piece);
        }
        self.file.write_all(piece)
    }

    /// Puts the file, which is whole now, in its place. `expected` is the MD5 that it must have, in base64; padding means
    /// nothing.
    ///
    /// # Errors
    /// When it is not in its place: something else may be, or what was before.
    pub fn finish(mut self, expected: Option<&str>) -> Result<(), IncomingError> {
        if let (Some(expected), Some(digest)) = (expected, self.digest.take()) {
            let expected = expected.trim_end_matches('=');
            let actual = BASE64_NOPAD.encode(&digest.finalize());
            if actual != expected {
                let expected = expected.to_owned();
                return Err(IncomingError::Digest { expected, actual });
            }
        }
        // A name must not outlive a loss of power that its content does not.
        self.file.sync_data()?;
        if let Some(temporary) = &self.temporary {
            renameat(&self.directory, temporary, &self.directory, &self.name).map_err(io::Error::from)?;
            self.temporary = None;
            return Ok(());
        }
        match self.link(&self.name) {
            Err(Errno::EXIST) => Ok(self.replace()?),
            linked => Ok(linked.map_err(io::Error::from)?),
        }
    }

    fn link(&self, name: &Path) -> rustix::io::Result<()> {
        let source = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        linkat(CWD, source, &self.directory, name, AtFlags::SYMLINK_FOLLOW)
    }

    /// Takes the place of what has that name, by way of another name. Who uses that holds the lock of the file behind
    /// it, so that what a crash left there is told from what is under way, and removed.
    fn replace(&self) -> io::Result<()> {
        let digest = Sha256::digest(self.name.as_os_str().as_encoded_bytes());
        let between = PathBuf::from(format!("{TEMPORARY}{}", HEXLOWER.encode(&digest)));
        for _ in 0..TRIES {
            match self.link(&between) {
                Err(Errno::EXIST) if !clear(&self.directory, &between)? => std::thread::sleep(PAUSE),
                Err(Errno::EXIST) => {}
                linked => {
                    linked?;
                    renameat(&self.directory, &between, &self.directory, &self.name)?;
                    return Ok(());
                }
            }
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }
}

/// Removes a file that nobody uses. Whether that name is free now, as far as anybody can tell.
fn clear(directory: &OwnedFd, name: &Path) -> io::Result<bool> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match openat(directory, name, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(true),
        file => File::from(file?),
    };
    if file.try_lock().is_err() {
        return Ok(false);
    }
    // Another one may have removed it, and put its own there.
    match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if stat.st_ino == file.metadata()?.ino() => unlinkat(directory, name, AtFlags::empty())?,
        Ok(_) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    Ok(true)
}

impl Drop for Incoming {
    fn drop(&mut self) {
        let Some(temporary) = self.temporary.take() else {
            return;
        };
        if let Err(error) = unlinkat(&self.directory, &temporary, AtFlags::empty()) {
            tracing::warn!(%error, "cannot remove a file that did not come whole");
        }
    }
}

/// Removes a file.
///
/// # Errors
/// When there is none, or it is none; the system's.
pub fn remove(spot: &Spot) -> Result<(), IncomingError> {
    let (directory, name) = spot.enter(false)?;
    unlinkat(&directory, &name, AtFlags::empty()).map_err(io::Error::from)?;
    Ok(())
}

impl Spot {
    /// The directory that the file belongs to, and its name in it.
    fn enter(&self, makes: bool) -> Result<(OwnedFd, PathBuf), IncomingError> {
        let root = root_of(&self.root, Patience::Wait)?;
        let mut path = PathBuf::new();
        let mut directory = directory_beneath(&root, &path)?;
        let on_the_way = self.path.parent().into_iter().flat_map(Path::iter);
        for (number, name) in on_the_way.enumerate() {
            path.push(name);
            directory = match directory_beneath(&root, &path) {
                Err(OpenError::System(error)) if number < self.existing && is_absent(&error) => {
                    return Err(IncomingError::NoBase);
                }
                Err(OpenError::System(error)) if makes && error.kind() == io::ErrorKind::NotFound => {
                    make(&directory, name)?;
                    directory_beneath(&root, &path)?
                }
                found => found?,
            };
        }
        let name = self.path.file_name().ok_or(OpenError::NotAFile)?;
        Ok((directory, name.into()))
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn make(directory: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match mkdirat(directory, name, Mode::from_raw_mode(DIRECTORY_MODE)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// A new file in a directory that no name leads to; where the system has none, with a name for now.
fn nameless(directory: &OwnedFd) -> io::Result<(OwnedFd, Option<String>)> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = openat(
        directory,
        ".",
        flags | OFlags::TMPFILE,
        Mode::from_raw_mode(FILE_MODE),
    );
    match file {
        // Of an old kernel, or a file system that cannot do it.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => named(directory),
        file => Ok((file?, None)),
    }
}

fn named(directory: &OwnedFd) -> io::Result<(OwnedFd, Option<String>)> {
    let name = format!("{TEMPORARY}{:032x}", rand::random::<u128>());
    let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::CREATE | OFlags::EXCL;
    let file = openat(directory, &*name, flags, Mode::from_raw_mode(FILE_MODE))?;
    Ok((file, Some(name)))
}

#[cfg(test)]
#[path = "incoming_tests.rs"]
mod tests;
