//! What is taken back as if it had never been: a rollback, or a file that does not name it, asks for that. Nobody can
//! type it.

use std::sync::Arc;

use super::address::BackendAddress;
use super::change::Setting;
use super::config::FleetConfig;
use super::name::{PoolName, ServiceName};
use super::pool::{Backend, Pool, WEIGHTS};
use super::rejection::Rejection;
use super::service::Service;
use super::tunable::{Kind, Tunable};

impl FleetConfig {
    pub(super) fn remove_pool(&mut self, name: &PoolName) -> Result<(), Rejection> {
        let user = self
            .services
            .iter()
            .find(|(_, service)| service.pool() == Some(name))
            .map(|(service, _)| format!("service '{service}'"));
        let names_it = |key: &str, value: &str| {
            value == name.as_str() && Tunable::find(key).is_some_and(|tunable| tunable.kind == Kind::Pool)
        };
        let default = self.defaults.iter().find(|(key, value)| names_it(key, value));
        let default = default.map(|(key, _)| format!("DEFAULT {key}"));
        if let Some(by) = user.or(default) {
            let pool = name.clone();
            return Err(Rejection::PoolInUse { pool, by });
        }
        let removed = self.pools.remove(name);
        removed
            .map(|_| ())
            .ok_or_else(|| Rejection::NoPool(name.to_string()))
    }

    pub(super) fn remove_service(&mut self, name: &ServiceName) -> Result<(), Rejection> {
        let removed = self.services.remove(name);
        removed
            .map(|_| ())
            .ok_or_else(|| Rejection::NoService(name.clone()))
    }

    pub(super) fn put_service(
        &mut self,
        name: &ServiceName,
        service: &Arc<Service>,
    ) -> Result<(), Rejection> {
        if self.pools.contains_key(name.as_str()) || !self.is_whole(service) {
            return Err(Rejection::Inconsistent);
        }
        self.services.insert(name.clone(), Arc::clone(service));
        Ok(())
    }

    /// What was not set is none to take back, and no error.
    pub(super) fn unset(&mut self, setting: &Setting) -> Result<(), Rejection> {
        match setting {
            Setting::Tunable { object, key } => match self.pools.get_mut(object.as_str()) {
                Some(pool) => Arc::make_mut(pool).unset(key)?,
                None => self.service_mut(&ServiceName::parse(object)?)?.unset(key),
            },
            Setting::Header {
                service,
                inserts,
                name,
            } => self.service_mut(service)?.drop_header_rule(*inserts, name),
            Setting::Default(key) => {
                self.defaults.remove(key);
            }
            Setting::ReproxyLimit(target) => {
                self.reproxy_limits.by_target.remove(target);
            }
            Setting::Voters => self.voters = None,
            Setting::DeadVoterAfter => self.dead_voter_after = None,
            Setting::ConfigHistory => self.config_history = None,
        }
        Ok(())
    }
}

impl Pool {
    /// Takes a setting back to its default.
    pub(super) fn unset(&mut self, key: &str) -> Result<(), Rejection> {
        let others: Vec<_> = self.explicit().filter(|(other, _)| *other != key).collect();
        let mut fresh = Self {
            backends: std::mem::take(&mut self.backends),
            ..Self::default()
        };
        let outcome = others
            .iter()
            .try_for_each(|(other, value)| fresh.set(other, value));
        *self = fresh;
        outcome
    }

    /// Puts a backend, as it is, behind another one, or first; one that is there already moves.
    pub(super) fn place(
        &mut self,
        name: &PoolName,
        backend: Backend,
        after: Option<BackendAddress>,
    ) -> Result<(), Rejection> {
        if !WEIGHTS.contains(&backend.weight) {
            return Err(Rejection::Weight);
        }
        self.remove(backend.address);
        let place = match after {
            None => 0,
            Some(ahead) => {
                let at = self.backends.iter().position(|it| it.address == ahead);
                at.map(|at| at + 1).ok_or_else(|| Rejection::NoBackend {
                    pool: name.clone(),
                    backend: ahead,
                })?
            }
        };
        self.backends.insert(place, backend);
        Ok(())
    }
}
