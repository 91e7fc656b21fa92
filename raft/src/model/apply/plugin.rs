//! What `LOAD`, `SET plugins` and the plugins' own lines make of the configuration.

use std::sync::Arc;

use crate::model::config::FleetConfig;
use crate::model::name::{ScriptName, ServiceName};
use crate::model::plugin::{Directive, Plugin};
use crate::model::rejection::Rejection;
use crate::model::role::Role;
use crate::model::service::{Service, TunableError};
use crate::model::tunable::Tunable;

/// The longest source of a plugin in Lua, in bytes.
const MAX_SOURCE: usize = 1024 * 1024;

/// Perlbal's plugin that calls functions in Perl.
const PERL_ONLY: &str = "Cgilike";

/// What takes all plugins of a service away.
const NONE: &str = "none";

impl FleetConfig {
    /// `LOAD` and `UNLOAD`. What is unloaded is taken from every service, its lines included; unloading what is not
    /// there is no mistake, as in Perlbal.
    pub(super) fn set_loaded(&mut self, name: &str, loaded: bool) -> Result<(), Rejection> {
        let plugin = self.find_plugin(name);
        if loaded {
            let missing = || {
                if name.eq_ignore_ascii_case(PERL_ONLY) {
                    return Rejection::NoPerl;
                }
                Rejection::NoPlugin(name.to_owned())
            };
            let plugin = plugin.ok_or_else(missing)?;
            self.loaded.insert(plugin);
            return Ok(());
        }
        let Some(plugin) = plugin.filter(|plugin| self.loaded.contains(plugin)) else {
            return Ok(());
        };
        self.check_unused(&plugin)?;
        self.loaded.remove(&plugin);
        for service in self.services.values_mut().filter(|one| one.knows(&plugin)) {
            Arc::make_mut(service).forget(&plugin);
        }
        self.defaults
            .retain(|key, _| Tunable::find(key).is_none_or(|tunable| tunable.plugin != Some(&plugin)));
        Ok(())
    }

    /// Whether no service has a role that goes with a plugin: it could not be without one again.
    fn check_unused(&self, plugin: &Plugin) -> Result<(), Rejection> {
        for (name, service) in &self.services {
            let role = service
                .role()
                .filter(|role| role.plugin().as_ref() == Some(plugin));
            if let Some(role) = role {
                let (service, plugin) = (name.clone(), plugin.clone());
                return Err(Rejection::RoleInUse {
                    service,
                    role,
                    plugin,
                });
            }
        }
        Ok(())
    }

    /// The role of that name, if it is this release's own, or its plugin is loaded.
    pub(super) fn find_role(&self, name: &str) -> Option<Role> {
        let is_there = |plugin: Plugin| self.loaded.contains(&plugin);
        Role::parse(name).filter(|role| role.plugin().is_none_or(is_there))
    }

    /// Whether the plugin is there that brings a tunable along: loaded, and for an option of its own also on the
    /// service. To Perlbal there is no such tunable otherwise.
    pub(super) fn check_brought(&self, service: Option<&ServiceName>, key: &str) -> Result<(), Rejection> {
        let Some(tunable) = Tunable::find(key) else {
            return Ok(());
        };
        let Some(plugin) = tunable.plugin else {
            return Ok(());
        };
        let has_it = || {
            let service = service.and_then(|name| self.services.get(name));
            service.is_some_and(|service| service.plugins().contains(plugin))
        };
        if self.loaded.contains(plugin) && (!tunable.is_option() || has_it()) {
            return Ok(());
        }
        Err(TunableError::Unknown(key.to_owned()).into())
    }

    /// `SET service.plugins = a, b`: these and no others, in this order.
    pub(super) fn set_plugins(&mut self, name: &ServiceName, value: &str) -> Result<(), Rejection> {
        let mut plugins = Vec::new();
        let names = value.split([' ', ',']).filter(|name| !name.is_empty());
        for plugin in names.filter(|_| !value.eq_ignore_ascii_case(NONE)) {
            let known = self
                .find_plugin(plugin)
                .filter(|known| self.loaded.contains(known));
            let known = known.ok_or_else(|| Rejection::NotLoaded {
                plugin: plugin.to_owned(),
                service: name.clone(),
            })?;
            if !plugins.contains(&known) {
                plugins.push(known);
            }
        }
        self.service_mut(name)?.set_plugins(plugins)
    }

    /// `plugin push`: a source, in place of the one that the plugin has. Whether it is a plugin at all was looked at where
    /// it was pushed.
    pub(super) fn put_script(&mut self, name: &ScriptName, source: &Arc<str>) -> Result<(), Rejection> {
        if source.len() > MAX_SOURCE {
            return Err(Rejection::ScriptSize(name.clone()));
        }
        match self.find_plugin(name.as_str()) {
            None => {}
            Some(Plugin::Script(there)) if there == *name => {}
            Some(other) => return Err(Rejection::ScriptName(name.clone(), other)),
        }
        self.scripts.insert(name.clone(), Arc::clone(source));
        Ok(())
    }

    /// `plugin remove`.
    pub(super) fn remove_script(&mut self, name: &ScriptName) -> Result<(), Rejection> {
        if self.loaded.contains(&Plugin::Script(name.clone())) {
            return Err(Rejection::ScriptLoaded(name.clone()));
        }
        let removed = self.scripts.remove(name);
        removed
            .map(|_| ())
            .ok_or_else(|| Rejection::NoScript(name.clone()))
    }

    /// A line of a plugin. Perlbal knows its words once it is loaded.
    pub(super) fn direct(&mut self, service: &str, directive: &Directive) -> Result<(), Rejection> {
        let plugin = directive.plugin();
        if !self.loaded.contains(&plugin) {
            let text = directive.to_string();
            let word = text.split(' ').next().unwrap_or_default();
            return Err(Rejection::NeedsPlugin {
                word: word.to_ascii_lowercase(),
                plugin,
            });
        }
        let known = self.services.get_mut(service);
        let known = known.filter(|service| plugin.fits(service.role()));
        let known = known.ok_or_else(|| Rejection::NotOfRole {
            service: service.to_owned(),
            plugin,
        })?;
        directive.check()?;
        Arc::make_mut(known).direct(directive.clone());
        Ok(())
    }

    pub(in super::super) fn service_mut(&mut self, name: &ServiceName) -> Result<&mut Service, Rejection> {
        let service = self.services.get_mut(name).map(Arc::make_mut);
        service.ok_or_else(|| Rejection::NoService(name.clone()))
    }
}
