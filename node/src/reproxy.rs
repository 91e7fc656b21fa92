//! Reproxying: a backend answers with where the answer is, and this node sends that (Perlbal, reference section 5).
//!
//! What a backend says here makes this node read files and connect to hosts, so all of it is parsed strictly and
//! nothing is done where `enable_reproxy` is off. Files and name lookups never hold up a worker; what a client does
//! not take bounds what is read. Which requests get here, and pages for those that fail, are the roles' business.

mod cache;
mod fetch;
mod file;
mod pump;
mod run;
mod state;
mod targets;
mod url;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use fleetbal_raft::model::ServiceName;

pub use cache::{Cache, CacheFigures, Entry};
pub use run::{Exchange, Outcome, answer, answer_cached, look_up};
pub use state::lines;
pub use targets::{Stage, TargetConnection, TargetFigures, Targets};
pub use url::Target;

/// What all workers of a node share: connections to targets, and caches.
#[derive(Debug, Default)]
pub struct Shared {
    /// The connections.
    pub targets: Arc<Targets>,
    caches: Mutex<BTreeMap<ServiceName, Arc<Cache>>>,
}

impl Shared {
    /// The cache of one service, made where there is none yet. It outlives configurations, and with it its figures.
    pub fn cache(&self, service: &ServiceName) -> Arc<Cache> {
        let mut caches = self.caches.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cache) = caches.get(service) {
            return Arc::clone(cache);
        }
        let cache = Arc::new(Cache::default());
        caches.insert(service.clone(), Arc::clone(&cache));
        cache
    }
}

/// Digits alone.
fn number(value: &[u8]) -> Option<u64> {
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let value = std::str::from_utf8(value).ok().filter(|_| is_number)?;
    value.parse().ok()
}

/// What `X-REPROXY-EXPECTED-SIZE` says, in bytes.
#[derive(Debug, Clone, Copy)]
struct ExpectedSize(Option<u64>);

impl ExpectedSize {
    fn parse(value: &[u8]) -> Self {
        Self(number(value))
    }

    /// Whether this is it. Nothing has a size that is no number.
    fn is(self, size: u64) -> bool {
        self.0 == Some(size)
    }
}
