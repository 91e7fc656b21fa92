//! `show pool [NAME]`, byte for byte Perlbal's.

use fleetbal_raft::model::FleetConfig;

use super::Figures;

/// Two lines a pool, by name.
pub fn list(config: &FleetConfig) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, pool) in config.pools() {
        let users = config
            .services()
            .filter(|(_, service)| service.pool() == Some(name))
            .count();
        lines.push(format!("{name} nodes {}", pool.backends().len()));
        lines.push(format!("{name} services {users}"));
    }
    lines
}

/// The backends of one pool, oldest first; none where there is no such pool.
pub fn show(config: &FleetConfig, name: &str, figures: &dyn Figures) -> Option<Vec<String>> {
    let (name, pool) = config.pools().find(|(known, _)| known.as_str() == name)?;
    let requests = figures.requests_by_backend(name);
    let line = |backend: &fleetbal_raft::model::Backend| {
        let requests = requests.get(&backend.address).copied().unwrap_or_default();
        format!("{} {requests}", backend.address)
    };
    Some(pool.backends().iter().map(line).collect())
}
