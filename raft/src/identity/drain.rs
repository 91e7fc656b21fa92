//! That an operator drains this node, kept until it is undone.

use std::io;

use super::{DRAINED, DataDir, files};
use crate::error::OpenError;

impl DataDir {
    /// Whether an operator drains the node of this directory. A file whose presence cannot be told counts as there.
    pub fn is_drained(&self) -> bool {
        self.path().join(DRAINED).try_exists().unwrap_or(true)
    }

    /// Notes that the node is drained, or that it is not any more. On disk when this returns. Blocks.
    ///
    /// # Errors
    /// When the note cannot be written or removed.
    pub fn set_drained(&self, drained: bool) -> Result<(), OpenError> {
        if drained {
            return files::write(self.path(), DRAINED, b"");
        }
        match files::remove(self.path(), DRAINED) {
            Err(OpenError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
            outcome => outcome,
        }
    }
}
