//! What is in a directory.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{Dir, FileType, Mode, OFlags, openat};
use rustix::io::Errno;

use super::open::{OpenError, Patience, below};

/// What a directory below a root holds: names, and whether they are directories; sorted. A link counts as what it leads to,
/// if that is below the root. Waits for the disk.
///
/// # Errors
/// When it is no directory below the root, or cannot be read.
pub fn entries(root: &Path, path: &Path) -> Result<Vec<(Vec<u8>, bool)>, OpenError> {
    let system = |errno: Errno| OpenError::System(io::Error::from(errno));
    let opened = below(root, path, Patience::Wait)?;
    // It is a place so far, which cannot be read from.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let readable = openat(&opened.file, c".", flags, Mode::empty()).map_err(system)?;
    let mut all = Vec::new();
    for entry in Dir::new(readable).map_err(system)? {
        let entry = entry.map_err(system)?;
        let name = entry.file_name().to_bytes().to_vec();
        let kind = entry.file_type();
        let is_directory = kind == FileType::Directory
            || matches!(kind, FileType::Symlink | FileType::Unknown)
                && below(root, &path.join(OsStr::from_bytes(&name)), Patience::Wait)
                    .is_ok_and(|opened| opened.stamp.is_directory());
        all.push((name, is_directory));
    }
    all.sort();
    Ok(all)
}
