//! Tunables of request bodies that go to disk.

use super::super::{Kind, Tunable};
use super::{PROXY, tunable};

/// `buffer_upload_threshold_rate`.
pub(super) const BUFFER_UPLOAD_THRESHOLD_RATE: Tunable = tunable(
    "buffer_upload_threshold_rate",
    Kind::Int,
    PROXY,
    Some("0"),
    "Request bodies slower than so many bytes a second go to disk; 0 is no such rule.",
);

/// `buffer_upload_threshold_size`.
pub(super) const BUFFER_UPLOAD_THRESHOLD_SIZE: Tunable = tunable(
    "buffer_upload_threshold_size",
    Kind::Size,
    PROXY,
    Some("250k"),
    "Request bodies of so many bytes go to disk; 0 is no such rule.",
);

/// `buffer_upload_threshold_time`.
pub(super) const BUFFER_UPLOAD_THRESHOLD_TIME: Tunable = tunable(
    "buffer_upload_threshold_time",
    Kind::Int,
    PROXY,
    Some("5"),
    "Request bodies that would take longer than so many seconds go to disk; 0 is no such rule.",
);

/// `buffer_uploads`.
pub(super) const BUFFER_UPLOADS: Tunable = tunable(
    "buffer_uploads",
    Kind::Bool,
    PROXY,
    Some("0"),
    "Write request bodies to disk first where the thresholds say so.",
);

/// `buffer_uploads_path`.
pub(super) const BUFFER_UPLOADS_PATH: Tunable = tunable(
    "buffer_uploads_path",
    Kind::Directory,
    PROXY,
    None,
    "The directory for request bodies on disk.",
);
