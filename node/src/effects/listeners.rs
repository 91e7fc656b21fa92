//! Which listeners a configuration asks for, and the steps from those that are open to those.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use fleetbal_raft::model::{FleetConfig, Role, ServiceName};

use super::Failure;
use super::certificates::Lacking;
use crate::manage::access;
use crate::os_error;
use crate::snapshot::NodeVariables;

/// A listener of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener {
    /// What answers there.
    pub role: Role,
    /// Where it listens.
    pub address: SocketAddr,
}

/// What opens and closes listeners.
pub trait Ports: Send + 'static {
    /// Opens a service's listener.
    ///
    /// # Errors
    /// Why the address cannot be had; then nothing is open.
    fn open(&mut self, service: &ServiceName, listener: Listener) -> io::Result<()>;

    /// Closes it; connections that were accepted live on.
    fn close(&mut self, service: &ServiceName, listener: Listener);
}

/// The listeners that are open, and those that could not be opened.
#[derive(Debug)]
pub(super) struct Listeners<P> {
    variables: NodeVariables,
    ports: P,
    open: BTreeMap<ServiceName, Listener>,
    failed: BTreeMap<ServiceName, (String, Instant)>,
}

impl<P: Ports> Listeners<P> {
    pub(super) fn new(variables: NodeVariables, ports: P) -> Self {
        Self {
            variables,
            ports,
            open: BTreeMap::new(),
            failed: BTreeMap::new(),
        }
    }

    /// Takes the steps from what is open to what `config` asks for, and tells what failed. Who cannot speak TLS at all
    /// does not listen either.
    pub(super) fn reconcile(&mut self, config: &FleetConfig, lacking: Lacking, now: Instant) -> Vec<Failure> {
        let (mut wanted, mut failed) = self.wanted(config);
        wanted.retain(|name, _| !lacking.mute.contains(name));
        failed.extend(lacking.reasons);
        // All closing comes before any opening, so that an address can move from one service to another.
        let stale: Vec<_> = self
            .open
            .iter()
            .filter(|(name, open)| wanted.get(*name) != Some(*open))
            .collect();
        let stale: Vec<_> = stale
            .into_iter()
            .map(|(name, listener)| (name.clone(), *listener))
            .collect();
        for (name, listener) in stale {
            self.ports.close(&name, listener);
            self.open.remove(&name);
        }
        for (name, listener) in wanted {
            if self.open.contains_key(&name) {
                continue;
            }
            match self.ports.open(&name, listener) {
                Ok(()) => {
                    self.open.insert(name, listener);
                }
                Err(error) => {
                    failed.insert(
                        name,
                        format!(
                            "cannot listen on {}: {}",
                            listener.address,
                            os_error::words(&error)
                        ),
                    );
                }
            }
        }
        self.read_secrets(config, &mut failed);
        self.remember(failed, now)
    }

    /// Where the secrets of a management service cannot be read, it lets nobody in from other machines.
    fn read_secrets(&self, config: &FleetConfig, failed: &mut BTreeMap<ServiceName, String>) {
        for (name, service) in config.services().filter(|(_, service)| service.enabled) {
            if let Some(reason) = access::trouble(service, &self.variables) {
                failed.entry(name.clone()).or_insert(reason);
            }
        }
    }

    fn wanted(
        &self,
        config: &FleetConfig,
    ) -> (BTreeMap<ServiceName, Listener>, BTreeMap<ServiceName, String>) {
        let mut wanted = BTreeMap::new();
        let mut failed = BTreeMap::new();
        for (name, service) in config.services() {
            let Some(role) = service.role().filter(|_| service.enabled) else {
                continue;
            };
            match service.listen_on(|variable| self.variables.fill(variable)) {
                Ok(Some(address)) => {
                    wanted.insert(name.clone(), Listener { role, address });
                }
                Ok(None) => {}
                Err(reason) => {
                    failed.insert(name.clone(), reason);
                }
            }
        }
        (wanted, failed)
    }

    fn remember(&mut self, failed: BTreeMap<ServiceName, String>, now: Instant) -> Vec<Failure> {
        let before = std::mem::take(&mut self.failed);
        for (name, reason) in failed {
            let since = before.get(&name).map_or(now, |(_, since)| *since);
            if !before.contains_key(&name) {
                tracing::warn!(service = %name, %reason, "cannot be done on this node; trying on");
            }
            self.failed.insert(name, (reason, since));
        }
        for name in before.keys().filter(|name| !self.failed.contains_key(*name)) {
            tracing::info!(service = %name, "done after all, or no longer asked for");
        }
        let failure = |(name, (reason, since)): (&ServiceName, &(String, Instant))| Failure {
            object: format!("service {name}"),
            reason: reason.clone(),
            since: *since,
        };
        self.failed.iter().map(failure).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use fleetbal_raft::model::{Batch, Change};

    use super::*;

    /// Real sockets, one a service.
    #[derive(Default)]
    struct Sockets(BTreeMap<ServiceName, TcpListener>);

    impl Ports for Sockets {
        fn open(&mut self, service: &ServiceName, listener: Listener) -> io::Result<()> {
            self.0
                .insert(service.clone(), TcpListener::bind(listener.address)?);
            Ok(())
        }

        fn close(&mut self, service: &ServiceName, _: Listener) {
            self.0.remove(service);
        }
    }

    fn service(config: &FleetConfig, name: &str, listen: SocketAddr, enabled: bool) -> FleetConfig {
        let set = |key: &str, value: &str| Change::Set {
            object: name.into(),
            key: key.into(),
            value: value.into(),
        };
        let service = ServiceName::parse(name).unwrap();
        let mut changes = Vec::new();
        if config.service(name).is_none() {
            changes.extend([
                Change::CreateService(service.clone()),
                set("role", "reverse_proxy"),
            ]);
        }
        changes.push(set("listen", &listen.to_string()));
        if config.service(name).is_some_and(|s| s.enabled) != enabled {
            changes.push(Change::SetEnabled { service, enabled });
        }
        config.with_batch(&Batch::of(changes)).unwrap()
    }

    #[test]
    fn opens_moves_fails_and_recovers() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut listeners = Listeners::new(NodeVariables::default(), Sockets::default());
        let now = Instant::now();

        let config = service(&FleetConfig::default(), "a", taken.local_addr().unwrap(), true);
        let failures = listeners.reconcile(&config, Lacking::default(), now);
        assert_eq!(failures.len(), 1);
        assert_eq!(failures[0].object, "service a");
        assert!(
            failures[0].reason.contains("Address already in use"),
            "{}",
            failures[0].reason
        );
        let later = now + std::time::Duration::from_secs(1);
        assert_eq!(
            listeners.reconcile(&config, Lacking::default(), later)[0].since,
            now
        );

        let config = service(&config, "a", free, true);
        assert!(listeners.reconcile(&config, Lacking::default(), later).is_empty());
        assert!(std::net::TcpStream::connect(free).is_ok());

        // The address goes from one service to the other in one step.
        let config = service(&service(&config, "a", free, false), "b", free, true);
        assert!(listeners.reconcile(&config, Lacking::default(), later).is_empty());
        let names: Vec<_> = listeners.open.keys().map(ServiceName::as_str).collect();
        assert_eq!(names, ["b"]);
    }
}
