//! The table of tunables: every `SET` key that a service takes, once, for parsing, checking, dumping and help.

use super::role::Role;

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
}

impl Tunable {
    /// The tunable of that name.
    pub fn find(key: &str) -> Option<&'static Self> {
        TUNABLES.iter().find(|tunable| tunable.key == key)
    }

    /// Whether a service of that role takes it.
    pub fn applies_to(&self, role: Option<Role>) -> bool {
        match self.scope {
            Scope::Every => true,
            Scope::Only(only) => role == Some(only),
        }
    }
}

const PROXY: Scope = Scope::Only(Role::ReverseProxy);

const fn tunable(
    key: &'static str,
    kind: Kind,
    scope: Scope,
    default: Option<&'static str>,
    help: &'static str,
) -> Tunable {
    Tunable {
        key,
        kind,
        scope,
        default,
        help,
    }
}

/// All tunables, sorted by name.
pub const TUNABLES: &[Tunable] = &[
    tunable(
        "always_trusted",
        Kind::Bool,
        Scope::Every,
        Some("0"),
        "Trust the X-Forwarded-For of every peer.",
    ),
    tunable(
        "backend_persist_cache",
        Kind::Int,
        PROXY,
        Some("2"),
        "Idle backend connections kept for reuse, at most.",
    ),
    tunable(
        "blind_proxy",
        Kind::Bool,
        PROXY,
        Some("0"),
        "Leave the X-Forwarded-For of trusted peers alone.",
    ),
    tunable(
        "idle_timeout",
        Kind::Int,
        Scope::Every,
        Some("30"),
        "Seconds without progress after which a client or a silent backend is given up; 0 is never.",
    ),
    tunable(
        "listen",
        Kind::Listen,
        Scope::Every,
        None,
        "Where the service listens: ip:port or port.",
    ),
    tunable(
        "persist_backend",
        Kind::Bool,
        PROXY,
        Some("0"),
        "Ask backends to keep connections open, and reuse them.",
    ),
    tunable(
        "persist_client",
        Kind::Bool,
        Scope::Every,
        Some("0"),
        "Keep client connections open between requests.",
    ),
    tunable(
        "persist_client_idle_timeout",
        Kind::Int,
        Scope::Every,
        Some("30"),
        "Seconds that an idle client connection is kept; 0 is for ever.",
    ),
    tunable(
        "pool",
        Kind::Pool,
        PROXY,
        None,
        "The pool whose backends get the requests.",
    ),
    tunable(
        "role",
        Kind::Role,
        Scope::Every,
        None,
        "What the service does; set it first.",
    ),
    tunable(
        "server_tokens",
        Kind::Bool,
        Scope::Every,
        Some("1"),
        "Send a Server header on pages that this node makes itself.",
    ),
    tunable(
        "trusted_upstream_proxies",
        Kind::Networks,
        Scope::Every,
        None,
        "Peers whose X-Forwarded-For is believed: addresses and CIDR blocks.",
    ),
    tunable(
        "verify_backend",
        Kind::Bool,
        PROXY,
        Some("0"),
        "Send OPTIONS on a new backend connection and use it only once it was answered.",
    ),
    tunable(
        "verify_backend_path",
        Kind::Text,
        PROXY,
        Some("*"),
        "The path of the OPTIONS request that verifies a backend connection.",
    ),
];

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
