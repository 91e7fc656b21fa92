//! Settings of a service that serves files.

use std::path::PathBuf;
use std::sync::Arc;

use fleetbal_raft::model::{MimeTypes, Service, Value};

use super::super::variables::NodeVariables;
use super::settings::path;

/// What a service serves, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebSettings {
    /// Where the files are; none: nothing was set. An error where this node cannot tell.
    pub docroot: Result<Option<PathBuf>, String>,
    /// The types of files.
    pub types: Arc<MimeTypes>,
    /// The files that stand for their directory (`index_files`).
    pub index_files: Arc<[String]>,
    /// Whether directories without one are listed (`dirindexing`).
    pub lists: bool,
}

impl WebSettings {
    pub(super) fn new(service: &Service, types: &Arc<MimeTypes>, variables: &NodeVariables) -> Self {
        let index_files = if let Some(Value::Words(words)) = service.value("index_files") {
            words
        } else {
            Arc::default()
        };
        Self {
            docroot: path(service, "docroot", variables),
            types: Arc::clone(types),
            index_files,
            lists: service.flag("dirindexing"),
        }
    }
}
