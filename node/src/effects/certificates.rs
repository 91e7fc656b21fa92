//! The certificates of the services that speak TLS: read where the configuration asks for them, again where that
//! failed or somebody says that they are new, and kept where the new ones cannot be used.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fleetbal_raft::model::{FleetConfig, ServiceName};

use crate::snapshot::NodeVariables;
use crate::tls::{Server, ServerSettings, Servers};

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
    loaded: BTreeMap<ServiceName, Arc<Server>>,
    /// Whose files could not be used when they were last looked at.
    failing: BTreeSet<ServiceName>,
}

impl Certificates {
    pub(super) fn new(variables: NodeVariables, servers: Servers) -> Self {
        Self {
            variables,
            servers,
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
            let server = match ServerSettings::of(service, &self.variables) {
                Ok(None) => continue,
                Ok(Some(settings)) => match old.filter(|old| !anew && *old.settings() == settings) {
                    Some(old) => Ok(Arc::clone(old)),
                    None => Server::load(settings, old.map(|old| &**old))
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
}

fn is_in(before: &BTreeMap<ServiceName, Arc<Server>>, name: &ServiceName, server: &Arc<Server>) -> bool {
    before.get(name).is_some_and(|old| Arc::ptr_eq(old, server))
}
