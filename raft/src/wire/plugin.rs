//! Lines of plugins.

use fleetbal_proto::v1;

use super::WireError;
use super::change::service_name;
use crate::model::{AccessRule, Change, Directive, LogTarget, Template};

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
