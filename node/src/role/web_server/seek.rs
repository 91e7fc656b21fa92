//! Finds what a request asks for below a docroot: a file, or what stands for a directory or for the file.

use std::borrow::Cow;
use std::path::Path;
use std::rc::Rc;

use crate::files::{Files, Look, OpenError, OpenFile, Patience, Stamp};
use crate::http::coding::Accepted;
use crate::snapshot::WebSettings;

/// What was found.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// A file.
    File(FoundFile<'a>),
    /// A directory without an index.
    Directory(Stamp),
    /// Nothing that may be sent.
    Failed(OpenError),
}

/// A file that was found.
#[derive(Debug)]
pub(super) struct FoundFile<'a> {
    /// It.
    pub(super) file: Rc<OpenFile>,
    /// The name that tells its type.
    pub(super) name: Cow<'a, [u8]>,
    /// How its content is coded, where that is not what the name says.
    pub(super) coding: Option<&'static str>,
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
    /// What is at a path, for a client that takes these codings.
    pub(super) async fn seek(self, path: &[u8], accepted: Accepted) -> Found<'_> {
        let found = match self.look(path).await {
            Look::File(file) => (file, Cow::Borrowed(path)),
            Look::Directory(stamp) => match self.index(path).await {
                Ok(Some((file, name))) => (file, Cow::Owned(name)),
                Ok(None) => return Found::Directory(stamp),
                Err(error) => return Found::Failed(error),
            },
            Look::Failed(error) => return Found::Failed(error),
        };
        let (mut file, name) = found;
        let mut coding = None;
        for (is_taken, suffix, known) in [(accepted.br, ".br", "br"), (accepted.gzip, ".gz", "gzip")] {
            if !is_taken {
                continue;
            }
            match self.compressed(&file, &name, suffix).await {
                Ok(Some(sibling)) => {
                    (file, coding) = (sibling, Some(known));
                    break;
                }
                Ok(None) => {}
                Err(error) => return Found::Failed(error),
            }
        }
        Found::File(FoundFile { file, name, coding })
    }

    /// The same content in fewer bytes, if it lies beside the file and is not older.
    async fn compressed(
        self,
        file: &OpenFile,
        name: &[u8],
        suffix: &str,
    ) -> Result<Option<Rc<OpenFile>>, OpenError> {
        match self.look(&[name, suffix.as_bytes()].concat()).await {
            Look::File(sibling) if sibling.stamp.modified >= file.stamp.modified => Ok(Some(sibling)),
            Look::Failed(OpenError::WouldWait) => Err(OpenError::WouldWait),
            Look::File(_) | Look::Directory(_) | Look::Failed(_) => Ok(None),
        }
    }

    /// What is at a path itself.
    pub(super) async fn look(self, path: &[u8]) -> Look {
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
