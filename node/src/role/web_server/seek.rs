//! Finds what a request asks for below a docroot: a file, or what stands for a directory.

use std::borrow::Cow;
use std::path::Path;
use std::rc::Rc;

use crate::files::{Files, Look, OpenError, OpenFile, Patience, Stamp};
use crate::snapshot::WebSettings;

/// What was found.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// A file, and the name that tells its type.
    File(Rc<OpenFile>, Cow<'a, [u8]>),
    /// A directory without an index.
    Directory(Stamp),
    /// Nothing that may be sent.
    Failed(OpenError),
}

/// Where files are looked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    /// The files of this worker.
    pub(super) files: &'a Files,
    /// The docroot.
    pub(super) root: &'a Path,
    /// What the service serves.
    pub(super) web: &'a WebSettings,
    /// Whether to wait for a disk. Where it is not, nothing here ever waits.
    pub(super) patience: Patience,
}

impl Place<'_> {
    /// What is at a path.
    pub(super) async fn seek(self, path: &[u8]) -> Found<'_> {
        match self.look(path).await {
            Look::File(file) => Found::File(file, Cow::Borrowed(path)),
            Look::Directory(stamp) => match self.index(path).await {
                Ok(Some((file, name))) => Found::File(file, Cow::Owned(name)),
                Ok(None) => Found::Directory(stamp),
                Err(error) => Found::Failed(error),
            },
            Look::Failed(error) => Found::Failed(error),
        }
    }

    async fn look(self, path: &[u8]) -> Look {
        match (self.files.look(self.root, path), self.patience) {
            (Look::Failed(OpenError::WouldWait), Patience::Wait) => self.files.wait(self.root, path).await,
            (look, _) => look,
        }
    }

    /// The first index file that is there.
    async fn index(self, path: &[u8]) -> Result<Option<(Rc<OpenFile>, Vec<u8>)>, OpenError> {
        let directory = path.strip_suffix(b"/").unwrap_or(path);
        for name in self.web.index_files.iter() {
            let path = [directory, b"/", name.as_bytes()].concat();
            match self.look(&path).await {
                Look::File(file) => return Ok(Some((file, path))),
                Look::Failed(error @ (OpenError::WouldWait | OpenError::Outside)) => return Err(error),
                Look::Directory(_) | Look::Failed(_) => {}
            }
        }
        Ok(None)
    }
}
