//! Settings of a service that serves files.

use std::path::PathBuf;
use std::sync::Arc;

use fleetbal_raft::model::{MimeTypes, Plugin, Service, Value};

use super::super::variables::NodeVariables;
use super::settings::{path, size};

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
    /// Whether several files can be had as one (`enable_concatenate_get`).
    pub concatenates: bool,
    /// Whether what lies compressed beside a file may stand for it (`enable_precompressed`).
    pub is_precompressed: bool,
    /// What clients may do to the files.
    pub store: StoreSettings,
}

/// What clients may do to files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSettings {
    /// Whether they may put some (`enable_put`).
    pub puts: bool,
    /// Whether they may remove some (`enable_delete`).
    pub deletes: bool,
    /// Whether `Content-MD5` is checked (`enable_md5`).
    pub checks_md5: bool,
    /// Bytes of one file, at most (`max_put_size`); none: any number.
    pub max_size: Option<u64>,
    /// So many directories lead at least to a file, and have to be there (`min_put_directory`).
    pub min_directories: usize,
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
            concatenates: service.flag("enable_concatenate_get"),
            is_precompressed: service.flag("enable_precompressed"),
            store: StoreSettings {
                // `AtomInject` takes what is put before a file would be written.
                puts: service.flag("enable_put") || service.plugins().contains(&Plugin::AtomInject),
                deletes: service.flag("enable_delete"),
                checks_md5: service.flag("enable_md5"),
                max_size: Some(service.number("max_put_size")).filter(|size| *size > 0),
                min_directories: size(service, "min_put_directory"),
            },
        }
    }
}
