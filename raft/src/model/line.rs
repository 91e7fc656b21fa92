//! A change as the line that says it. What nobody can type begins with `- `: the line behind it is taken back.

use std::fmt;

use super::address::BackendAddress;
use super::change::{Change, Setting};
use super::header::HeaderRule;
use super::name::ServiceName;
use super::role::Role;
use super::service::Service;

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreatePool(name) => write!(f, "CREATE POOL {name}"),
            Self::RemovePool(name) => write!(f, "- CREATE POOL {name}"),
            Self::CreateService(name) => write!(f, "CREATE SERVICE {name}"),
            Self::RemoveService(name) => write!(f, "- CREATE SERVICE {name}"),
            Self::Set { object, key, value } => write!(f, "SET {object}.{key} = {value}"),
            Self::SetDefault { key, value } => write!(f, "DEFAULT {key} = {value}"),
            Self::SetEnabled { service, enabled } => {
                write!(f, "{} {service}", if *enabled { "ENABLE" } else { "DISABLE" })
            }
            Self::PoolAdd {
                pool,
                backend,
                weight,
            } => write!(f, "POOL {pool} ADD {}", weighted(*backend, *weight)),
            Self::PoolPlace { pool, backend, after } => {
                write!(f, "POOL {pool} ADD {}", weighted(backend.address, backend.weight))?;
                f.write_str(if backend.draining { " draining" } else { "" })?;
                match after {
                    Some(ahead) => write!(f, " behind {ahead}"),
                    None => f.write_str(" first"),
                }
            }
            Self::PoolRemove { pool, backend } => write!(f, "POOL {pool} REMOVE {backend}"),
            Self::PoolDrain {
                pool,
                backend,
                draining,
            } => {
                let word = if *draining { "DRAIN" } else { "UNDRAIN" };
                write!(f, "POOL {pool} {word} {backend}")
            }
            Self::SetBackends { object, backends } => {
                let all: Vec<String> = backends
                    .iter()
                    .map(|(it, weight)| weighted(*it, *weight))
                    .collect();
                write!(f, "POOL {object} = {}", all.join(", "))
            }
            Self::Header { service, rule } => header(service, rule, f),
            Self::SetReproxyLimit { target, limit } => match target {
                Some(target) => write!(f, "SERVER max_reproxy_connections({target}) = {limit}"),
                None => write!(f, "SERVER max_reproxy_connections = {limit}"),
            },
            Self::SetVoters(voters) => write!(f, "CLUSTER SET voters = {voters}"),
            Self::SetDeadVoterAfter(seconds) => write!(f, "CLUSTER SET dead_voter_after = {seconds}"),
            Self::SetConfigHistory(versions) => write!(f, "SERVER config_history = {versions}"),
            Self::Restore(_) => f.write_str("RESTORE"),
            Self::SetLoaded { plugin, loaded } => load(plugin, *loaded, f),
            Self::PutScript { name, source } => write!(f, "PLUGIN PUSH {name} ({} bytes)", source.len()),
            Self::RemoveScript(name) => write!(f, "PLUGIN REMOVE {name}"),
            Self::SetMime { extension, kind } => mime(extension, kind.as_deref(), f),
            Self::Direct { service, directive } => write!(f, "{directive} # of {service}"),
            Self::PutService { name, service } => write!(f, "SERVICE {name} = {}", whole(service)),
            Self::Unset(setting) => write!(f, "- {setting}"),
            Self::PutCertificate { name, .. } => write!(f, "CERT ADD {name}"),
            Self::RemoveCertificate(name) => write!(f, "CERT REMOVE {name}"),
        }
    }
}

fn header(service: &ServiceName, rule: &HeaderRule, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match rule {
        HeaderRule::Insert { name, value } => write!(f, "HEADER {service} INSERT {name}: {value}"),
        HeaderRule::Remove { name } => write!(f, "HEADER {service} REMOVE {name}"),
    }
}

fn load(plugin: &str, loaded: bool, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{} {plugin}", if loaded { "LOAD" } else { "UNLOAD" })
}

fn mime(extension: &str, kind: Option<&str>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match kind {
        Some(kind) => write!(f, "MIME SET {extension} {kind}"),
        None => write!(f, "MIME REMOVE {extension}"),
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tunable { object, key } => write!(f, "SET {object}.{key}"),
            Self::Default(key) => write!(f, "DEFAULT {key}"),
            Self::Header {
                service,
                inserts,
                name,
            } => {
                let word = if *inserts { "INSERT" } else { "REMOVE" };
                write!(f, "HEADER {service} {word} {name}")
            }
            Self::ReproxyLimit(target) => write!(f, "SERVER max_reproxy_connections({target})"),
            Self::Voters => f.write_str("CLUSTER SET voters"),
            Self::DeadVoterAfter => f.write_str("CLUSTER SET dead_voter_after"),
            Self::ConfigHistory => f.write_str("SERVER config_history"),
        }
    }
}

/// All of a service in one line.
fn whole(service: &Service) -> String {
    let mut words = vec![service.role().map_or("no role", Role::name).to_owned()];
    words.push(if service.enabled { "enabled" } else { "disabled" }.to_owned());
    words.extend(service.explicit().map(|(key, value)| format!("{key} = {value}")));
    words.extend(service.header_rules().iter().map(|rule| match rule {
        HeaderRule::Insert { name, value } => format!("INSERT {name}: {value}"),
        HeaderRule::Remove { name } => format!("REMOVE {name}"),
    }));
    words.extend(service.plugins().iter().map(ToString::to_string));
    let lines = service.specs().flat_map(|(_, spec)| spec.directives());
    words.extend(lines.map(ToString::to_string));
    words.join("; ")
}

fn weighted(backend: BackendAddress, weight: u32) -> String {
    match weight {
        1 => backend.to_string(),
        weight => format!("{backend} weight {weight}"),
    }
}
