//! The configuration as the data plane reads it: compiled, immutable, one pointer.
//!
//! A [`Publisher`] compiles each version of the [`FleetConfig`] into a [`Snapshot`]; it is the only writer, and never
//! goes back to an older version. Whoever serves a request loads its [`View`] once, so that the request ends by the
//! rules it began with. What did not change from one version to the next keeps its identity, and with it the
//! counters and the state of its backends. What a version makes the node *do* (listeners, logs) is not here.

mod answers;
mod backend;
mod compile;
mod outcomes;
mod pool;
mod reports;
mod reproxy;
mod service;
mod variables;

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use fleetbal_raft::model::{FleetConfig, PoolName, ServiceName, Version};

use crate::plugin::Feed;
pub use answers::LastAnswers;
pub use backend::{Attempts, BackendState, OpenConnection, millis};
pub use outcomes::Timed;
pub use pool::PoolView;
pub use reports::{Report, Reports, What};
pub use reproxy::CacheRules;
pub use service::{
    LogFormat, LogSettings, LogTarget, ProxySettings, QueueSettings, ReproxySettings, RetrySettings,
    ServiceView, StoreSettings, Trust, UploadSettings, WebSettings,
};
pub use variables::NodeVariables;

/// One version of the configuration, compiled for this node.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// The version it was compiled from.
    pub version: Version,
    /// What it was compiled from.
    pub config: Arc<FleetConfig>,
    generation: u64,
    /// The same in all of them: what is put in has to reach streams of services that do not change.
    feed: Arc<Feed>,
    services: BTreeMap<ServiceName, Arc<ServiceView>>,
    pools: BTreeMap<PoolName, Arc<PoolView>>,
}

impl Snapshot {
    /// Tells one snapshot of a publisher from another; grows.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// One service, enabled or not.
    pub fn service(&self, name: &str) -> Option<&Arc<ServiceView>> {
        self.services.get(name)
    }

    /// All services, by name.
    pub fn services(&self) -> impl ExactSizeIterator<Item = (&ServiceName, &Arc<ServiceView>)> {
        self.services.iter()
    }

    /// One pool.
    pub fn pool(&self, name: &str) -> Option<&Arc<PoolView>> {
        self.pools.get(name)
    }

    /// All pools, by name.
    pub fn pools(&self) -> impl ExactSizeIterator<Item = (&PoolName, &Arc<PoolView>)> {
        self.pools.iter()
    }
}

/// Reads the latest snapshot. Clones read the same.
#[derive(Debug, Clone, Default)]
pub struct View(Arc<ArcSwap<Snapshot>>);

impl View {
    /// The latest snapshot. Cheap, and never waits; do not keep the guard over an await.
    pub fn load(&self) -> Guard<Arc<Snapshot>> {
        self.0.load()
    }

    /// The same, to be kept for as long as it is needed.
    pub fn load_full(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }
}

/// The one writer of a [`View`].
#[derive(Debug)]
pub struct Publisher {
    variables: NodeVariables,
    view: View,
    reports: Reports,
}

impl Publisher {
    /// A publisher of a node with these variables, and the view that reads what it publishes: at first, version 0.
    pub fn new(variables: NodeVariables) -> (Self, View) {
        let view = View::default();
        (Self::of(&view, variables), view)
    }

    /// The next writer of a view whose last one is gone.
    pub fn of(view: &View, variables: NodeVariables) -> Self {
        Self {
            variables,
            view: view.clone(),
            reports: Reports::default(),
        }
    }

    /// The same; what the data plane sees of backends is reported there.
    #[must_use]
    pub fn reporting(self, reports: Reports) -> Self {
        Self { reports, ..self }
    }

    /// What it writes.
    pub fn view(&self) -> View {
        self.view.clone()
    }

    /// Compiles a version and makes it the one that the view reads. An older one than the last is left alone.
    pub fn publish(&mut self, config: &Arc<FleetConfig>) {
        let before = self.view.0.load_full();
        if config.version < before.version {
            return;
        }
        let next = compile::compile(&before, config, self);
        self.view.0.store(Arc::new(next));
    }
}

#[cfg(test)]
#[path = "snapshot/tests.rs"]
mod tests;
