//! What older releases cannot apply. A change counts only where every member can apply it, so a fleet of two releases
//! takes what both know; the others are refused by name.

use super::change::{Change, Command};
use super::config::FleetConfig;
use super::fleet::FleetState;
use super::plugin::Plugin;
use super::service::Service;

/// The feature level of this release: the highest that it can apply.
pub const FEATURE_LEVEL: u32 = 2;

/// The feature level of the first release.
pub const FIRST_LEVEL: u32 = 1;

/// Settings of pools, services and the fleet that came after the first release, and their level.
const LATER_SETTINGS: [(&str, u32); 1] = [("ssl_certificates", CERTIFICATES)];

/// Plugins of this release that came after the first one, and their level.
const LATER_PLUGINS: [(Plugin, u32); 2] = [(Plugin::AtomInject, 2), (Plugin::AtomStream, 2)];

/// Certificates of the fleet.
const CERTIFICATES: u32 = 2;

/// That a member changes its key.
pub(crate) const RENEWAL: u32 = 2;

impl Command {
    /// The lowest feature level that can apply it.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "what the first release has needs no word"
    )]
    pub fn feature_level(&self) -> u32 {
        match self {
            Self::Batch(batch) => {
                let levels = batch.changes.iter().map(Change::feature_level);
                levels.max().unwrap_or(FIRST_LEVEL)
            }
            _ => FIRST_LEVEL,
        }
    }
}

impl Change {
    /// The lowest feature level that can apply it. What comes after the first release says so here: a kind of change by
    /// an arm of its own, a setting in `LATER_SETTINGS`.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "what the first release has needs no word"
    )]
    pub fn feature_level(&self) -> u32 {
        match self {
            Self::Set { key, .. } | Self::SetDefault { key, .. } => level_of_setting(key),
            Self::SetLoaded { plugin, .. } => {
                Plugin::find(plugin).map_or(FIRST_LEVEL, |it| level_of_plugin(&it))
            }
            Self::PutCertificate { .. } | Self::RemoveCertificate(_) => CERTIFICATES,
            Self::PutService { service, .. } => level_of_service(service),
            Self::Restore(config) => config.feature_level(),
            _ => FIRST_LEVEL,
        }
    }
}

fn level_of_service(service: &Service) -> u32 {
    let settings = service.explicit().map(|(key, _)| level_of_setting(key));
    let plugins = service.plugins().iter().map(level_of_plugin);
    settings.chain(plugins).max().unwrap_or(FIRST_LEVEL)
}

impl FleetConfig {
    /// The lowest feature level that can hold it.
    pub fn feature_level(&self) -> u32 {
        let services = self.services().map(|(_, service)| level_of_service(service));
        let defaults = self.defaults().map(|(key, _)| level_of_setting(key));
        let plugins = self.loaded().iter().map(level_of_plugin);
        let certificates = self.certificates().map(|_| CERTIFICATES);
        let all = services.chain(defaults).chain(plugins).chain(certificates);
        all.max().unwrap_or(FIRST_LEVEL)
    }
}

impl FleetState {
    /// The lowest feature level that can hold it, its history included: what is rolled back to may be there alone.
    pub fn feature_level(&self) -> u32 {
        let records = self.history().records();
        let changes = records.flat_map(|record| record.forward.iter().chain(&record.backward));
        let history = changes.map(Change::feature_level).max();
        self.config.feature_level().max(history.unwrap_or(FIRST_LEVEL))
    }
}

fn level_of_plugin(plugin: &Plugin) -> u32 {
    let later = LATER_PLUGINS.iter().find(|(later, _)| later == plugin);
    later.map_or(FIRST_LEVEL, |(_, level)| *level)
}

fn level_of_setting(key: &str) -> u32 {
    let later = LATER_SETTINGS.iter().find(|(later, _)| *later == key);
    later.map_or(FIRST_LEVEL, |(_, level)| *level)
}

#[cfg(test)]
mod tests {
    use super::super::change::Batch;
    use super::*;

    #[test]
    fn a_batch_needs_what_its_changes_need() {
        let set = |key: &str| Change::Set {
            object: "web".into(),
            key: key.into(),
            value: "1".into(),
        };
        let batch = Command::Batch(Batch::of(vec![set("balance_method"), set("no_such_setting")]));
        assert_eq!(batch.feature_level(), FIRST_LEVEL);
        for (key, level) in LATER_SETTINGS {
            assert!(level > FIRST_LEVEL, "{key}");
        }
    }

    #[test]
    fn what_names_a_later_plugin_needs_its_level() {
        let load = |plugin: &str| Change::SetLoaded {
            plugin: plugin.to_owned(),
            loaded: true,
        };
        assert_eq!(load("vhosts").feature_level(), FIRST_LEVEL);
        assert_eq!(load("atominject").feature_level(), 2);
        let config = FleetConfig::default().with_batch(&Batch::of(vec![load("AtomStream")]));
        assert_eq!(Change::Restore(config.unwrap().into()).feature_level(), 2);
    }
}
