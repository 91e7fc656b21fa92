//! Entries and answers.

use std::sync::Arc;

use fleetbal_proto::v1;
use prost::Message;

use super::config::{decode_backend, encode_backend, from_config, from_service, to_config, to_service};
use super::member::{decode_wish, encode_wish, from_member, to_member};
use super::{WireError, certificate, plugin, unset};
use crate::model::{
    Answer, BackendAddress, Batch, Change, Command, Entry, FleetId, HeaderRule, NodeName, PoolName, Refusal,
    RequestId, SecretHash, ServiceName, Template, TokenId, Typist, UnixMillis, Version,
};

/// An entry as the log keeps it.
pub fn encode_entry(entry: &Entry) -> Vec<u8> {
    to_entry(entry).encode_to_vec()
}

/// An entry out of the log.
///
/// # Errors
/// When the bytes are no entry, or one of a later release.
pub fn decode_entry(bytes: &[u8]) -> Result<Entry, WireError> {
    from_entry(v1::Entry::decode(bytes)?)
}

/// An answer as it is kept and sent.
pub fn encode_answer(answer: &Answer) -> v1::Answer {
    use v1::answer::Answer as Wire;
    let wire = match answer {
        Answer::Applied(version) => Wire::AppliedVersion(version.0),
        Answer::Refused(refusal) => Wire::Refused(v1::Refusal {
            text: refusal.text.clone(),
            change: refusal.change,
        }),
        Answer::Joined(id) => Wire::NodeId(*id),
        Answer::Done => Wire::Done(v1::Done {}),
    };
    v1::Answer { answer: Some(wire) }
}

/// An answer from the wire or a snapshot.
///
/// # Errors
/// When it is empty or of a kind that this release does not know.
pub fn decode_answer(wire: v1::Answer) -> Result<Answer, WireError> {
    use v1::answer::Answer as Wire;
    Ok(match wire.answer.ok_or(WireError::Invalid("answer"))? {
        Wire::AppliedVersion(version) => Answer::Applied(Version(version)),
        Wire::Refused(refusal) => Answer::Refused(Refusal {
            text: refusal.text,
            change: refusal.change,
        }),
        Wire::NodeId(id) => Answer::Joined(id),
        Wire::Done(_) => Answer::Done,
    })
}

fn to_entry(entry: &Entry) -> v1::Entry {
    v1::Entry {
        feature_level: entry.feature_level,
        request_id: entry.request_id.0.to_vec(),
        origin_node: entry.origin_node.clone(),
        typist: entry.typist.address.clone(),
        typist_token: entry.typist.token.clone().unwrap_or_default(),
        time_unix_ms: entry.time.0,
        deadline_unix_ms: entry.deadline.0,
        command: Some(to_command(&entry.command)),
    }
}

fn from_entry(wire: v1::Entry) -> Result<Entry, WireError> {
    super::check_level(wire.feature_level)?;
    Ok(Entry {
        feature_level: wire.feature_level,
        request_id: RequestId(fixed(&wire.request_id, "request id")?),
        origin_node: wire.origin_node,
        typist: typist(wire.typist, wire.typist_token),
        time: UnixMillis(wire.time_unix_ms),
        deadline: UnixMillis(wire.deadline_unix_ms),
        command: from_command(wire.command.ok_or(WireError::Invalid("command"))?)?,
    })
}

fn to_command(command: &Command) -> v1::entry::Command {
    use v1::entry::Command as Wire;
    match command {
        Command::Batch(batch) => Wire::Batch(v1::Batch {
            changes: batch.changes.iter().map(to_change).collect(),
            if_version: batch.if_version.map(|version| version.0),
            confirm_seconds: batch.confirm.unwrap_or(0),
            from_file: batch.from_file,
        }),
        Command::Rollback { to, if_version } => Wire::Rollback(v1::Rollback {
            to: to.0,
            if_version: if_version.map(|version| version.0),
        }),
        Command::Confirm => Wire::Confirm(v1::Confirm {}),
        Command::Undo(version) => Wire::Undo(v1::Undo { version: version.0 }),
        Command::Found {
            name,
            id,
            ca_certificate,
            founder,
        } => Wire::Found(v1::Found {
            fleet_name: name.clone(),
            fleet_id: id.0.to_vec(),
            ca_certificate: ca_certificate.clone(),
            founder: Some(to_member(founder)),
        }),
        Command::IssueToken {
            id,
            secret_hash,
            ttl_ms,
            uses,
        } => Wire::IssueToken(v1::IssueToken {
            id: id.to_string(),
            secret_hash: secret_hash.0.to_vec(),
            ttl_ms: *ttl_ms,
            uses: uses.unwrap_or(0),
        }),
        Command::RevokeToken(id) => Wire::RevokeToken(v1::RevokeToken { id: id.to_string() }),
        Command::RemoveNode(node) => Wire::RemoveNode(v1::RemoveNode {
            name: node.to_string(),
        }),
        Command::SetWish { node, wish } => Wire::SetWish(v1::SetWish {
            name: node.to_string(),
            wish: encode_wish(*wish),
        }),
        Command::Join {
            token,
            secret_hash,
            member,
        } => Wire::Join(v1::Join {
            token_id: token.to_string(),
            secret_hash: secret_hash.0.to_vec(),
            member: Some(to_member(member)),
        }),
    }
}

fn from_command(wire: v1::entry::Command) -> Result<Command, WireError> {
    use v1::entry::Command as Wire;
    Ok(match wire {
        Wire::Batch(batch) => Command::Batch(Batch {
            changes: from_changes(batch.changes)?,
            if_version: batch.if_version.map(Version),
            confirm: Some(batch.confirm_seconds).filter(|seconds| *seconds > 0),
            from_file: batch.from_file,
        }),
        Wire::Rollback(rollback) => Command::Rollback {
            to: Version(rollback.to),
            if_version: rollback.if_version.map(Version),
        },
        Wire::Confirm(v1::Confirm {}) => Command::Confirm,
        Wire::Undo(undo) => Command::Undo(Version(undo.version)),
        Wire::Found(found) => Command::Found {
            name: found.fleet_name,
            id: FleetId(fixed(&found.fleet_id, "fleet id")?),
            ca_certificate: found.ca_certificate,
            founder: from_member(found.founder)?,
        },
        Wire::IssueToken(token) => Command::IssueToken {
            id: token_id(&token.id)?,
            secret_hash: SecretHash(fixed(&token.secret_hash, "token")?),
            ttl_ms: token.ttl_ms,
            uses: Some(token.uses).filter(|uses| *uses > 0),
        },
        Wire::RevokeToken(token) => Command::RevokeToken(token_id(&token.id)?),
        Wire::RemoveNode(remove) => Command::RemoveNode(node_name(&remove.name)?),
        Wire::SetWish(set) => Command::SetWish {
            node: node_name(&set.name)?,
            wish: decode_wish(set.wish)?,
        },
        Wire::Join(join) => Command::Join {
            token: token_id(&join.token_id)?,
            secret_hash: SecretHash(fixed(&join.secret_hash, "token")?),
            member: from_member(join.member)?,
        },
    })
}

/// Who typed something; on the wire, no token is an empty one.
pub(super) fn typist(address: String, token: String) -> Typist {
    Typist {
        address,
        token: Some(token).filter(|token| !token.is_empty()),
    }
}

pub(super) fn from_changes(wire: Vec<v1::Change>) -> Result<Vec<Change>, WireError> {
    wire.into_iter().map(from_change).collect()
}

#[expect(clippy::too_many_lines, reason = "one arm a change")]
pub(super) fn to_change(change: &Change) -> v1::Change {
    use v1::change::Change as Wire;
    let wire = match change {
        Change::CreatePool(name) => Wire::CreatePool(v1::CreatePool {
            name: name.to_string(),
        }),
        Change::CreateService(name) => Wire::CreateService(v1::CreateService {
            name: name.to_string(),
        }),
        Change::Set { object, key, value } => Wire::Set(v1::Set {
            object: object.clone(),
            key: key.clone(),
            value: value.clone(),
        }),
        Change::SetDefault { key, value } => Wire::SetDefault(v1::SetDefault {
            key: key.clone(),
            value: value.clone(),
        }),
        Change::SetEnabled { service, enabled } => Wire::SetEnabled(v1::SetEnabled {
            service: service.to_string(),
            enabled: *enabled,
        }),
        Change::PoolAdd {
            pool,
            backend,
            weight,
        } => Wire::PoolAdd(v1::PoolAdd {
            pool: pool.to_string(),
            address: backend.to_string(),
            weight: Some(*weight),
        }),
        Change::PoolRemove { pool, backend } => Wire::PoolRemove(v1::PoolRemove {
            pool: pool.to_string(),
            address: backend.to_string(),
        }),
        Change::PoolDrain {
            pool,
            backend,
            draining,
        } => Wire::PoolDrain(v1::PoolDrain {
            pool: pool.to_string(),
            address: backend.to_string(),
            draining: *draining,
        }),
        Change::SetBackends { object, backends } => to_set_backends(object, backends),
        Change::Header { service, rule } => Wire::Header(v1::Header {
            service: service.to_string(),
            rule: Some(to_header_rule(rule)),
        }),
        Change::SetReproxyLimit { target, limit } => Wire::SetReproxyLimit(v1::SetReproxyLimit {
            target: target.clone().unwrap_or_default(),
            limit: *limit,
        }),
        Change::PutScript { name, source } => plugin::to_put_script(name, source),
        Change::RemoveScript(name) => plugin::to_remove_script(name),
        Change::SetLoaded { plugin, loaded } => plugin::to_loaded(plugin, *loaded),
        Change::Direct { service, directive } => plugin::to_direct(service, directive),
        Change::SetMime { extension, kind } => to_mime(extension, kind.as_deref()),
        Change::SetVoters(voters) => Wire::SetVoters(v1::SetVoters { voters: *voters }),
        Change::SetDeadVoterAfter(seconds) => to_dead_voter_after(*seconds),
        Change::Restore(config) => Wire::Restore(v1::Restore {
            config: Some(to_config(config)),
        }),
        Change::SetConfigHistory(versions) => {
            Wire::SetConfigHistory(v1::SetConfigHistory { versions: *versions })
        }
        Change::RemovePool(name) => Wire::RemovePool(v1::RemovePool {
            name: name.to_string(),
        }),
        Change::RemoveService(name) => Wire::RemoveService(v1::RemoveService {
            name: name.to_string(),
        }),
        Change::PoolPlace { pool, backend, after } => Wire::PoolPlace(v1::PoolPlace {
            pool: pool.to_string(),
            backend: Some(encode_backend(backend)),
            after: after.map(|ahead| ahead.to_string()).unwrap_or_default(),
        }),
        Change::PutService { name, service } => Wire::PutService(v1::PutService {
            service: Some(to_service(name.as_str(), service)),
        }),
        Change::Unset(setting) => Wire::Unset(unset::encode(setting)),
        Change::PutCertificate { name, certificate } => {
            Wire::PutCertificate(certificate::encode(name, certificate))
        }
        Change::RemoveCertificate(name) => Wire::RemoveCertificate(name.to_string()),
    };
    v1::Change { change: Some(wire) }
}

fn to_mime(extension: &str, kind: Option<&str>) -> v1::change::Change {
    v1::change::Change::SetMime(v1::SetMime {
        extension: extension.to_owned(),
        r#type: kind.unwrap_or_default().to_owned(),
    })
}

fn to_dead_voter_after(seconds: u32) -> v1::change::Change {
    v1::change::Change::SetDeadVoterAfter(v1::SetDeadVoterAfter { seconds })
}

#[expect(clippy::too_many_lines, reason = "one arm a change")]
fn from_change(wire: v1::Change) -> Result<Change, WireError> {
    use v1::change::Change as Wire;
    Ok(match wire.change.ok_or(WireError::Invalid("change"))? {
        Wire::CreatePool(create) => Change::CreatePool(pool_name(&create.name)?),
        Wire::CreateService(create) => Change::CreateService(service_name(&create.name)?),
        Wire::Set(set) => Change::Set {
            object: set.object,
            key: set.key,
            value: set.value,
        },
        Wire::SetDefault(set) => Change::SetDefault {
            key: set.key,
            value: set.value,
        },
        Wire::SetEnabled(set) => Change::SetEnabled {
            service: service_name(&set.service)?,
            enabled: set.enabled,
        },
        Wire::PoolAdd(add) => Change::PoolAdd {
            pool: pool_name(&add.pool)?,
            backend: backend(&add.address)?,
            weight: add.weight.unwrap_or(1),
        },
        Wire::PoolRemove(remove) => Change::PoolRemove {
            pool: pool_name(&remove.pool)?,
            backend: backend(&remove.address)?,
        },
        Wire::PoolDrain(drain) => Change::PoolDrain {
            pool: pool_name(&drain.pool)?,
            backend: backend(&drain.address)?,
            draining: drain.draining,
        },
        Wire::SetBackends(set) => Change::SetBackends {
            object: set.object,
            backends: weighted(&set.backends)?,
        },
        Wire::Header(header) => Change::Header {
            service: service_name(&header.service)?,
            rule: from_header_rule(header.rule.ok_or(WireError::Invalid("header rule"))?)?,
        },
        Wire::SetReproxyLimit(set) => Change::SetReproxyLimit {
            target: Some(set.target).filter(|target| !target.is_empty()),
            limit: set.limit,
        },
        Wire::PutScript(script) => plugin::from_put_script(script)?,
        Wire::RemoveScript(name) => plugin::from_remove_script(&name)?,
        Wire::SetLoaded(set) => plugin::from_loaded(set),
        Wire::Direct(direct) => plugin::from_direct(direct)?,
        Wire::SetMime(set) => Change::SetMime {
            extension: set.extension,
            kind: Some(set.r#type).filter(|kind| !kind.is_empty()),
        },
        Wire::SetVoters(set) => Change::SetVoters(set.voters),
        Wire::SetDeadVoterAfter(set) => Change::SetDeadVoterAfter(set.seconds),
        Wire::Restore(restore) => {
            let config = restore.config.ok_or(WireError::Invalid("configuration"))?;
            Change::Restore(Arc::new(from_config(config)?))
        }
        Wire::SetConfigHistory(set) => Change::SetConfigHistory(set.versions),
        Wire::RemovePool(remove) => Change::RemovePool(pool_name(&remove.name)?),
        Wire::RemoveService(remove) => Change::RemoveService(service_name(&remove.name)?),
        Wire::PoolPlace(place) => Change::PoolPlace {
            pool: pool_name(&place.pool)?,
            backend: decode_backend(&place.backend.ok_or(WireError::Invalid("backend"))?)?,
            after: match place.after.as_str() {
                "" => None,
                ahead => Some(backend(ahead)?),
            },
        },
        Wire::PutService(put) => {
            let service = put.service.ok_or(WireError::Invalid("service"))?;
            Change::PutService {
                name: service_name(&service.name)?,
                service: Arc::new(from_service(&service)?),
            }
        }
        Wire::Unset(wire) => Change::Unset(unset::decode(wire)?),
        Wire::PutCertificate(wire) => {
            let (name, certificate) = certificate::decode(wire)?;
            Change::PutCertificate { name, certificate }
        }
        Wire::RemoveCertificate(name) => Change::RemoveCertificate(certificate::name(&name)?),
    })
}

fn to_set_backends(object: &str, backends: &[(BackendAddress, u32)]) -> v1::change::Change {
    v1::change::Change::SetBackends(v1::SetBackends {
        object: object.to_owned(),
        backends: backends.iter().map(to_backend).collect(),
    })
}

fn to_backend((address, weight): &(BackendAddress, u32)) -> v1::Backend {
    v1::Backend {
        address: address.to_string(),
        weight: *weight,
        draining: false,
    }
}

pub(super) fn to_header_rule(rule: &HeaderRule) -> v1::HeaderRule {
    match rule {
        HeaderRule::Insert { name, value } => v1::HeaderRule {
            name: name.clone(),
            insert: Some(value.to_string()),
        },
        HeaderRule::Remove { name } => v1::HeaderRule {
            name: name.clone(),
            insert: None,
        },
    }
}

pub(super) fn from_header_rule(wire: v1::HeaderRule) -> Result<HeaderRule, WireError> {
    let name = wire.name;
    Ok(match wire.insert {
        Some(value) => HeaderRule::Insert {
            name,
            value: Template::parse(&value).map_err(|_| WireError::Invalid("header value"))?,
        },
        None => HeaderRule::Remove { name },
    })
}

pub(super) fn fixed<const N: usize>(bytes: &[u8], what: &'static str) -> Result<[u8; N], WireError> {
    bytes.try_into().map_err(|_| WireError::Invalid(what))
}

pub(super) fn node_name(name: &str) -> Result<NodeName, WireError> {
    NodeName::parse(name).map_err(|_| WireError::Invalid("node name"))
}

pub(super) fn token_id(id: &str) -> Result<TokenId, WireError> {
    TokenId::parse(id).map_err(|_| WireError::Invalid("token id"))
}

pub(super) fn pool_name(name: &str) -> Result<PoolName, WireError> {
    PoolName::parse(name).map_err(|_| WireError::Invalid("pool name"))
}

pub(super) fn service_name(name: &str) -> Result<ServiceName, WireError> {
    ServiceName::parse(name).map_err(|_| WireError::Invalid("service name"))
}

pub(super) fn backend(address: &str) -> Result<BackendAddress, WireError> {
    BackendAddress::parse(address).ok_or(WireError::Invalid("backend address"))
}

pub(super) fn weighted(members: &[v1::Backend]) -> Result<Vec<(BackendAddress, u32)>, WireError> {
    members
        .iter()
        .map(|member| Ok((backend(&member.address)?, member.weight)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_command_is_an_error_and_not_skipped() {
        // A message with a field 99 where the command should be, as a later release might write it.
        let mut bytes = v1::Entry {
            request_id: vec![0; 16],
            ..Default::default()
        }
        .encode_to_vec();
        bytes.extend([0x9a, 0x06, 0x01, 0x00]);
        assert_eq!(decode_entry(&bytes), Err(WireError::Invalid("command")));
        let unknown = v1::Change { change: None };
        assert_eq!(from_change(unknown), Err(WireError::Invalid("change")));
    }
}
