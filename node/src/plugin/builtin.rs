//! The plugins that come with this release.

mod access_control;
mod atom_inject;
mod atom_stream;
mod auto_remove_leading_dir;
mod flv_streaming;
mod highpri;
mod lazy_cdn;
mod max_content_length;
mod not_modified;
mod options;
mod palimg;
mod queues;
mod redirect;
mod stats;
#[cfg(test)]
mod tests;
pub mod throttle;
mod xff_extras;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use fleetbal_raft::model::{FleetConfig, Plugin, PluginSpec, Service, ServiceName, Variable};

use super::feed::Feed;
use super::hook::{Hook, Hooks};
use super::lua;

/// What a plugin of a service is made from.
pub struct Setup<'a> {
    /// The service's name.
    pub name: &'a ServiceName,
    /// The service.
    pub service: &'a Service,
    /// What was said about the plugin there.
    pub spec: Option<&'a PluginSpec>,
    /// What it was in the version before, if the service had it: what has to outlive a change is taken from there. It is
    /// of the plugin's own type ([`dyn Any`](std::any::Any)).
    pub before: Option<&'a dyn Hook>,
    /// What the node's streams are fed by.
    pub feed: &'a Arc<Feed>,
    /// What this node fills in for `${…}`.
    pub fill: &'a dyn Fn(&Variable) -> Result<String, String>,
}

impl fmt::Debug for Setup<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup")
            .field("name", self.name)
            .field("spec", &self.spec)
            .field("before", &self.before)
            .finish_non_exhaustive()
    }
}

/// A plugin on a service that has it.
#[derive(Debug, Clone, Copy)]
pub struct Registered<'a> {
    /// The service.
    pub service: &'a ServiceName,
    /// What it does there.
    pub hook: &'a dyn Hook,
}

/// What a management word that a plugin brings along is answered.
pub type Report = fn(&[Registered<'_>]) -> Vec<String>;

/// Makes what a plugin does to the requests of a service.
pub type Make = fn(&Setup<'_>) -> Arc<dyn Hook>;

/// A plugin that comes with this release.
#[derive(Debug)]
pub struct BuiltIn {
    /// Which one.
    pub plugin: Plugin,
    /// What it does to the requests of a service; none: nothing by hooks.
    pub make: Option<Make>,
    /// The management words that it brings along and that only read, in lower case; from all services that have it, by
    /// name.
    pub reports: &'static [(&'static str, Report)],
}

/// All of them.
pub const BUILT_IN: &[BuiltIn] = &[
    BuiltIn {
        plugin: Plugin::AccessControl,
        make: Some(access_control::make),
        reports: &[],
    },
    BuiltIn {
        plugin: Plugin::AtomInject,
        make: Some(atom_inject::make),
        reports: &[],
    },
    BuiltIn {
        plugin: Plugin::AtomStream,
        make: Some(atom_stream::make),
        reports: &[],
    },
    BuiltIn {
        plugin: Plugin::AutoRemoveLeadingDir,
        make: Some(auto_remove_leading_dir::make),
        reports: &[],
    },
    // It brings a role along.
    BuiltIn {
        plugin: Plugin::EchoService,
        make: None,
        reports: &[],
    },
    BuiltIn {
        plugin: Plugin::FlvStreaming,
        make: Some(flv_streaming::make),
        reports: &[],
    },
    BuiltIn {
        plugin: Plugin::Highpri,
        make: Some(highpri::make),
        reports: &[("patterns", highpri::patterns)],
    },
    // It brings a command along; see `manage`.
    BuiltIn {
        plugin: Plugin::Include,
        make: None,
        reports: &[],
    },
    BuiltIn {
        plugin: Plugin::LazyCDN,
        make: Some(lazy_cdn::make),
        reports: &[],
    },
    // It writes in a way of its own; see `access_log`.
    BuiltIn {
        plugin: Plugin::Log,
        make: None,
        reports: &[],
    },
    BuiltIn {
        plugin: Plugin::MaxContentLength,
        make: Some(max_content_length::make),
        reports: &[],
    },
    BuiltIn {
        plugin: Plugin::NotModified,
        make: Some(not_modified::make),
        reports: &[],
    },
    BuiltIn {
        plugin: Plugin::Palimg,
        make: Some(palimg::make),
        reports: &[],
    },
    BuiltIn {
        plugin: Plugin::Queues,
        make: Some(queues::make),
        reports: &[],
    },
    BuiltIn {
        plugin: Plugin::Redirect,
        make: Some(redirect::make),
        reports: &[],
    },
    BuiltIn {
        plugin: Plugin::Stats,
        make: Some(stats::make),
        reports: &[("recent", stats::recent), ("stats", stats::stats)],
    },
    BuiltIn {
        plugin: Plugin::Throttle,
        make: Some(throttle::make),
        reports: &[],
    },
    // These choose services, which a selector asks for in a way of its own; see `Routes`.
    BuiltIn {
        plugin: Plugin::Vhosts,
        make: None,
        reports: &[],
    },
    BuiltIn {
        plugin: Plugin::Vpaths,
        make: None,
        reports: &[],
    },
    BuiltIn {
        plugin: Plugin::XFFExtras,
        make: Some(xff_extras::make),
        reports: &[],
    },
];

/// The hooks of a service, in their order.
pub(crate) fn hooks(
    name: &ServiceName,
    service: &Service,
    config: &FleetConfig,
    before: Option<&Hooks>,
    feed: &Arc<Feed>,
    fill: &dyn Fn(&Variable) -> Result<String, String>,
) -> Option<Arc<Hooks>> {
    let known = before.into_iter().flat_map(Hooks::all);
    for (_, hook) in known.filter(|(plugin, _)| !service.plugins().contains(plugin)) {
        hook.retire();
    }
    let made = service.plugins().iter().filter_map(|plugin| {
        let setup = Setup {
            name,
            service,
            spec: service.spec(plugin),
            before: before.and_then(|hooks| hooks.of(plugin)),
            feed,
            fill,
        };
        let hook = if let Plugin::Script(script) = plugin {
            lua::make(script, config.script(script.as_str())?, &setup)
        } else {
            let built_in = BUILT_IN.iter().find(|one| one.plugin == *plugin)?;
            built_in.make?(&setup)
        };
        Some((plugin.clone(), hook))
    });
    Hooks::new(service.role(), made)
}

/// Whether a management word is one that a plugin brings along.
pub fn has_report(word: &str) -> bool {
    let mut words = BUILT_IN.iter().flat_map(|built_in| built_in.reports);
    words.any(|(known, _)| *known == word)
}

/// What a management word is answered that a plugin brings along which is `loaded`; none: none does. `services` are all
/// that have plugins, by name.
pub fn report<'a>(
    word: &str,
    loaded: &BTreeSet<Plugin>,
    services: impl Iterator<Item = (&'a ServiceName, &'a Hooks)>,
) -> Option<Vec<String>> {
    let known = BUILT_IN
        .iter()
        .filter(|built_in| loaded.contains(&built_in.plugin));
    let (plugin, report) = known.into_iter().find_map(|built_in| {
        let known = built_in.reports.iter().find(|(known, _)| *known == word);
        known.map(|(_, report)| (&built_in.plugin, report))
    })?;
    let registered: Vec<_> = services
        .filter_map(|(service, hooks)| hooks.of(plugin).map(|hook| Registered { service, hook }))
        .collect();
    Some(report(&registered))
}
