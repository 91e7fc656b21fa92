//! Lines of plugins.

use std::sync::Arc;

use fleetbal_proto::v1;

use super::WireError;
use super::change::service_name;
use crate::model::{AccessRule, Change, Directive, LogTarget, Plugin, ScriptName, Template};

impl From<&Directive> for v1::Directive {
    fn from(directive: &Directive) -> Self {
        use v1::directive::Directive as Wire;
        let wire = match directive {
            Directive::Access(rule) => Wire::Access(v1::Access {
                line: rule.to_string(),
            }),
            Directive::Redirect { host, target } => Wire::Redirect(v1::Redirect {
                host: host.clone(),
                target: target.clone(),
            }),
            Directive::Log(target) => Wire::Log(v1::LogTarget {
                target: target.template().to_string(),
                is_command: matches!(target, LogTarget::Command(_)),
            }),
            Directive::Vhost { pattern, target } => Wire::Vhost(route(pattern, target.as_str())),
            Directive::Vpath { pattern, target } => Wire::Vpath(route(pattern, target.as_str())),
        };
        Self {
            directive: Some(wire),
        }
    }
}

impl TryFrom<v1::Directive> for Directive {
    type Error = WireError;

    fn try_from(wire: v1::Directive) -> Result<Self, WireError> {
        use v1::directive::Directive as Wire;
        Ok(
            match wire.directive.ok_or(WireError::Invalid("line of a plugin"))? {
                Wire::Access(access) => Self::Access(access_rule(&access.line)?),
                Wire::Redirect(v1::Redirect { host, target }) => Self::Redirect { host, target },
                Wire::Log(log) => {
                    let template = Template::parse(&log.target);
                    let template = template.map_err(|_| WireError::Invalid("target of a log"))?;
                    Self::Log(if log.is_command {
                        LogTarget::Command(template)
                    } else {
                        LogTarget::File(template)
                    })
                }
                Wire::Vhost(route) => Self::Vhost {
                    target: service_name(&route.target)?,
                    pattern: route.pattern,
                },
                Wire::Vpath(route) => Self::Vpath {
                    target: service_name(&route.target)?,
                    pattern: route.pattern,
                },
            },
        )
    }
}

/// A rule as its line says it: one way of reading it is enough.
fn access_rule(line: &str) -> Result<AccessRule, WireError> {
    let line = line.to_ascii_lowercase();
    let mut words = line.split(' ').skip(1);
    let mut next = || words.next().unwrap_or_default();
    let rule = AccessRule::parse(next(), next(), next());
    rule.map_err(|_| WireError::Invalid("rule of access"))
}

/// A plugin by its name: one in Lua where this release has none.
pub(super) fn from_name(name: &str) -> Result<Plugin, WireError> {
    let script = || ScriptName::parse(name).map(Plugin::Script);
    Plugin::find(name)
        .map_or_else(script, Ok)
        .map_err(|_| WireError::Invalid("plugin"))
}

pub(super) fn to_script(name: &ScriptName, source: &str) -> v1::Script {
    v1::Script {
        name: name.to_string(),
        source: source.to_owned(),
    }
}

pub(super) fn from_script(wire: v1::Script) -> Result<(ScriptName, Arc<str>), WireError> {
    let name = ScriptName::parse(&wire.name).map_err(|_| WireError::Invalid("plugin"))?;
    Ok((name, wire.source.into()))
}

pub(super) fn to_put_script(name: &ScriptName, source: &str) -> v1::change::Change {
    v1::change::Change::PutScript(to_script(name, source))
}

pub(super) fn to_remove_script(name: &ScriptName) -> v1::change::Change {
    v1::change::Change::RemoveScript(name.to_string())
}

pub(super) fn from_put_script(wire: v1::Script) -> Result<Change, WireError> {
    from_script(wire).map(|(name, source)| Change::PutScript { name, source })
}

pub(super) fn from_remove_script(name: &str) -> Result<Change, WireError> {
    let name = ScriptName::parse(name).map_err(|_| WireError::Invalid("plugin"))?;
    Ok(Change::RemoveScript(name))
}

fn route(pattern: &str, target: &str) -> v1::Route {
    v1::Route {
        pattern: pattern.to_owned(),
        target: target.to_owned(),
    }
}

pub(super) fn to_loaded(plugin: &str, loaded: bool) -> v1::change::Change {
    let plugin = plugin.to_owned();
    v1::change::Change::SetLoaded(v1::SetLoaded { plugin, loaded })
}

pub(super) fn from_loaded(wire: v1::SetLoaded) -> Change {
    Change::SetLoaded {
        plugin: wire.plugin,
        loaded: wire.loaded,
    }
}

pub(super) fn to_direct(service: &str, directive: &Directive) -> v1::change::Change {
    v1::change::Change::Direct(v1::Direct {
        service: service.to_owned(),
        directive: Some(directive.into()),
    })
}

pub(super) fn from_direct(wire: v1::Direct) -> Result<Change, WireError> {
    let directive = wire.directive.ok_or(WireError::Invalid("line of a plugin"))?;
    Ok(Change::Direct {
        service: wire.service,
        directive: directive.try_into()?,
    })
}
