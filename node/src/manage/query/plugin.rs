//! `plugins`, and what `reload` says.

use fleetbal_raft::model::{FleetConfig, Plugin};

use crate::plugin;
use crate::snapshot::Snapshot;

/// `plugins`: a line for each service that has some, in the order in which they see a request.
pub fn list(config: &FleetConfig) -> Vec<String> {
    let services = config
        .services()
        .filter(|(_, service)| !service.plugins().is_empty());
    services
        .map(|(name, service)| {
            let plugins: Vec<_> = service.plugins().iter().map(Plugin::name).collect();
            format!("{name} {}", plugins.join(" "))
        })
        .collect()
}

/// What a word is answered that a plugin brings along which is loaded; none: none does.
pub fn report(word: &str, snapshot: &Snapshot) -> Option<Vec<String>> {
    let services = snapshot
        .services()
        .filter_map(|(name, view)| Some((name, view.hooks.as_deref()?)));
    plugin::report(word, snapshot.config.loaded(), services)
}

/// Why a plugin is not loaded again: none that comes with a release changes while it runs.
pub fn no_reload(config: &FleetConfig, name: &str) -> String {
    match Plugin::find(name).filter(|plugin| config.loaded().contains(plugin)) {
        Some(plugin) => format!("Plugin Perlbal::Plugin::{plugin} doesn't support reloading"),
        None => format!("Unknown/unloaded plugin '{name}'"),
    }
}
