//! Plugins: which there are, which a service has, and the lines that tune them. What they do to requests is not here.

mod access;
mod log;

use std::collections::BTreeMap;
use std::fmt;

use super::name::{ScriptName, ServiceName};
use super::role::Role;
pub use access::{Access, AccessRule, Clients};
pub use log::LogTarget;

/// A plugin: one that comes with this release, or one in Lua that was pushed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Plugin {
    /// Who may ask, by address.
    AccessControl,
    /// What is put goes into the node's feed.
    AtomInject,
    /// Streams of what is there.
    AtomStream,
    /// The docroot's own name goes from paths.
    AutoRemoveLeadingDir,
    /// Lines that come back: the role `echo`.
    EchoService,
    /// Videos from the middle.
    FlvStreaming,
    /// High priority by path or host.
    Highpri,
    /// Config files that name others.
    Include,
    /// What is not there yet is elsewhere.
    LazyCDN,
    /// A line for each request, in a file or to a program.
    Log,
    /// Requests that announce too much are refused.
    MaxContentLength,
    /// What clients have of some hosts is good enough.
    NotModified,
    /// Pictures in other colours.
    Palimg,
    /// Backends are told how many requests wait.
    Queues,
    /// Hosts that are elsewhere.
    Redirect,
    /// What a service did, in figures.
    Stats,
    /// Clients that ask too often wait.
    Throttle,
    /// A selector's choice by host.
    Vhosts,
    /// A selector's choice by path.
    Vpaths,
    /// Backends are told of port and protocol.
    XFFExtras,
    /// In Lua.
    Script(ScriptName),
}

impl Plugin {
    /// Those that come with this release, in the order of their names.
    pub const ALL: [Self; 20] = [
        Self::AccessControl,
        Self::AtomInject,
        Self::AtomStream,
        Self::AutoRemoveLeadingDir,
        Self::EchoService,
        Self::FlvStreaming,
        Self::Highpri,
        Self::Include,
        Self::LazyCDN,
        Self::Log,
        Self::MaxContentLength,
        Self::NotModified,
        Self::Palimg,
        Self::Queues,
        Self::Redirect,
        Self::Stats,
        Self::Throttle,
        Self::Vhosts,
        Self::Vpaths,
        Self::XFFExtras,
    ];

    /// Its name, as Perlbal spells it.
    pub fn name(&self) -> &str {
        match self {
            Self::AccessControl => "AccessControl",
            Self::AtomInject => "AtomInject",
            Self::AtomStream => "AtomStream",
            Self::AutoRemoveLeadingDir => "AutoRemoveLeadingDir",
            Self::EchoService => "EchoService",
            Self::FlvStreaming => "FlvStreaming",
            Self::Highpri => "Highpri",
            Self::Include => "Include",
            Self::LazyCDN => "LazyCDN",
            Self::Log => "Log",
            Self::MaxContentLength => "MaxContentLength",
            Self::NotModified => "NotModified",
            Self::Palimg => "Palimg",
            Self::Queues => "Queues",
            Self::Redirect => "Redirect",
            Self::Stats => "Stats",
            Self::Throttle => "Throttle",
            Self::Vhosts => "Vhosts",
            Self::Vpaths => "Vpaths",
            Self::XFFExtras => "XFFExtras",
            Self::Script(name) => name.as_str(),
        }
    }

    /// The plugin of this release of that name, in any case.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|plugin| plugin.name().eq_ignore_ascii_case(name))
    }

    /// The roles whose services can have it, that which Perlbal names first; none: any.
    const fn roles(&self) -> &'static [Role] {
        match self {
            Self::Log => &[Role::WebServer, Role::ReverseProxy, Role::Selector],
            Self::AtomInject => &[Role::WebServer],
            Self::FlvStreaming => &[Role::ReverseProxy],
            Self::Vhosts | Self::Vpaths => &[Role::Selector],
            Self::AccessControl
            | Self::AtomStream
            | Self::AutoRemoveLeadingDir
            | Self::EchoService
            | Self::Highpri
            | Self::Include
            | Self::LazyCDN
            | Self::MaxContentLength
            | Self::NotModified
            | Self::Palimg
            | Self::Queues
            | Self::Redirect
            | Self::Script(_)
            | Self::Stats
            | Self::Throttle
            | Self::XFFExtras => &[],
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
        matches!(self, Self::Vhosts | Self::Vpaths)
    }

    /// How Perlbal spells it where it refuses a role.
    pub(super) fn spelled(&self) -> &str {
        match self {
            Self::AtomInject => "atominject",
            Self::FlvStreaming => "flvstreaming",
            Self::Log => "log",
            Self::Vhosts => "vhost",
            Self::Vpaths => "vpath",
            Self::AccessControl
            | Self::AtomStream
            | Self::AutoRemoveLeadingDir
            | Self::EchoService
            | Self::Highpri
            | Self::Include
            | Self::LazyCDN
            | Self::MaxContentLength
            | Self::NotModified
            | Self::Palimg
            | Self::Queues
            | Self::Redirect
            | Self::Script(_)
            | Self::Stats
            | Self::Throttle
            | Self::XFFExtras => self.name(),
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
    /// `ACCESS …`.
    Access(AccessRule),
    /// `REDIRECT HOST host target`.
    Redirect {
        /// A host, `*.host` or `*`.
        host: String,
        /// The host that has what it had.
        target: String,
    },
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
            Self::Access(_) => Plugin::AccessControl,
            Self::Redirect { .. } => Plugin::Redirect,
            Self::Log(_) => Plugin::Log,
            Self::Vhost { .. } => Plugin::Vhosts,
            Self::Vpath { .. } => Plugin::Vpaths,
        }
    }

    /// What a later line with the same takes the place of; none: each stands for itself, in order.
    fn key(&self) -> Option<&str> {
        match self {
            // A service writes one log, and has one policy.
            Self::Log(_) | Self::Access(AccessRule::Policy(_)) => Some(""),
            Self::Vhost { pattern, .. } => Some(pattern),
            Self::Redirect { host, .. } => Some(host),
            Self::Vpath { .. } | Self::Access(_) => None,
        }
    }

    /// Whether it can be carried out.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn check(&self) -> Result<(), InvalidDirective> {
        match self {
            Self::Access(_) => Ok(()),
            Self::Redirect { host, target } => {
                let is_host =
                    |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic() && c != '#');
                (is_host(host) && is_host(target))
                    .then_some(())
                    .ok_or(InvalidDirective::Redirect)
            }
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
            Self::Access(rule) => rule.fmt(f),
            Self::Redirect { host, target } => write!(f, "REDIRECT HOST {host} {target}"),
            Self::Log(target) => write!(f, "LOGNAME = {target}"),
            Self::Vhost { pattern, target } => write!(f, "VHOST {pattern} = {target}"),
            Self::Vpath { pattern, target } => write!(f, "VPATH {pattern} = {target}"),
        }
    }
}

/// A line that cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDirective {
    /// Not a line of `ACCESS`.
    #[error("usage: ACCESS <cmd> <arg1> [<arg2>]")]
    AccessUsage,
    /// Not a policy.
    #[error("policy must be 'allow' or 'deny'")]
    AccessPolicy,
    /// Neither an address nor a block of them.
    #[error("Unknown item to deny: '{0}'")]
    AccessItem(String),
    /// Not an address. (Perlbal takes it, and it is nobody's.)
    #[error("'{0}' is not an IP address")]
    AccessIp(String),
    /// Not a block of addresses.
    #[error("Error parsing netmask")]
    AccessNetmask,
    /// Not a host that is elsewhere.
    #[error("usage: REDIRECT HOST <match_host> <target_host>")]
    Redirect,
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

    /// Whether it says nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.keyed.is_empty() && self.ordered.is_empty()
    }

    pub(super) fn put(&mut self, directive: Directive) {
        if directive == Directive::Access(AccessRule::Reset) {
            *self = Self::default();
            return;
        }
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
