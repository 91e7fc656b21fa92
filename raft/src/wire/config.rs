//! The configuration and the whole state, for snapshots and backups.

use std::sync::Arc;

use fleetbal_proto::v1;
use prost::Message;

use super::change::{
    backend, decode_answer, encode_answer, fixed, from_header_rule, node_name, pool_name, service_name,
    to_header_rule, token_id, weighted,
};
use super::member::{decode_wish, encode_wish};
use super::{WireError, beyond_first, certificate, history, plugin};
use crate::backup::Backup;
use crate::model::{
    Answers, Backend, BalanceMethod, FleetConfig, FleetId, FleetState, HashBy, KeyHash, NamedMember,
    NodeName, Plugin, Pool, RequestId, Role, SecretHash, Service, Template, Token, UnixMillis, Version,
};

/// A backup's content.
pub(crate) fn encode_backup(backup: &Backup) -> v1::Backup {
    v1::Backup {
        fleet_name: backup.fleet.clone(),
        fleet_id: backup.fleet_id.0.to_vec(),
        node: backup.node.clone(),
        software: backup.software.clone(),
        time_unix_ms: backup.time.0,
        config: Some(to_config(&backup.config)),
        feature_level: beyond_first(backup.config.feature_level()),
    }
}

/// A backup out of its content.
///
/// # Errors
/// When the bytes are none that this release knows.
pub(crate) fn decode_backup(bytes: &[u8]) -> Result<Backup, WireError> {
    let wire = v1::Backup::decode(bytes)?;
    super::check_level(wire.feature_level)?;
    Ok(Backup {
        fleet: wire.fleet_name,
        fleet_id: FleetId(fixed(&wire.fleet_id, "fleet id")?),
        node: wire.node,
        software: wire.software,
        time: UnixMillis(wire.time_unix_ms),
        config: Arc::new(from_config(
            wire.config.ok_or(WireError::Invalid("configuration"))?,
        )?),
    })
}

/// The whole state as bytes.
pub fn encode_state(state: &FleetState, answers: &Answers) -> Vec<u8> {
    let wire = v1::FleetState {
        config: Some(to_config(&state.config)),
        fleet_name: state.name.clone(),
        fleet_id: state.id.0.to_vec(),
        ca_certificate: state.ca_certificate.to_vec(),
        next_node_id: state.next_node_id,
        tokens: state
            .tokens
            .iter()
            .map(|(id, token)| to_token(id.as_str(), token))
            .collect(),
        answered: answers.iter().map(to_answered).collect(),
        member_names: state
            .members
            .iter()
            .map(|(name, member)| to_member_name(name, member))
            .collect(),
        history: Some(history::encode(&state.history)),
        seal_secret: Vec::new(),
    };
    wire.encode_to_vec()
}

/// The whole state of a node that stands alone, with the secret that its seals are made of: for the process that takes
/// its place, and for no disk.
pub(crate) fn with_seal_secret(mut state: Vec<u8>, secret: &[u8]) -> Vec<u8> {
    let told = v1::FleetState {
        seal_secret: secret.to_vec(),
        ..v1::FleetState::default()
    };
    // Two messages, one behind the other, are read as one.
    state.extend(told.encode_to_vec());
    state
}

/// The secret that came with a state; none where an older release sent it.
pub(crate) fn seal_secret(state: &[u8]) -> Option<[u8; 32]> {
    v1::FleetState::decode(state).ok()?.seal_secret.try_into().ok()
}

/// The whole state out of bytes.
///
/// # Errors
/// When the bytes are no state of this format.
pub fn decode_state(bytes: &[u8]) -> Result<(FleetState, Answers), WireError> {
    let wire = v1::FleetState::decode(bytes)?;
    let mut answers = Answers::default();
    for answered in wire.answered {
        let request = RequestId(fixed(&answered.request_id, "request id")?);
        let answer = decode_answer(answered.answer.ok_or(WireError::Invalid("answer"))?)?;
        answers.insert(request, UnixMillis(answered.time_unix_ms), answer);
    }
    let mut state = FleetState {
        config: Arc::new(from_config(wire.config.unwrap_or_default())?),
        name: wire.fleet_name,
        id: FleetId(fixed(&wire.fleet_id, "fleet id")?),
        ca_certificate: wire.ca_certificate.into(),
        next_node_id: wire.next_node_id,
        history: Arc::new(history::decode(wire.history)?),
        ..FleetState::default()
    };
    for token in wire.tokens {
        state.tokens.insert(token_id(&token.id)?, from_token(&token)?);
    }
    for member in wire.member_names {
        let name = node_name(&member.name)?;
        let key_hash = KeyHash(fixed(&member.key_hash, "key hash")?);
        state.members.insert(
            name,
            NamedMember {
                node_id: member.node_id,
                key_hash,
                address: member.address,
                wish: decode_wish(member.wish)?,
            },
        );
    }
    Ok((state, answers))
}

pub(super) fn to_config(config: &FleetConfig) -> v1::FleetConfig {
    v1::FleetConfig {
        version: config.version.0,
        pools: config
            .pools
            .iter()
            .map(|(name, pool)| to_pool(name.as_str(), pool))
            .collect(),
        services: config
            .services
            .iter()
            .map(|(name, service)| to_service(name.as_str(), service))
            .collect(),
        defaults: config
            .defaults
            .iter()
            .map(|(key, value)| key_value(key, value))
            .collect(),
        config_history: config.config_history.unwrap_or(0),
        voters: config.voters.unwrap_or(0),
        dead_voter_after: config.dead_voter_after.unwrap_or(0),
        mime: config
            .mime
            .changed()
            .map(|(extension, kind)| key_value(extension, kind.unwrap_or_default()))
            .collect(),
        reproxy_limit: config.reproxy_limits.each,
        reproxy_limits: config
            .reproxy_limits
            .by_target()
            .map(|(target, limit)| v1::ReproxyLimit {
                target: target.to_owned(),
                limit,
            })
            .collect(),
        loaded_plugins: config.loaded.iter().map(Plugin::to_string).collect(),
        scripts: config
            .scripts
            .iter()
            .map(|(name, source)| plugin::to_script(name, source))
            .collect(),
        certificates: config
            .certificates
            .iter()
            .map(|(name, one)| certificate::encode(name, one))
            .collect(),
    }
}

pub(super) fn from_config(wire: v1::FleetConfig) -> Result<FleetConfig, WireError> {
    let mut config = FleetConfig {
        version: Version(wire.version),
        ..FleetConfig::default()
    };
    for script in wire.scripts {
        let (name, source) = plugin::from_script(script)?;
        config.scripts.insert(name, source);
    }
    for wire in wire.certificates {
        let (name, one) = certificate::decode(wire)?;
        config.certificates.insert(name, one);
    }
    for name in &wire.loaded_plugins {
        config.loaded.insert(plugin::from_name(name)?);
    }
    for pool in wire.pools {
        config
            .pools
            .insert(pool_name(&pool.name)?, Arc::new(from_pool(&pool)?));
    }
    for service in wire.services {
        config
            .services
            .insert(service_name(&service.name)?, Arc::new(from_service(&service)?));
    }
    config.defaults = wire
        .defaults
        .into_iter()
        .map(|pair| (pair.key, pair.value))
        .collect();
    config.reproxy_limits.set(None, wire.reproxy_limit);
    for limit in wire.reproxy_limits {
        config.reproxy_limits.set(Some(&limit.target), limit.limit);
    }
    config.config_history = Some(wire.config_history).filter(|versions| *versions > 0);
    for pair in wire.mime {
        let kind = Some(&*pair.value).filter(|kind| !kind.is_empty());
        Arc::make_mut(&mut config.mime)
            .set(&pair.key, kind)
            .map_err(|_| WireError::Invalid("type of files"))?;
    }
    config.voters = Some(wire.voters).filter(|voters| *voters > 0);
    config.dead_voter_after = Some(wire.dead_voter_after).filter(|seconds| *seconds > 0);
    Ok(config)
}

fn key_value(key: &str, value: &str) -> v1::KeyValue {
    v1::KeyValue {
        key: key.to_owned(),
        value: value.to_owned(),
    }
}

/// Settings of pools with a field of their own on the wire.
const OWN_FIELDS: [&str; 4] = ["balance_method", "hash_by", "load_header", "nodefile"];

pub(super) fn to_pool(name: &str, pool: &Pool) -> v1::Pool {
    let backends = pool.backends().iter().map(encode_backend);
    v1::Pool {
        name: name.to_owned(),
        balance_method: pool.balance_method.name().to_owned(),
        backends: backends.collect(),
        hash_by: pool.hash_by.to_string(),
        nodefile: pool
            .nodefile
            .as_ref()
            .map(Template::to_string)
            .unwrap_or_default(),
        load_header: pool.load_header.clone().unwrap_or_default(),
        settings: pool
            .explicit()
            .filter(|(key, _)| !OWN_FIELDS.contains(key))
            .map(|(key, value)| key_value(key, &value))
            .collect(),
    }
}

pub(super) fn encode_backend(backend: &Backend) -> v1::Backend {
    v1::Backend {
        address: backend.address.to_string(),
        weight: backend.weight,
        draining: backend.draining,
    }
}

pub(super) fn decode_backend(wire: &v1::Backend) -> Result<Backend, WireError> {
    Ok(Backend {
        address: backend(&wire.address)?,
        weight: wire.weight,
        draining: wire.draining,
    })
}

fn from_pool(wire: &v1::Pool) -> Result<Pool, WireError> {
    let mut pool = Pool::default();
    pool.balance_method =
        BalanceMethod::parse(&wire.balance_method).ok_or(WireError::Invalid("balance method"))?;
    if !wire.hash_by.is_empty() {
        pool.hash_by = HashBy::parse(&wire.hash_by).ok_or(WireError::Invalid("hash key"))?;
    }
    pool.load_header = Some(wire.load_header.clone()).filter(|name| !name.is_empty());
    if !wire.nodefile.is_empty() {
        let nodefile = Template::parse(&wire.nodefile).map_err(|_| WireError::Invalid("nodefile"))?;
        pool.nodefile = Some(nodefile);
    }
    for setting in &wire.settings {
        pool.set(&setting.key, &setting.value)
            .map_err(|_| WireError::Invalid("pool setting"))?;
    }
    pool.set_backends(&weighted(&wire.backends)?)
        .map_err(|_| WireError::Invalid("weight"))?;
    for member in wire.backends.iter().filter(|member| member.draining) {
        pool.drain(backend(&member.address)?, true);
    }
    Ok(pool)
}

pub(super) fn to_service(name: &str, service: &Service) -> v1::Service {
    v1::Service {
        name: name.to_owned(),
        role: service.role().map_or("", Role::name).to_owned(),
        enabled: service.enabled,
        tunables: service
            .explicit()
            .map(|(key, value)| key_value(key, &value.to_string()))
            .collect(),
        header_rules: service.header_rules().iter().map(to_header_rule).collect(),
        plugins: service.plugins().iter().map(Plugin::to_string).collect(),
        directives: service
            .specs()
            .flat_map(|(_, spec)| spec.directives())
            .map(Into::into)
            .collect(),
    }
}

pub(super) fn from_service(wire: &v1::Service) -> Result<Service, WireError> {
    let mut service = Service::default();
    if !wire.role.is_empty() {
        service.set_role(Role::parse(&wire.role).ok_or(WireError::Invalid("role"))?);
    }
    for tunable in &wire.tunables {
        service
            .set_tunable(&tunable.key, &tunable.value)
            .map_err(|_| WireError::Invalid("tunable"))?;
    }
    for rule in &wire.header_rules {
        service
            .put_header_rule(from_header_rule(rule.clone())?)
            .map_err(|_| WireError::Invalid("header rule"))?;
    }
    let plugins = wire.plugins.iter().map(|name| plugin::from_name(name));
    service
        .set_plugins(plugins.collect::<Result<_, _>>()?)
        .map_err(|_| WireError::Invalid("plugin"))?;
    for directive in &wire.directives {
        service.direct(directive.clone().try_into()?);
    }
    service.enabled = wire.enabled;
    Ok(service)
}

fn to_token(id: &str, token: &Token) -> v1::Token {
    v1::Token {
        id: id.to_owned(),
        secret_hash: token.secret_hash.0.to_vec(),
        expires_unix_ms: token.expires.0,
        uses_left: token.uses_left.unwrap_or(0),
        unlimited: token.uses_left.is_none(),
    }
}

fn from_token(wire: &v1::Token) -> Result<Token, WireError> {
    Ok(Token {
        secret_hash: SecretHash(fixed(&wire.secret_hash, "token")?),
        expires: UnixMillis(wire.expires_unix_ms),
        uses_left: (!wire.unlimited).then_some(wire.uses_left),
    })
}

fn to_answered((request, time, answer): (RequestId, UnixMillis, &crate::model::Answer)) -> v1::Answered {
    v1::Answered {
        request_id: request.0.to_vec(),
        time_unix_ms: time.0,
        answer: Some(encode_answer(answer)),
    }
}

fn to_member_name(name: &NodeName, member: &NamedMember) -> v1::MemberName {
    v1::MemberName {
        name: name.to_string(),
        node_id: member.node_id,
        key_hash: member.key_hash.0.to_vec(),
        address: member.address.clone(),
        wish: encode_wish(member.wish),
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
