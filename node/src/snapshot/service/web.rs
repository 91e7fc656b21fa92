//! Settings of a service that serves files.

use std::path::PathBuf;
use std::sync::Arc;

use fleetbal_raft::model::{MimeTypes, Service};

use super::super::variables::NodeVariables;
use super::settings::path;

/// What a service serves, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebSettings {
    /// Where the files are; none: nothing was set. An error where this node cannot tell.
    pub docroot: Result<Option<PathBuf>, String>,
    /// The types of files.
    pub types: Arc<MimeTypes>,
}

impl WebSettings {
    pub(super) fn new(service: &Service, variables: &NodeVariables) -> Self {
        Self {
            docroot: path(service, "docroot", variables),
            types: Arc::default(),
        }
    }
}
