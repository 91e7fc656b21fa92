//! The certificates of the services that speak TLS: read where the configuration asks for them, again where that
//! failed or somebody says that they are new, and kept where the new ones cannot be used.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fleetbal_raft::model::{FleetConfig, ServiceName, UnixMillis};
use fleetbal_raft::seal::Seal;

use super::Failure;
use crate::clock;
use crate::snapshot::NodeVariables;
use crate::tls::{Server, ServerSettings, Servers};

/// A certificate in use that ends so soon is told of.
const SOON: Duration = Duration::from_hours(14 * 24);

/// How often their ends are looked at, while nothing else is to be done.
pub(super) const LOOK: Duration = Duration::from_hours(1);

/// What this node lacks to speak TLS.
#[derive(Debug, Default)]
pub(super) struct Lacking {
    /// Why, by service.
    pub(super) reasons: BTreeMap<ServiceName, String>,
    /// Those of them that have not even an earlier certificate.
    pub(super) mute: BTreeSet<ServiceName>,
}

/// Loads certificates and publishes them to the workers.
#[derive(Debug)]
pub(super) struct Certificates {
    variables: NodeVariables,
    servers: Servers,
    seal: Seal,
    loaded: BTreeMap<ServiceName, Arc<Server>>,
    /// Whose files could not be used when they were last looked at.
    failing: BTreeSet<ServiceName>,
    /// Which end soon, and since when that is told.
    ending: BTreeMap<String, (UnixMillis, Instant)>,
}

impl Certificates {
    pub(super) fn new(variables: NodeVariables, servers: Servers, seal: Seal) -> Self {
        Self {
            variables,
            servers,
            seal,
            ending: BTreeMap::new(),
            loaded: BTreeMap::new(),
            failing: BTreeSet::new(),
        }
    }

    /// Loads what a version asks for and is not loaded yet; all of it, if `anew`.
    pub(super) fn reconcile(&mut self, config: &FleetConfig, anew: bool) -> Lacking {
        let before = std::mem::take(&mut self.loaded);
        let mut lacking = Lacking::default();
        for (name, service) in config.services().filter(|(_, service)| service.enabled) {
            let old = before.get(name);
            let anew = anew || self.failing.contains(name);
            let server = match ServerSettings::of(service, config, &self.variables) {
                Ok(None) => continue,
                Ok(Some(settings)) => match old.filter(|old| !anew && *old.settings() == settings) {
                    Some(old) => Ok(Arc::clone(old)),
                    None => Server::load(settings, &self.seal, old.map(|old| &**old))
                        .map(Arc::new)
                        .map_err(|error| error.to_string()),
                },
                Err(reason) => Err(reason),
            };
            match (server, old) {
                (Ok(server), _) => {
                    self.loaded.insert(name.clone(), server);
                }
                (Err(reason), Some(old)) => {
                    self.loaded.insert(name.clone(), Arc::clone(old));
                    lacking.reasons.insert(name.clone(), reason);
                }
                (Err(reason), None) => {
                    lacking.mute.insert(name.clone());
                    lacking.reasons.insert(name.clone(), reason);
                }
            }
        }
        self.failing = lacking.reasons.keys().cloned().collect();
        if self.loaded.len() != before.len()
            || !self
                .loaded
                .iter()
                .all(|(name, server)| is_in(&before, name, server))
        {
            self.servers.publish(self.loaded.clone());
        }
        lacking
    }

    /// The certificates in use that end soon, or have ended: nothing that keeps this node from serving.
    pub(super) fn ending(&mut self, now: UnixMillis) -> Vec<Failure> {
        let soon = UnixMillis(
            now.0
                .saturating_add(u64::try_from(SOON.as_millis()).unwrap_or(u64::MAX)),
        );
        let before = std::mem::take(&mut self.ending);
        let ends = self.loaded.values().flat_map(|server| server.ends());
        for (name, ends) in ends.filter(|(_, ends)| *ends <= soon) {
            let since = before.get(name).filter(|(was, _)| was == ends);
            if since.is_none() && !self.ending.contains_key(name) {
                let ends = clock::rfc3339(*ends);
                tracing::warn!(
                    certificate = name,
                    ends,
                    "a certificate in use ends soon, or has ended"
                );
            }
            let since = since.map_or_else(Instant::now, |(_, since)| *since);
            self.ending.insert(name.clone(), (*ends, since));
        }
        let failure = |(name, (ends, since)): (&String, &(UnixMillis, Instant))| Failure {
            object: format!("certificate {name}"),
            reason: if *ends <= now {
                format!("it ended at {}", clock::rfc3339(*ends))
            } else {
                format!("it ends at {}, in less than 14 days", clock::rfc3339(*ends))
            },
            since: *since,
        };
        self.ending.iter().map(failure).collect()
    }
}

fn is_in(before: &BTreeMap<ServiceName, Arc<Server>>, name: &ServiceName, server: &Arc<Server>) -> bool {
    before.get(name).is_some_and(|old| Arc::ptr_eq(old, server))
}
