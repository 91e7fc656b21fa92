//! Settings that belong together: queues, retries, uploads, reproxying. What a node cannot fill in of them it keeps
//! as an error, so that a path that is not known is never taken for one that is not set.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fleetbal_raft::model::{Service, Value};

use super::super::CacheRules;
use super::super::variables::NodeVariables;

/// How requests wait for a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueSettings {
    /// Backend connections opened beyond what is asked for (`connect_ahead`).
    pub connect_ahead: usize,
    /// From this length of the normal queue on, the high-priority queue is at times passed over; 0 is never.
    pub relief_size: usize,
    /// How often it is passed over then, in per cent.
    pub relief_chance: u8,
    /// How many requests may wait; none: any number.
    pub limit: Option<usize>,
    /// How long a request may wait; none: for ever.
    pub timeout: Option<Duration>,
}

/// When a request that was answered 500 is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetrySettings {
    /// Whether it is at all (`enable_error_retries`).
    pub on_500: bool,
    /// The pause before each try; so many pauses, so many tries.
    pub schedule: Arc<[Duration]>,
}

/// How request bodies are taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadSettings {
    /// Bytes held in memory before a backend is asked for (`buffer_backend_connect`).
    pub memory: usize,
    /// Whether bodies may go to disk (`buffer_uploads`).
    pub to_disk: bool,
    /// Where they lie then; none: nothing was set. An error where this node cannot tell.
    pub directory: Result<Option<PathBuf>, String>,
    /// Bodies of so many bytes go to disk; none: no such rule.
    pub threshold_size: Option<u64>,
    /// Bodies that would take longer go to disk; none: no such rule.
    pub threshold_time: Option<Duration>,
    /// Bodies slower than so many bytes a second go to disk; none: no such rule.
    pub threshold_rate: Option<u64>,
    /// Bytes of a chunked body, decoded, at most; none: any number.
    pub max_chunked: Option<u64>,
    /// Where the progress of uploads is sent.
    pub status_listeners: Arc<[SocketAddr]>,
}

/// What backends may ask for in their answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReproxySettings {
    /// Whether they may ask for anything (`enable_reproxy`).
    pub enabled: bool,
    /// Entries of the cache, at most; 0 is no cache.
    pub cache_maxsize: usize,
    /// Changes whenever there was no cache in between: what it had is gone then.
    pub cache_epoch: u64,
    /// Bytes of a fetched response that wait for a slow client.
    pub buffer_size: usize,
    /// X-REPROXY-FILE reaches files below this directory only; none: all files. An error where this node cannot tell,
    /// and then it must reach none.
    pub file_root: Result<Option<PathBuf>, String>,
}

impl QueueSettings {
    pub(super) fn new(service: &Service) -> Self {
        Self {
            connect_ahead: size(service, "connect_ahead"),
            relief_size: size(service, "queue_relief_size"),
            relief_chance: u8::try_from(service.number("queue_relief_chance")).unwrap_or(100),
            limit: Some(size(service, "queue_limit")).filter(|limit| *limit > 0),
            timeout: seconds(service, "queue_timeout").or_else(|| seconds(service, "idle_timeout")),
        }
    }
}

impl RetrySettings {
    pub(super) fn new(service: &Service) -> Self {
        let schedule = if let Some(Value::Schedule(pauses, _)) = service.value("error_retry_schedule") {
            pauses
        } else {
            Arc::default()
        };
        Self {
            on_500: service.flag("enable_error_retries"),
            schedule,
        }
    }
}

impl UploadSettings {
    pub(super) fn new(service: &Service, variables: &NodeVariables) -> Self {
        let some = |key| Some(service.number(key)).filter(|number| *number > 0);
        let listeners = service.value("upload_status_listeners");
        let status_listeners = if let Some(Value::Endpoints(endpoints, _)) = listeners {
            endpoints.into()
        } else {
            Arc::default()
        };
        Self {
            memory: size(service, "buffer_backend_connect"),
            to_disk: service.flag("buffer_uploads"),
            directory: path(service, "buffer_uploads_path", variables),
            threshold_size: some("buffer_upload_threshold_size"),
            threshold_time: seconds(service, "buffer_upload_threshold_time"),
            threshold_rate: some("buffer_upload_threshold_rate"),
            max_chunked: some("max_chunked_request_size"),
            status_listeners,
        }
    }
}

impl ReproxySettings {
    pub(super) fn new(service: &Service, variables: &NodeVariables) -> Self {
        Self {
            enabled: service.flag("enable_reproxy"),
            cache_maxsize: size(service, "reproxy_cache_maxsize"),
            cache_epoch: 0,
            buffer_size: size(service, "buffer_size_reproxy_url"),
            file_root: path(service, "reproxy_file_root", variables),
        }
    }
}

impl ReproxySettings {
    /// How answers are remembered; none: not at all.
    pub fn cache(&self) -> Option<CacheRules> {
        (self.enabled && self.cache_maxsize > 0).then_some(CacheRules {
            entries: self.cache_maxsize,
            epoch: self.cache_epoch,
        })
    }

    /// Goes on with the cache of the snapshot before, if there was one; or begins one with this generation.
    pub(in crate::snapshot) fn follow(&mut self, before: Option<&Self>, generation: u64) {
        if self.cache().is_some() {
            let kept = before.and_then(Self::cache);
            self.cache_epoch = kept.map_or(generation, |cache| cache.epoch);
        }
    }
}

/// A number of things or bytes in memory.
pub(super) fn size(service: &Service, key: &str) -> usize {
    usize::try_from(service.number(key)).unwrap_or(usize::MAX)
}

/// The longest time that is waited, so that no clock overflows: a hundred years.
const LONGEST: u64 = 100 * 366 * 24 * 3600;

/// A time; none where it is 0.
pub(super) fn seconds(service: &Service, key: &str) -> Option<Duration> {
    let seconds = service.number(key);
    (seconds > 0).then(|| Duration::from_secs(seconds.min(LONGEST)))
}

/// A path on this node; none where none was set.
pub(super) fn path(
    service: &Service,
    key: &str,
    variables: &NodeVariables,
) -> Result<Option<PathBuf>, String> {
    let template = service.value(key).and_then(Value::into_text);
    template
        .map(|template| template.expand(|variable| variables.fill(variable)))
        .transpose()
        .map(|path| path.map(PathBuf::from))
}
