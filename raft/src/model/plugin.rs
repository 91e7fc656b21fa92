//! Plugins: which there are, which a service has, and the lines that tune them. What they do to requests is not here.

mod log;

use std::collections::BTreeMap;
use std::fmt;

use super::name::ServiceName;
use super::role::Role;
pub use log::LogTarget;

/// A plugin that comes with this release.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Plugin {
    /// A line for each request, in a file or to a program.
    Log,
    /// A selector's choice by host.
    Vhosts,
    /// A selector's choice by path.
    Vpaths,
}

impl Plugin {
    /// All of them, in the order of their names.
    pub const ALL: [Self; 3] = [Self::Log, Self::Vhosts, Self::Vpaths];

    /// Its name, as Perlbal spells it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Log => "Log",
            Self::Vhosts => "Vhosts",
            Self::Vpaths => "Vpaths",
        }
    }

    /// The plugin of that name, in any case.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|plugin| plugin.name().eq_ignore_ascii_case(name))
    }

    /// The roles whose services can have it, that which Perlbal names first; none: any.
    const fn roles(&self) -> &'static [Role] {
        match self {
            Self::Log => &[Role::WebServer, Role::ReverseProxy, Role::Selector],
            Self::Vhosts | Self::Vpaths => &[Role::Selector],
        }
    }

    /// The role that Perlbal names where a service of another one is to have it; none: any can.
    pub fn role(&self) -> Option<Role> {
        self.roles().first().copied()
    }

    /// Whether a service of that role can have it.
    pub fn fits(&self, role: Option<Role>) -> bool {
        let roles = self.roles();
        roles.is_empty() || role.is_some_and(|role| roles.contains(&role))
    }

    /// Whether `SET plugins` forgets its lines, as Perlbal does with maps: nothing else takes them back.
    pub(super) const fn begins_anew(&self) -> bool {
        match self {
            Self::Vhosts | Self::Vpaths => true,
            Self::Log => false,
        }
    }

    /// How Perlbal spells it where it refuses a role.
    pub(super) const fn spelled(&self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Vhosts => "vhost",
            Self::Vpaths => "vpath",
        }
    }
}

impl fmt::Display for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A line that tunes a plugin of a service. It prints as it can be typed behind `CREATE SERVICE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Directive {
    /// `LOGNAME = FILE`, `LOGNAME = | COMMAND`.
    Log(LogTarget),
    /// `VHOST pattern = service`.
    Vhost {
        /// A host, `*.host`, `*`, or `host;using:host`.
        pattern: String,
        /// Who answers; it need not exist.
        target: ServiceName,
    },
    /// `VPATH regex = service`.
    Vpath {
        /// What the URI must match.
        pattern: String,
        /// Who answers; it need not exist.
        target: ServiceName,
    },
}

impl Directive {
    /// Whose it is.
    pub const fn plugin(&self) -> Plugin {
        match self {
            Self::Log(_) => Plugin::Log,
            Self::Vhost { .. } => Plugin::Vhosts,
            Self::Vpath { .. } => Plugin::Vpaths,
        }
    }

    /// What a later line with the same takes the place of; none: each stands for itself, in order.
    fn key(&self) -> Option<&str> {
        match self {
            // A service writes one log.
            Self::Log(_) => Some(""),
            Self::Vhost { pattern, .. } => Some(pattern),
            Self::Vpath { .. } => None,
        }
    }

    /// Whether it can be carried out.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn check(&self) -> Result<(), InvalidDirective> {
        match self {
            Self::Log(target) => {
                let is_plain = target.is_plain();
                is_plain.then_some(()).ok_or(InvalidDirective::LogTarget)
            }
            Self::Vhost { pattern, .. } => {
                let plain = |c: char| c.is_ascii_alphanumeric() || "_-.*;:".contains(c);
                let is_host = !pattern.is_empty() && pattern.chars().all(plain);
                is_host
                    .then_some(())
                    .ok_or_else(|| InvalidDirective::Host(pattern.clone()))
            }
            Self::Vpath { pattern, .. } => regex::bytes::Regex::new(pattern)
                .map(|_| ())
                .map_err(|_| InvalidDirective::Pattern),
        }
    }
}

impl fmt::Display for Directive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log(target) => write!(f, "LOGNAME = {target}"),
            Self::Vhost { pattern, target } => write!(f, "VHOST {pattern} = {target}"),
            Self::Vpath { pattern, target } => write!(f, "VPATH {pattern} = {target}"),
        }
    }
}

/// A line that cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDirective {
    /// Neither a file nor a command, or one that no line can hold.
    #[error("usage: LOGNAME [<service>] = <file>")]
    LogTarget,
    /// Not what a host is compared with.
    #[error("invalid host pattern: '{0}'")]
    Host(String),
    /// Not a regular expression.
    #[error("Invalid regular expression")]
    Pattern,
}

/// What a service says about one plugin.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PluginSpec {
    keyed: BTreeMap<String, Directive>,
    ordered: Vec<Directive>,
}

impl PluginSpec {
    /// Its lines: those that are told apart by a key in the order of these, then the others as they were typed.
    pub fn directives(&self) -> impl Iterator<Item = &Directive> {
        self.keyed.values().chain(&self.ordered)
    }

    pub(super) fn put(&mut self, directive: Directive) {
        match directive.key() {
            Some(key) => {
                self.keyed.insert(key.to_owned(), directive);
            }
            None => self.ordered.push(directive),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_found_in_any_case() {
        assert!(Plugin::ALL.is_sorted_by_key(Plugin::name));
        for plugin in Plugin::ALL {
            assert_eq!(Plugin::find(&plugin.name().to_ascii_lowercase()), Some(plugin));
        }
        assert_eq!(Plugin::find("nosuch"), None);
    }

    #[test]
    fn the_later_line_of_a_key_holds_and_others_keep_their_order() {
        let target = |name: &str| ServiceName::parse(name).unwrap();
        let host = |pattern: &str, name: &str| Directive::Vhost {
            pattern: pattern.to_owned(),
            target: target(name),
        };
        let path = |pattern: &str, name: &str| Directive::Vpath {
            pattern: pattern.to_owned(),
            target: target(name),
        };
        let mut spec = PluginSpec::default();
        for line in [
            host("b", "x"),
            path("^/2", "x"),
            host("a", "x"),
            path("^/1", "x"),
            host("b", "y"),
        ] {
            spec.put(line);
        }
        let lines: Vec<_> = spec.directives().map(Directive::to_string).collect();
        assert_eq!(
            lines,
            ["VHOST a = x", "VHOST b = y", "VPATH ^/2 = x", "VPATH ^/1 = x"]
        );
    }
}
