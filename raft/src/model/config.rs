//! The configuration of the whole fleet at one version. Look-ups only; `apply` makes the next one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::certificate::Certificate;
use super::mime::MimeTypes;
use super::name::{CertificateName, PoolName, ScriptName, ServiceName};
use super::plugin::Plugin;
use super::pool::Pool;
use super::reproxy::ReproxyLimits;
use super::service::Service;

/// The number of the last change, counted from 1; 0 before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Version(pub u64);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Pools, services and defaults. A clone shares every object that is not changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FleetConfig {
    /// The number of the last change.
    pub version: Version,
    pub(crate) pools: BTreeMap<PoolName, Arc<Pool>>,
    pub(crate) services: BTreeMap<ServiceName, Arc<Service>>,
    pub(crate) defaults: BTreeMap<String, String>,
    pub(crate) voters: Option<u32>,
    pub(crate) dead_voter_after: Option<u32>,
    pub(crate) reproxy_limits: ReproxyLimits,
    pub(crate) loaded: BTreeSet<Plugin>,
    pub(crate) scripts: BTreeMap<ScriptName, Arc<str>>,
    pub(crate) certificates: BTreeMap<CertificateName, Arc<Certificate>>,
    pub(crate) config_history: Option<u32>,
    pub(crate) mime: Arc<MimeTypes>,
}

/// How many voters a fleet keeps where nothing was set.
const DEFAULT_VOTERS: u32 = 5;

/// How many versions are kept where nothing was set.
const DEFAULT_CONFIG_HISTORY: usize = 1000;

/// How long a voter may be away where nothing was set.
const DEFAULT_DEAD_VOTER_AFTER: Duration = Duration::from_mins(5);

impl FleetConfig {
    /// All pools, by name.
    pub fn pools(&self) -> impl ExactSizeIterator<Item = (&PoolName, &Arc<Pool>)> {
        self.pools.iter()
    }

    /// One pool.
    pub fn pool(&self, name: &str) -> Option<&Arc<Pool>> {
        self.pools.get(name)
    }

    /// All services, by name.
    pub fn services(&self) -> impl ExactSizeIterator<Item = (&ServiceName, &Arc<Service>)> {
        self.services.iter()
    }

    /// One service.
    pub fn service(&self, name: &str) -> Option<&Arc<Service>> {
        self.services.get(name)
    }

    /// `DEFAULT` lines, by key.
    pub fn defaults(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.defaults
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// How long a voter may be away before a learner has its vote.
    pub fn dead_voter_after(&self) -> Duration {
        let set = self.dead_voter_after.map(u64::from);
        set.map_or(DEFAULT_DEAD_VOTER_AFTER, Duration::from_secs)
    }

    /// What `cluster set dead_voter_after` said, in seconds, if it was said.
    pub fn dead_voter_after_set(&self) -> Option<u32> {
        self.dead_voter_after
    }

    /// How many voters the fleet keeps, at most.
    pub fn voters(&self) -> u32 {
        self.voters.unwrap_or(DEFAULT_VOTERS)
    }

    /// What `cluster set voters` said, if it was said.
    pub fn voters_set(&self) -> Option<u32> {
        self.voters
    }

    /// How many of the last versions the history keeps.
    pub fn config_history(&self) -> usize {
        let set = self.config_history.map(usize::try_from);
        set.and_then(Result::ok).unwrap_or(DEFAULT_CONFIG_HISTORY)
    }

    /// What `SERVER config_history` said, if it was said.
    pub fn config_history_set(&self) -> Option<u32> {
        self.config_history
    }

    /// What `SERVER max_reproxy_connections` said.
    pub fn reproxy_limits(&self) -> &ReproxyLimits {
        &self.reproxy_limits
    }

    /// The plugins that services can have.
    pub fn loaded(&self) -> &BTreeSet<Plugin> {
        &self.loaded
    }

    /// The sources of the plugins in Lua, by name.
    pub fn scripts(&self) -> impl ExactSizeIterator<Item = (&ScriptName, &Arc<str>)> {
        self.scripts.iter()
    }

    /// The source of one of them.
    pub fn script(&self, name: &str) -> Option<&Arc<str>> {
        self.scripts.get(name)
    }

    /// The plugin of that name, in any case.
    pub fn find_plugin(&self, name: &str) -> Option<Plugin> {
        let pushed = || {
            let mut names = self.scripts.keys();
            let found = names.find(|script| script.as_str().eq_ignore_ascii_case(name));
            found.cloned().map(Plugin::Script)
        };
        Plugin::find(name).or_else(pushed)
    }

    /// The same with the sources and certificates that another one has: a file says nothing of them.
    #[must_use]
    pub fn with_uploads_of(self, other: &Self) -> Self {
        Self {
            scripts: other.scripts.clone(),
            certificates: other.certificates.clone(),
            ..self
        }
    }

    /// The types of files.
    pub fn mime(&self) -> &Arc<MimeTypes> {
        &self.mime
    }

    /// Whether both say the same, whatever their versions.
    pub fn says_the_same(&self, other: &Self) -> bool {
        // Taken apart, so that a new field cannot be forgotten here.
        let Self {
            version: _,
            pools,
            services,
            defaults,
            voters,
            dead_voter_after,
            reproxy_limits,
            config_history,
            loaded,
            scripts,
            certificates,
            mime,
        } = self;
        *pools == other.pools
            && *services == other.services
            && *defaults == other.defaults
            && *voters == other.voters
            && *dead_voter_after == other.dead_voter_after
            && *reproxy_limits == other.reproxy_limits
            && *config_history == other.config_history
            && *loaded == other.loaded
            && *scripts == other.scripts
            && *certificates == other.certificates
            && *mime == other.mime
    }

    /// Whether nothing was configured yet.
    pub fn is_empty(&self) -> bool {
        self.pools.is_empty() && self.services.is_empty()
    }

    /// Whether no object points to another that is not there, and no two share a name.
    pub(crate) fn is_consistent(&self) -> bool {
        let is_taken = |pool: &PoolName| self.services.contains_key(pool.as_str());
        let is_lost =
            |plugin: &Plugin| matches!(plugin, Plugin::Script(name) if !self.scripts.contains_key(name));
        self.services.values().all(|service| self.is_whole(service))
            && !self.pools.keys().any(is_taken)
            && !self.loaded.iter().any(is_lost)
    }

    /// Whether all that a service points to is there.
    pub(super) fn is_whole(&self, service: &Service) -> bool {
        service.pool().is_none_or(|pool| self.pools.contains_key(pool))
            && (!service.enabled || service.role().is_some())
            && service.plugins().iter().all(|one| self.loaded.contains(one))
            && service
                .certificates()
                .iter()
                .all(|one| self.certificates.contains_key(one))
    }

    /// Panics in debug builds where this is not consistent.
    pub(crate) fn check_invariants(&self) {
        debug_assert!(self.is_consistent());
    }
}
