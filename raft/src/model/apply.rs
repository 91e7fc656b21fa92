//! What each entry makes of the state. One match a level; the arms call the objects.

mod plugin;

use std::sync::Arc;

use super::address::BackendAddress;
use super::change::{Answer, Batch, Change, Command, Entry, NewMember, UnixMillis};
use super::config::{FleetConfig, Version};
use super::fleet::{FleetState, NamedMember, SecretHash, Token, VoteWish};
use super::name::{NodeName, PoolName, ServiceName, TokenId};
use super::pool::Pool;
use super::rejection::{Refusal, Rejection};
use super::role::Role;
use super::service::{Service, TunableError};
use super::tunable::{CLEARING, Kind, Scope, Tunable};

/// Settings of pools that Perlbal also takes on a service, and passes on to its pool.
const FORWARDED: [&str; 2] = ["balance_method", "nodefile"];

/// Perlbal's old name for `idle_timeout` and `persist_client_idle_timeout` at once.
const OLD_TIMEOUT: &str = "persist_client_timeout";

impl FleetState {
    /// Applies one entry. Answers the same on every node; a refused entry changes nothing.
    pub fn apply(&mut self, entry: &Entry) -> Answer {
        let outcome = match &entry.command {
            Command::Batch(batch) => {
                let applied = self.apply_batch(batch, entry);
                return applied.map_or_else(Answer::Refused, Answer::Applied);
            }
            Command::Rollback { to, if_version } => {
                self.roll_back(*to, *if_version, entry).map(Answer::Applied)
            }
            Command::Confirm => self.confirm().map(Answer::Applied),
            Command::Undo(version) => self.undo(*version, entry).map(Answer::Applied),
            Command::Found {
                name,
                id,
                ca_certificate,
                founder,
            } => self.found(founder).map(|()| {
                self.name.clone_from(name);
                self.id = *id;
                self.ca_certificate = ca_certificate.as_slice().into();
                Answer::Done
            }),
            Command::IssueToken {
                id,
                secret_hash,
                ttl_ms,
                uses,
            } => {
                self.issue_token(id, *secret_hash, entry.time, *ttl_ms, *uses);
                Ok(Answer::Done)
            }
            Command::RevokeToken(id) => self
                .tokens
                .remove(id)
                .map(|_| Answer::Done)
                .ok_or(Rejection::UnknownToken),
            Command::RemoveNode(node) => self.remove_node(node).map(|()| Answer::Done),
            Command::SetWish { node, wish } => self.set_wish(node, *wish).map(|()| Answer::Done),
            Command::Join {
                token,
                secret_hash,
                member,
            } => self
                .join(token, *secret_hash, member, entry.time)
                .map(Answer::Joined),
        };
        outcome.unwrap_or_else(|rejection| refused(&rejection))
    }

    fn found(&mut self, founder: &NewMember) -> Result<(), Rejection> {
        if !self.members.is_empty() {
            return Err(Rejection::Founded);
        }
        self.take_up(founder);
        Ok(())
    }

    fn take_up(&mut self, member: &NewMember) -> u64 {
        self.next_node_id += 1;
        let named = NamedMember {
            node_id: self.next_node_id,
            key_hash: member.key_hash,
            address: member.address.clone(),
            wish: VoteWish::Any,
        };
        self.members.insert(member.name.clone(), named);
        self.next_node_id
    }

    fn issue_token(
        &mut self,
        id: &TokenId,
        hash: SecretHash,
        now: UnixMillis,
        ttl_ms: u64,
        uses: Option<u32>,
    ) {
        self.tokens.retain(|_, token| token.expires > now);
        let expires = UnixMillis(now.0.saturating_add(ttl_ms));
        self.tokens.insert(
            id.clone(),
            Token {
                secret_hash: hash,
                expires,
                uses_left: uses,
            },
        );
    }

    fn join(
        &mut self,
        token: &TokenId,
        secret_hash: SecretHash,
        member: &NewMember,
        now: UnixMillis,
    ) -> Result<u64, Rejection> {
        let known = self.tokens.get_mut(token).ok_or(Rejection::UnknownToken)?;
        if known.secret_hash != secret_hash {
            return Err(Rejection::UnknownToken);
        }
        if known.expires <= now {
            return Err(Rejection::ExpiredToken);
        }
        if known.uses_left == Some(0) {
            return Err(Rejection::UsedToken);
        }
        check_name_free(&self.members, &member.name)?;
        known.uses_left = known.uses_left.map(|uses| uses - 1);
        Ok(self.take_up(member))
    }
}

fn check_name_free(
    members: &std::collections::BTreeMap<NodeName, NamedMember>,
    name: &NodeName,
) -> Result<(), Rejection> {
    if members.contains_key(name) {
        Err(Rejection::NameTaken(name.clone()))
    } else {
        Ok(())
    }
}

fn refused(rejection: &Rejection) -> Answer {
    Answer::Refused(Refusal::of(rejection, 0))
}

impl FleetConfig {
    /// The configuration after a batch: the next version, or this one again where nothing had to change.
    ///
    /// # Errors
    /// The first change that is refused; then none of the batch counts.
    pub fn with_batch(&self, batch: &Batch) -> Result<Self, Refusal> {
        let refused = |(index, why): (u32, Rejection)| Refusal::of(&why, index);
        let moved = self.check_version(batch.if_version);
        moved.map_err(|why| refused((Refusal::WHOLE, why)))?;
        let mut next = self.clone();
        next.apply_all(&batch.changes).map_err(refused)?;
        next.count_from(self);
        Ok(next)
    }

    /// Refuses where somebody thought of another version.
    pub(super) fn check_version(&self, wanted: Option<Version>) -> Result<(), Rejection> {
        match wanted {
            Some(wanted) if wanted != self.version => Err(Rejection::VersionMoved {
                at: self.version,
                wanted,
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// Makes changes, one behind the other. After an error, which comes with the change's place, some are made.
    pub(super) fn apply_all(&mut self, changes: &[Change]) -> Result<(), (u32, Rejection)> {
        for (index, change) in changes.iter().enumerate() {
            self.apply_change(change)
                .map_err(|why| (u32::try_from(index).unwrap_or(u32::MAX), why))?;
        }
        Ok(())
    }

    /// Counts it as the next version where it does not say the same as the one before.
    pub(super) fn count_from(&mut self, before: &Self) {
        if !self.says_the_same(before) {
            self.version = Version(before.version.0 + 1);
        }
        self.check_invariants();
    }

    fn apply_change(&mut self, change: &Change) -> Result<(), Rejection> {
        match change {
            Change::CreatePool(name) => self.create_pool(name),
            Change::CreateService(name) => self.create_service(name),
            Change::Set { object, key, value } => self.set(object, key, value),
            Change::SetDefault { key, value } => self.set_default(key, value),
            Change::SetEnabled { service, enabled } => self.set_enabled(service, *enabled),
            Change::PoolAdd {
                pool,
                backend,
                weight,
            } => self.pool_mut(pool.as_str())?.add(*backend, *weight),
            Change::PoolRemove { pool, backend } => self.pool_mut(pool.as_str()).map(|p| p.remove(*backend)),
            Change::PoolDrain {
                pool,
                backend,
                draining,
            } => self.pool_drain(pool, *backend, *draining),
            Change::SetBackends { object, backends } => self.set_backends(object, backends),
            Change::Header { service, rule } => {
                let known = self.services.get_mut(service);
                let known = known.ok_or_else(|| Rejection::NoService(service.clone()))?;
                Arc::make_mut(known).put_header_rule(rule.clone())
            }
            Change::SetReproxyLimit { target, limit } => {
                self.reproxy_limits.set(target.as_deref(), *limit);
                Ok(())
            }
            Change::SetLoaded { plugin, loaded } => self.set_loaded(plugin, *loaded),
            Change::PutScript { name, source } => self.put_script(name, source),
            Change::RemoveScript(name) => self.remove_script(name),
            Change::Direct { service, directive } => self.direct(service, directive),
            Change::SetMime { extension, kind } => {
                Arc::make_mut(&mut self.mime).set(extension, kind.as_deref())
            }
            Change::SetVoters(voters) => self.set_voters(*voters),
            Change::SetDeadVoterAfter(seconds) => self.set_dead_voter_after(*seconds),
            Change::Restore(config) => self.restore(config),
            Change::SetConfigHistory(versions) => self.set_config_history(*versions),
            Change::RemovePool(name) => self.remove_pool(name),
            Change::RemoveService(name) => self.remove_service(name),
            Change::PoolPlace { pool, backend, after } => {
                self.pool_mut(pool.as_str())?.place(pool, *backend, *after)
            }
            Change::PutService { name, service } => self.put_service(name, service),
            Change::Unset(setting) => self.unset(setting),
            Change::PutCertificate { name, certificate } => self.put_certificate(name, certificate),
            Change::RemoveCertificate(name) => self.remove_certificate(name),
        }
    }

    fn restore(&mut self, config: &Self) -> Result<(), Rejection> {
        if !config.is_consistent() {
            return Err(Rejection::Inconsistent);
        }
        let version = self.version;
        *self = config.clone();
        self.version = version;
        Ok(())
    }

    fn create_pool(&mut self, name: &PoolName) -> Result<(), Rejection> {
        self.check_free(name.as_str())?;
        self.pools.insert(name.clone(), Arc::default());
        Ok(())
    }

    fn create_service(&mut self, name: &ServiceName) -> Result<(), Rejection> {
        self.check_free(name.as_str())?;
        self.services.insert(name.clone(), Arc::default());
        Ok(())
    }

    /// Pools and services share one namespace.
    fn check_free(&self, name: &str) -> Result<(), Rejection> {
        if let Some((service, _)) = self.services.get_key_value(name) {
            return Err(Rejection::ServiceExists(service.clone()));
        }
        match self.pools.get_key_value(name) {
            Some((pool, _)) => Err(Rejection::PoolExists(pool.clone())),
            None => Ok(()),
        }
    }

    fn pool_mut(&mut self, name: &str) -> Result<&mut Pool, Rejection> {
        self.pools
            .get_mut(name)
            .map(Arc::make_mut)
            .ok_or_else(|| Rejection::NoPool(name.to_owned()))
    }

    fn pool_drain(
        &mut self,
        pool: &PoolName,
        backend: BackendAddress,
        draining: bool,
    ) -> Result<(), Rejection> {
        if self.pool_mut(pool.as_str())?.drain(backend, draining) {
            return Ok(());
        }
        let pool = pool.clone();
        Err(Rejection::NoBackend { pool, backend })
    }

    fn set_backends(&mut self, object: &str, backends: &[(BackendAddress, u32)]) -> Result<(), Rejection> {
        let service = self.services.get_key_value(object).map(|(name, _)| name.clone());
        let pool = match service {
            Some(service) => self.pool_of(&service, "nodefile"),
            None => self.pool_mut(object),
        };
        pool?.set_backends(backends)
    }

    fn set(&mut self, object: &str, key: &str, value: &str) -> Result<(), Rejection> {
        if self.pools.contains_key(object) {
            return self.pool_mut(object)?.set(key, value);
        }
        let known = self.services.get_key_value(object).map(|(name, _)| name.clone());
        let Some(name) = known else {
            return Err(Rejection::NoObject(object.to_owned()));
        };
        if let Some(key) = FORWARDED.iter().find(|forwarded| **forwarded == key) {
            return self.pool_of(&name, key)?.set(key, value);
        }
        if key == "plugins" {
            return self.set_plugins(&name, value);
        }
        let role = if key == "role" {
            Some(
                self.find_role(value)
                    .ok_or_else(|| Rejection::Role(name.clone()))?,
            )
        } else {
            None
        };
        self.check_named(&name, key, value)?;
        self.check_brought(Some(&name), key)?;
        let Some(service) = self.services.get_mut(object).map(Arc::make_mut) else {
            return Err(Rejection::NoObject(object.to_owned()));
        };
        match role {
            Some(role) => set_role(service, role, &self.defaults),
            None => set_tunable(service, key, value),
        }
    }

    /// Whether the pool or service is there that a tunable is to name.
    fn check_named(&self, name: &ServiceName, key: &str, value: &str) -> Result<(), Rejection> {
        let role = self.services.get(name).and_then(|service| service.role());
        match Tunable::find(key).filter(|tunable| tunable.applies_to(role)) {
            Some(tunable) => self.check_there(tunable, value),
            None => Ok(()),
        }
    }

    fn check_there(&self, tunable: &Tunable, value: &str) -> Result<(), Rejection> {
        let kind = tunable.kind;
        if kind == Kind::Certificates {
            return self.check_certificates(tunable.key, value);
        }
        if kind == Kind::Pool && !self.pools.contains_key(value) {
            return Err(Rejection::NoPool(value.to_owned()));
        }
        if kind == Kind::Service && !CLEARING.contains(&value) && !self.services.contains_key(value) {
            return Err(Rejection::NoSuchService(value.to_owned()));
        }
        Ok(())
    }

    /// The pool that a service's own pool setting means. Where the service has none, and nobody has made a pool,
    /// one is made for it, as in Perlbal (reference, section 3.2).
    fn pool_of(&mut self, name: &ServiceName, key: &'static str) -> Result<&mut Pool, Rejection> {
        let service = self
            .services
            .get_mut(name)
            .ok_or_else(|| Rejection::NoService(name.clone()))?;
        if service.role() != Some(Role::ReverseProxy) {
            let role = Role::ReverseProxy;
            return Err(TunableError::OtherRole { key, role }.into());
        }
        if let Some(pool) = service.pool() {
            let pool = pool.clone();
            return self.pool_mut(pool.as_str());
        }
        let pool = PoolName::parse(&format!("{name}_pool"))?;
        let services = &self.services;
        let made_for_a_service = |pool: &PoolName| {
            let service = pool.as_str().strip_suffix("_pool");
            service.is_some_and(|service| services.contains_key(service))
        };
        if !self.pools.keys().all(made_for_a_service) {
            let key = key.to_owned();
            return Err(Rejection::Vivify { pool, key });
        }
        if !self.pools.contains_key(&pool) {
            self.create_pool(&pool)?;
        }
        if let Some(service) = self.services.get_mut(name) {
            Arc::make_mut(service).set_tunable("pool", pool.as_str())?;
        }
        self.pool_mut(pool.as_str())
    }

    fn set_default(&mut self, key: &str, value: &str) -> Result<(), Rejection> {
        if key == OLD_TIMEOUT {
            self.set_default("idle_timeout", value)
                .map_err(|error| rename(error, "idle_timeout", key))?;
            return self.set_default("persist_client_idle_timeout", value);
        }
        // Perlbal takes anything here and fails at the next SET role; an error where the mistake is made is
        // kinder. A tunable of any role will do.
        let tunable = Tunable::find(key).ok_or_else(|| TunableError::Unknown(key.to_owned()))?;
        super::value::Value::parse(tunable.kind, key, value).map_err(TunableError::Value)?;
        self.check_there(tunable, value)?;
        self.check_brought(None, key)?;
        self.defaults.insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    fn set_enabled(&mut self, name: &ServiceName, enabled: bool) -> Result<(), Rejection> {
        let service = self
            .services
            .get_mut(name)
            .ok_or_else(|| Rejection::NoService(name.clone()))?;
        match (service.enabled, enabled) {
            (true, true) => return Err(Rejection::AlreadyEnabled(name.clone())),
            (false, false) => return Err(Rejection::AlreadyDisabled(name.clone())),
            (true, false) if service.role() == Some(Role::Management) => {
                return Err(Rejection::DisableManagement);
            }
            (false, true) if service.role().is_none() => return Err(Rejection::NoRole(name.clone())),
            (true, false) | (false, true) => {}
        }
        Arc::make_mut(service).enabled = enabled;
        Ok(())
    }
}

/// Setting a role gives a service the defaults of that role, `DEFAULT` lines included.
pub(super) fn set_role(
    service: &mut Service,
    role: Role,
    defaults: &std::collections::BTreeMap<String, String>,
) -> Result<(), Rejection> {
    service.set_role(role);
    for (key, value) in defaults {
        let applies = Tunable::find(key).is_some_and(|t| match t.scope {
            Scope::Every => true,
            Scope::Only(only) => only == role,
        });
        if applies {
            service.set_tunable(key, value)?;
        }
    }
    Ok(())
}

fn set_tunable(service: &mut Service, key: &str, value: &str) -> Result<(), Rejection> {
    if key == OLD_TIMEOUT {
        service
            .set_tunable("idle_timeout", value)
            .map_err(|error| rename(error.into(), "idle_timeout", key))?;
        return Ok(service.set_tunable("persist_client_idle_timeout", value)?);
    }
    Ok(service.set_tunable(key, value)?)
}

fn rename(error: Rejection, from: &str, to: &str) -> Rejection {
    if let Rejection::Tunable(TunableError::Value(text)) = error {
        return TunableError::Value(text.replace(from, to)).into();
    }
    error
}

#[cfg(test)]
#[path = "apply_tests.rs"]
mod tests;
