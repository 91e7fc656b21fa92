//! `plugins`, and what `reload` says.

use fleetbal_raft::model::{FleetConfig, Plugin};

/// `plugins`: a line for each service that has some, in the order in which they see a request.
pub fn list(config: &FleetConfig) -> Vec<String> {
    let services = config
        .services()
        .filter(|(_, service)| !service.plugins().is_empty());
    services
        .map(|(name, service)| {
            let plugins: Vec<_> = service.plugins().iter().map(|plugin| plugin.name()).collect();
            format!("{name} {}", plugins.join(" "))
        })
        .collect()
}

/// Why a plugin is not loaded again: none that comes with a release changes while it runs.
pub fn no_reload(config: &FleetConfig, name: &str) -> String {
    match Plugin::find(name).filter(|plugin| config.loaded().contains(plugin)) {
        Some(plugin) => format!("Plugin Perlbal::Plugin::{plugin} doesn't support reloading"),
        None => format!("Unknown/unloaded plugin '{name}'"),
    }
}
