//! Services: a role, and what tunes it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::header::HeaderRule;
use super::name::PoolName;
use super::plugin::{Directive, Plugin, PluginSpec};
use super::rejection::Rejection;
use super::role::Role;
use super::template::{Template, Variable};
use super::tunable::{CLEARING, TUNABLES, Tunable};
use super::value::{Value, listen_address};

/// Why a tunable was refused; the texts are Perlbal's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TunableError {
    /// There is no such tunable.
    #[error("Unknown service parameter '{0}'")]
    Unknown(String),
    /// It belongs to another role.
    #[error("The '{key}' option can only be set on a '{role}' service")]
    OtherRole {
        /// The tunable.
        key: &'static str,
        /// The role that takes it.
        role: Role,
    },
    /// Its value was refused.
    #[error("{0}")]
    Value(String),
}

/// A service: what listens, and how it behaves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Service {
    pub(super) role: Option<Role>,
    /// Whether it serves.
    pub enabled: bool,
    /// What differs from the defaults.
    pub(super) set: BTreeMap<&'static str, Value>,
    pub(super) header_rules: Vec<HeaderRule>,
    pub(super) plugins: Vec<Plugin>,
    pub(super) specs: BTreeMap<Plugin, Arc<PluginSpec>>,
}

impl Service {
    /// Its role, once set.
    pub fn role(&self) -> Option<Role> {
        self.role
    }

    /// Sets the role. Every tunable that has a default goes back to it, as in Perlbal.
    pub(crate) fn set_role(&mut self, role: Role) {
        self.role = Some(role);
        self.set.retain(|key, _| {
            Tunable::find(key).is_some_and(|t| t.default.is_none() && t.applies_to(Some(role)))
        });
        self.plugins.retain(|plugin| plugin.fits(Some(role)));
        self.specs.retain(|plugin, _| plugin.fits(Some(role)));
        self.drop_options();
    }

    /// Checks a value and sets it; one that is the default is as good as none. `role` and `pool` need the whole
    /// configuration and are not set here.
    pub(crate) fn set_tunable(&mut self, key: &str, text: &str) -> Result<(), TunableError> {
        let (tunable, value) = self.check_tunable(key, text)?;
        // Where there is a default, that nothing is set is a value of its own.
        let clears = tunable.kind.can_be_cleared() && CLEARING.contains(&text) && tunable.default.is_none();
        if clears || is_default(tunable, &value) {
            self.set.remove(tunable.key);
        } else {
            self.set.insert(tunable.key, value);
        }
        Ok(())
    }

    fn check_tunable(&self, key: &str, text: &str) -> Result<(&'static Tunable, Value), TunableError> {
        let tunable = Tunable::find(key).ok_or_else(|| TunableError::Unknown(key.to_owned()))?;
        if let super::tunable::Scope::Only(role) = tunable.scope
            && self.role != Some(role)
        {
            return Err(TunableError::OtherRole {
                key: tunable.key,
                role,
            });
        }
        let value = Value::parse(tunable.kind, key, text).map_err(TunableError::Value)?;
        Ok((tunable, value))
    }

    /// Takes a tunable back to its default.
    pub(super) fn unset(&mut self, key: &str) {
        self.set.remove(key);
    }

    /// What was set and differs from the default, sorted by key.
    pub fn explicit(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.set.iter().map(|(key, value)| (*key, value))
    }

    /// The value of a tunable: set, or its default.
    pub fn value(&self, key: &str) -> Option<Value> {
        if let Some(value) = self.set.get(key) {
            return Some(value.clone());
        }
        let tunable = TUNABLES.iter().find(|tunable| tunable.key == key)?;
        Value::parse(tunable.kind, key, tunable.default?).ok()
    }

    /// The truth of a boolean tunable.
    pub fn flag(&self, key: &str) -> bool {
        self.value(key).is_some_and(|value| value.as_bool())
    }

    /// The number of an integer or size tunable.
    pub fn number(&self, key: &str) -> u64 {
        self.value(key).map_or(0, |value| value.as_u64())
    }

    /// What is removed from the requests that it forwards, and set in them, in the order in which it was typed.
    pub fn header_rules(&self) -> &[HeaderRule] {
        &self.header_rules
    }

    /// Checks a rule and takes it up.
    pub(crate) fn put_header_rule(&mut self, rule: HeaderRule) -> Result<(), Rejection> {
        rule.put(&mut self.header_rules)
    }

    /// Its plugins, in the order in which they see a request.
    pub fn plugins(&self) -> &[Plugin] {
        &self.plugins
    }

    /// What was said about its plugins, and about those that it had.
    pub fn specs(&self) -> impl Iterator<Item = (&Plugin, &PluginSpec)> {
        self.specs.iter().map(|(plugin, spec)| (plugin, &**spec))
    }

    /// What was said about one plugin.
    pub fn spec(&self, plugin: &Plugin) -> Option<&PluginSpec> {
        self.specs.get(plugin).map(|spec| &**spec)
    }

    /// Gives it these plugins and no others.
    pub(crate) fn set_plugins(&mut self, plugins: Vec<Plugin>) -> Result<(), Rejection> {
        let unfit = plugins.iter().find(|plugin| !plugin.fits(self.role));
        if let Some((plugin, role)) = unfit.and_then(|plugin| Some((plugin.clone(), plugin.role()?))) {
            return Err(Rejection::PluginRole { plugin, role });
        }
        self.specs
            .retain(|plugin, _| !(plugin.begins_anew() && plugins.contains(plugin)));
        self.plugins = plugins;
        self.drop_options();
        Ok(())
    }

    /// Takes up a line of a plugin that was checked.
    pub(crate) fn direct(&mut self, directive: Directive) {
        let plugin = directive.plugin();
        let spec = self.specs.entry(plugin.clone()).or_default();
        Arc::make_mut(spec).put(directive);
        if spec.is_empty() {
            self.specs.remove(&plugin);
        }
    }

    /// Whether a plugin is its own, or was told something.
    pub(crate) fn knows(&self, plugin: &Plugin) -> bool {
        let is_of_it =
            |key: &&'static str| Tunable::find(key).is_some_and(|tunable| tunable.plugin == Some(plugin));
        self.plugins.contains(plugin) || self.specs.contains_key(plugin) || self.set.keys().any(is_of_it)
    }

    /// Takes a plugin away, and what was said about it.
    pub(crate) fn forget(&mut self, plugin: &Plugin) {
        self.plugins.retain(|one| one != plugin);
        self.specs.remove(plugin);
        self.set
            .retain(|key, _| Tunable::find(key).is_none_or(|tunable| tunable.plugin != Some(plugin)));
    }

    /// Forgets the settings of plugins that it does not have: nobody could set them again.
    fn drop_options(&mut self) {
        let plugins = &self.plugins;
        self.set.retain(|key, _| {
            let tunable = Tunable::find(key).filter(|tunable| tunable.is_option());
            let plugin = tunable.and_then(|tunable| tunable.plugin);
            plugin.is_none_or(|plugin| plugins.contains(plugin))
        });
    }

    /// Forgets the rule that does this to that header.
    pub(super) fn drop_header_rule(&mut self, inserts: bool, name: &str) {
        self.header_rules.retain(|rule| {
            let same_kind = matches!(rule, HeaderRule::Insert { .. }) == inserts;
            !(same_kind && rule.name().eq_ignore_ascii_case(name))
        });
    }

    /// The pool that it balances over.
    pub fn pool(&self) -> Option<&PoolName> {
        match self.set.get("pool") {
            Some(Value::Pool(pool)) => Some(pool),
            _ => None,
        }
    }

    /// Where it listens, with the variables still in it.
    pub fn listen(&self) -> Option<&Template> {
        match self.set.get("listen") {
            Some(Value::Listen(template)) => Some(template),
            _ => None,
        }
    }

    /// The file of the secrets that its port takes, on a node whose variables `fill` knows; none where none was set.
    ///
    /// # Errors
    /// What `fill` says.
    pub fn token_file(
        &self,
        fill: impl FnMut(&Variable) -> Result<String, String>,
    ) -> Result<Option<PathBuf>, String> {
        let Some(Value::Text(template)) = self.set.get("token_file") else {
            return Ok(None);
        };
        template.expand(fill).map(|path| Some(PathBuf::from(path)))
    }

    /// Where it listens on a node whose variables `fill` knows; none where no address was set.
    ///
    /// # Errors
    /// What `fill` says, or that the filled-in text is no address.
    pub fn listen_on(
        &self,
        fill: impl FnMut(&Variable) -> Result<String, String>,
    ) -> Result<Option<SocketAddr>, String> {
        let Some(template) = self.listen() else {
            return Ok(None);
        };
        let text = template.expand(fill)?;
        listen_address(&text)
            .map(Some)
            .ok_or_else(|| format!("'{text}' is not ip:port or port"))
    }
}

fn is_default(tunable: &Tunable, value: &Value) -> bool {
    let default = tunable
        .default
        .map(|text| Value::parse(tunable.kind, tunable.key, text));
    matches!(default, Some(Ok(default)) if default.to_string() == value.to_string())
}
