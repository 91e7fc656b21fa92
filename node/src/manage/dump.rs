//! The configuration as lines that make it again when they are fed to an empty one.
//!
//! Perlbal's layout. `DEFAULT` lines come last: they would otherwise colour the services that follow, which print
//! all that differs from the built-in defaults. A disabled service prints a comment, because `DISABLE` of what is
//! not enabled is an error.

use fleetbal_raft::model::{FleetConfig, HeaderRule, Pool, Role, Service, Value};

/// All of the configuration.
pub fn dump(config: &FleetConfig) -> Vec<String> {
    let mut lines = dump_loaded(config);
    if !lines.is_empty() {
        lines.push(String::new());
    }
    for (name, pool) in config.pools() {
        dump_pool(name.as_str(), pool, &mut lines);
        lines.push(String::new());
    }
    for (name, service) in config.services() {
        dump_service(name.as_str(), service, &mut lines);
        lines.push(String::new());
    }
    lines.extend(dump_settings(config));
    lines
}

/// The plugins that services can have.
pub(super) fn dump_loaded(config: &FleetConfig) -> Vec<String> {
    let loaded = config.loaded().iter();
    loaded.map(|plugin| format!("LOAD {plugin}")).collect()
}

/// What belongs to no pool, and to no service alone.
pub(super) fn dump_settings(config: &FleetConfig) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, service) in config.services() {
        for (key, value) in service.explicit().filter(|(_, value)| names_a_service(value)) {
            lines.push(format!("SET {name}.{key} = {value}"));
        }
    }
    for (key, value) in config.defaults() {
        lines.push(format!("DEFAULT {key} = {value}"));
    }
    for (extension, kind) in config.mime().changed() {
        lines.push(match kind {
            Some(kind) => format!("MIME SET {extension} {kind}"),
            None => format!("MIME REMOVE {extension}"),
        });
    }
    let limits = config.reproxy_limits();
    if limits.each > 0 {
        lines.push(format!("SERVER max_reproxy_connections = {}", limits.each));
    }
    for (target, limit) in limits.by_target() {
        lines.push(format!("SERVER max_reproxy_connections({target}) = {limit}"));
    }
    if let Some(versions) = config.config_history_set() {
        lines.push(format!("SERVER config_history = {versions}"));
    }
    if let Some(voters) = config.voters_set() {
        lines.push(format!("CLUSTER SET voters = {voters}"));
    }
    if let Some(seconds) = config.dead_voter_after_set() {
        lines.push(format!("CLUSTER SET dead_voter_after = {seconds}"));
    }
    lines
}

pub(super) fn dump_pool(name: &str, pool: &Pool, lines: &mut Vec<String>) {
    lines.push(format!("CREATE POOL {name}"));
    for (key, value) in pool.explicit() {
        lines.push(format!("  SET {key} = {value}"));
    }
    for backend in pool.backends() {
        let weight = match backend.weight {
            1 => String::new(),
            weight => format!(" weight {weight}"),
        };
        lines.push(format!("  POOL ADD {name} {}{weight}", backend.address));
        if backend.draining {
            lines.push(format!("  POOL DRAIN {name} {}", backend.address));
        }
    }
}

/// Printed once all services are there: a service may come before the one that it names.
fn names_a_service(value: &Value) -> bool {
    matches!(value, Value::Service(_))
}

/// Printed first, in this order, as Perlbal does.
const FIRST: [&str; 2] = ["listen", "pool"];

pub(super) fn dump_service(name: &str, service: &Service, lines: &mut Vec<String>) {
    lines.push(format!("CREATE SERVICE {name}"));
    if let Some(role) = service.role() {
        lines.push(format!("  SET role = {role}"));
    }
    let place = |key: &str| {
        FIRST
            .iter()
            .position(|first| *first == key)
            .unwrap_or(FIRST.len())
    };
    let options = service.explicit().filter(|(key, _)| key.contains('.'));
    let mut set: Vec<_> = service
        .explicit()
        .filter(|(key, value)| !names_a_service(value) && !key.contains('.'))
        .map(|(key, value)| (key, value.to_string()))
        .collect();
    // Perlbal prints it whatever it is.
    let index = service
        .value("index_files")
        .filter(|_| service.role() == Some(Role::WebServer));
    if let (Some(index), Err(at)) = (index, set.binary_search_by_key(&"index_files", |(key, _)| *key)) {
        set.insert(at, ("index_files", index.to_string()));
    }
    set.sort_by_key(|(key, _)| place(key));
    for (key, value) in set {
        lines.push(format!("  SET {key} = {value}"));
    }
    for rule in service.header_rules() {
        lines.push(match rule {
            HeaderRule::Insert { name: header, value } => format!("  HEADER {name} INSERT {header}: {value}"),
            HeaderRule::Remove { name: header } => format!("  HEADER {name} REMOVE {header}"),
        });
    }
    let plugins: Vec<_> = service
        .plugins()
        .iter()
        .map(fleetbal_raft::model::Plugin::name)
        .collect();
    if !plugins.is_empty() {
        lines.push(format!("  SET plugins = {}", plugins.join(", ")));
    }
    // Without the service's name, the plugin's would be taken for it.
    lines.extend(options.map(|(key, value)| format!("  SET {name}.{key} = {value}")));
    let directives = service.specs().flat_map(|(_, spec)| spec.directives());
    lines.extend(directives.map(|directive| format!("  {directive}")));
    lines.push(if service.enabled {
        format!("ENABLE {name}")
    } else {
        format!("# DISABLE {name}")
    });
}

#[cfg(test)]
#[path = "dump_tests.rs"]
mod tests;
