//! The table of tunables: every `SET` key that a service takes, once, for parsing, checking, dumping and help.

mod table;

use super::plugin::Plugin;
use super::role::Role;

pub use table::TUNABLES;

/// Which services take a tunable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Services of every role, also before the role is set.
    Every,
    /// Services of this role only.
    Only(Role),
}

/// What a tunable's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `1 true on yes` or `0 false off no`, in any case.
    Bool,
    /// Digits.
    Int,
    /// Digits with an optional `b`, `k` or `m`.
    Size,
    /// Anything.
    Text,
    /// `ip:port` or `port`.
    Listen,
    /// The name of an existing pool.
    Pool,
    /// Addresses and CIDR blocks, separated by commas.
    Networks,
    /// The service's role.
    Role,
    /// A whole number from 0 to 100.
    Percent,
    /// Seconds, decimals allowed, separated by commas.
    Schedule,
    /// The name of an existing service, or one of [`CLEARING`].
    Service,
    /// `ip:port`, separated by commas.
    Endpoints,
    /// `ip:port`, one alone.
    Endpoint,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Some of these words, separated by commas.
    SomeOf(&'static [&'static str]),
    /// A regular expression, or one of [`CLEARING`].
    Pattern,
    /// Words separated by blanks or commas.
    Words,
    /// A directory that is there on the typist's node; each node fills in its variables.
    Directory,
    /// A file that is there on the typist's node; each node fills in its variables.
    File,
    /// A file of secrets that the typist's node can read; each node fills in its variables.
    TokenFile,
    /// Cipher suites of TLS, in OpenSSL's words.
    Ciphers,
    /// Versions of TLS.
    Protocols,
    /// Names of certificates of the fleet, separated by commas, or one of [`CLEARING`].
    Certificates,
}

/// Whether the value of a tunable, or of a setting of pools, may hold `${…}`.
pub fn takes_variables(key: &str) -> bool {
    key == "nodefile" || Tunable::find(key).is_some_and(|tunable| tunable.kind.takes_variables())
}

/// What takes a pattern or a setting of a pool back (Perlbal's words, reference section 8.2, Highpri).
pub const CLEARING: [&str; 3] = ["none", "null", "undef"];

impl Kind {
    fn takes_variables(self) -> bool {
        matches!(
            self,
            Self::Text | Self::Listen | Self::Directory | Self::File | Self::TokenFile
        )
    }

    /// Whether one of [`CLEARING`] takes a value back.
    pub(super) fn can_be_cleared(self) -> bool {
        matches!(
            self,
            Self::Pattern
                | Self::Directory
                | Self::File
                | Self::TokenFile
                | Self::Service
                | Self::Certificates
        )
    }
}

/// A tunable of services.
#[derive(Debug, Clone, Copy)]
pub struct Tunable {
    /// Its name, in lower case.
    pub key: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// Which services take it.
    pub scope: Scope,
    /// Its value where none was set; none: unset.
    pub default: Option<&'static str>,
    /// One sentence for people.
    pub help: &'static str,
    /// The plugin that brings it along, if one does: only while that is loaded it can be set.
    pub plugin: Option<&'static Plugin>,
}

impl Tunable {
    /// The tunable of that name.
    pub fn find(key: &str) -> Option<&'static Self> {
        TUNABLES.iter().find(|tunable| tunable.key == key)
    }

    /// Whether it is one of those that a service has with a plugin (`SET service.plugin.option`).
    pub fn is_option(&self) -> bool {
        self.key.contains('.')
    }

    /// Whether a service of that role takes it.
    pub fn applies_to(&self, role: Option<Role>) -> bool {
        match self.scope {
            Scope::Every => true,
            Scope::Only(only) => role == Some(only),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::value::Value;
    use super::*;

    #[test]
    fn is_sorted_and_its_defaults_are_valid() {
        assert!(TUNABLES.is_sorted_by(|a, b| a.key < b.key));
        for tunable in TUNABLES {
            if let Some(default) = tunable.default {
                assert!(
                    Value::parse(tunable.kind, tunable.key, default).is_ok(),
                    "{}",
                    tunable.key
                );
            }
        }
    }
}
