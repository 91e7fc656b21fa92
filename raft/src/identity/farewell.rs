//! What is left in the directory of a node that was removed from its fleet: that it was, and nothing else of use.

use std::io;
use std::path::Path;

use super::{
    CA_CERTIFICATE, CA_KEY, DataDir, IDENTITY, IdentityFile, MEMBERS, NEXT, NODE_CERTIFICATE, NODE_KEY, RAFT,
    files,
};
use crate::error::OpenError;

/// Files that speak for the fleet or of it.
const OF_THE_FLEET: [&str; 6] = [CA_KEY, NODE_KEY, NEXT, CA_CERTIFICATE, NODE_CERTIFICATE, MEMBERS];

impl DataDir {
    /// Notes that the node of this directory was removed, then wipes its keys, its log and its snapshots. Whatever
    /// happens in between, the next start is refused. Blocks.
    ///
    /// # Errors
    /// When the note cannot be written, or something cannot be removed.
    pub fn wipe_removed(&self) -> Result<(), OpenError> {
        let Some(mut file) = files::read_json::<IdentityFile>(self.path(), IDENTITY)? else {
            return Ok(());
        };
        file.removed = true;
        files::write_json(self.path(), IDENTITY, &file)?;
        for name in OF_THE_FLEET {
            gone(&self.path().join(name), |path| std::fs::remove_file(path))?;
        }
        gone(&self.path().join(RAFT), |path| std::fs::remove_dir_all(path))
    }
}

fn gone(path: &Path, remove: impl Fn(&Path) -> io::Result<()>) -> Result<(), OpenError> {
    match remove(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(OpenError::File {
            path: path.to_path_buf(),
            source,
        }),
        Ok(()) | Err(_) => Ok(()),
    }
}
