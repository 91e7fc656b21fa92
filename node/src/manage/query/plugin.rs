//! `plugins`, and what `reload` says.

use fleetbal_raft::model::{FleetConfig, FleetState, Plugin};
use sha2::{Digest, Sha256};

use super::super::command::ScriptQuery;
use super::super::plan;
use super::cluster::aligned;
use crate::plugin::{self, Hook};
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

/// `plugin list`, `plugin show`, `plugin diff`.
///
/// # Errors
/// When there is no such plugin, or no such version any more.
pub fn scripts(query: &ScriptQuery, snapshot: &Snapshot, state: &FleetState) -> Result<Vec<String>, String> {
    let source = |config: &FleetConfig, name: &str| {
        let known = config.script(name).cloned();
        known.ok_or_else(|| format!("there is no plugin {name}"))
    };
    let lines = |source: &str| source.lines().map(str::to_owned).collect::<Vec<_>>();
    match query {
        ScriptQuery::List => Ok(list_scripts(snapshot)),
        ScriptQuery::Show(name) => source(&snapshot.config, name).map(|source| lines(&source)),
        ScriptQuery::Diff(name, version) => {
            let now = source(&snapshot.config, name)?;
            let then = state.config_at(*version).map_err(|error| error.to_string())?;
            let then = then.script(name).cloned().unwrap_or_default();
            let mut differences = Vec::new();
            plan::compare(&lines(&then), &lines(&now), &mut differences);
            Ok(differences)
        }
    }
}

/// A line for each plugin in Lua, below one that names the columns.
fn list_scripts(snapshot: &Snapshot) -> Vec<String> {
    let head = ["NAME", "BYTES", "HASH", "LOADED", "SERVICES", "FAILED", "STATE"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for (name, source) in snapshot.config.scripts() {
        let plugin = Plugin::Script(name.clone());
        let mut services = Vec::new();
        let (mut failed, mut is_off) = (0, false);
        for (service, view) in snapshot.services() {
            let hook = view.hooks.as_deref().and_then(|hooks| hooks.of(&plugin));
            if let Some(failures) = hook.and_then(Hook::failures) {
                services.push(service.to_string());
                failed += failures.count;
                is_off |= failures.is_off();
            }
        }
        let [a, b, c, d, ..] = <[u8; 32]>::from(Sha256::digest(source.as_bytes()));
        rows.push(vec![
            name.to_string(),
            source.len().to_string(),
            format!("{a:02x}{b:02x}{c:02x}{d:02x}"),
            if snapshot.config.loaded().contains(&plugin) {
                "yes"
            } else {
                "no"
            }
            .to_owned(),
            if services.is_empty() {
                "-".to_owned()
            } else {
                services.join(",")
            },
            failed.to_string(),
            if is_off { "off" } else { "ok" }.to_owned(),
        ]);
    }
    aligned(&rows, &[])
}

/// Why a plugin is not loaded again: none that comes with a release changes while it runs.
pub fn no_reload(config: &FleetConfig, name: &str) -> String {
    match config
        .find_plugin(name)
        .filter(|plugin| config.loaded().contains(plugin))
    {
        Some(plugin) => format!("Plugin Perlbal::Plugin::{plugin} doesn't support reloading"),
        None => format!("Unknown/unloaded plugin '{name}'"),
    }
}
