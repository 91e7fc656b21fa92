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
    /// A whole number from 0 to 100.
    Percent,
    /// Seconds, decimals allowed, separated by commas.
    Schedule,
    /// The name of an existing service, or one of [`CLEARING`].
    Service,
    /// `ip:port`, separated by commas.
    Endpoints,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A regular expression, or one of [`CLEARING`].
    Pattern,
    /// A directory that is there on the typist's node; each node fills in its variables.
    Directory,
    /// A file of secrets that the typist's node can read; each node fills in its variables.
    TokenFile,
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
            Self::Text | Self::Listen | Self::Directory | Self::TokenFile
        )
    }

    /// Whether one of [`CLEARING`] takes a value back.
    pub(super) fn can_be_cleared(self) -> bool {
        matches!(
            self,
            Self::Pattern | Self::Directory | Self::TokenFile | Self::Service
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
const MANAGEMENT: Scope = Scope::Only(Role::Management);
const SELECTOR: Scope = Scope::Only(Role::Selector);
const WEB: Scope = Scope::Only(Role::WebServer);

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
        "backend_http_version",
        Kind::OneOf(&["1.0", "1.1"]),
        PROXY,
        Some("1.1"),
        "The HTTP version that backends are spoken to in.",
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
        "buffer_backend_connect",
        Kind::Size,
        PROXY,
        Some("100k"),
        "Bytes of a request body held in memory before a backend is asked for.",
    ),
    tunable(
        "buffer_size",
        Kind::Size,
        PROXY,
        Some("256k"),
        "Bytes of a response that wait for a slow client; then its backend is read no further.",
    ),
    tunable(
        "buffer_size_reproxy_url",
        Kind::Size,
        PROXY,
        Some("50k"),
        "The same for a response that is fetched from a reproxied URL.",
    ),
    tunable(
        "buffer_upload_threshold_rate",
        Kind::Int,
        PROXY,
        Some("0"),
        "Request bodies slower than so many bytes a second go to disk; 0 is no such rule.",
    ),
    tunable(
        "buffer_upload_threshold_size",
        Kind::Size,
        PROXY,
        Some("250k"),
        "Request bodies of so many bytes go to disk; 0 is no such rule.",
    ),
    tunable(
        "buffer_upload_threshold_time",
        Kind::Int,
        PROXY,
        Some("5"),
        "Request bodies that would take longer than so many seconds go to disk; 0 is no such rule.",
    ),
    tunable(
        "buffer_uploads",
        Kind::Bool,
        PROXY,
        Some("0"),
        "Write request bodies to disk first where the thresholds say so.",
    ),
    tunable(
        "buffer_uploads_path",
        Kind::Directory,
        PROXY,
        None,
        "The directory for request bodies on disk.",
    ),
    tunable(
        "client_sndbuf_size",
        Kind::Size,
        Scope::Every,
        Some("0"),
        "SO_SNDBUF of accepted connections in bytes; 0 is the kernel's.",
    ),
    tunable(
        "connect_ahead",
        Kind::Int,
        PROXY,
        Some("0"),
        "Backend connections opened beyond what is asked for.",
    ),
    tunable(
        "default_service",
        Kind::Service,
        SELECTOR,
        None,
        "Who answers what no rule of a plugin hands to another service; none takes it back.",
    ),
    tunable(
        "docroot",
        Kind::Directory,
        WEB,
        None,
        "The directory whose files are served.",
    ),
    tunable(
        "enable_error_retries",
        Kind::Bool,
        PROXY,
        Some("0"),
        "Try GET and HEAD again where a backend answers 500.",
    ),
    tunable(
        "enable_reproxy",
        Kind::Bool,
        PROXY,
        Some("0"),
        "Let backends answer with X-REPROXY-URL, X-REPROXY-FILE and X-REPROXY-SERVICE.",
    ),
    tunable(
        "error_retry_schedule",
        Kind::Schedule,
        PROXY,
        Some("0,.25,.50,1,1,1,1,1"),
        "Seconds before each of these tries.",
    ),
    tunable(
        "high_priority_cookie",
        Kind::Text,
        PROXY,
        None,
        "The cookie that makes a request one of high priority.",
    ),
    tunable(
        "high_priority_cookie_contents",
        Kind::Text,
        PROXY,
        None,
        "What that cookie's value must contain.",
    ),
    tunable(
        "high_priority_host_pattern",
        Kind::Pattern,
        PROXY,
        None,
        "Requests whose Host matches this regular expression are of high priority; none takes it back.",
    ),
    tunable(
        "high_priority_uri_pattern",
        Kind::Pattern,
        PROXY,
        None,
        "Requests whose URI matches this regular expression are of high priority; none takes it back.",
    ),
    tunable(
        "idle_timeout",
        Kind::Int,
        Scope::Every,
        Some("30"),
        "Seconds without progress after which a client or a silent backend is given up; 0 is never.",
    ),
    tunable(
        "latency",
        Kind::Int,
        SELECTOR,
        Some("0"),
        "Milliseconds that each request waits before it is handed on.",
    ),
    tunable(
        "listen",
        Kind::Listen,
        Scope::Every,
        None,
        "Where the service listens: ip:port or port.",
    ),
    tunable(
        "max_backend_uses",
        Kind::Int,
        PROXY,
        Some("0"),
        "Requests that one backend connection serves, at most; 0 is without limit.",
    ),
    tunable(
        "max_chunked_request_size",
        Kind::Size,
        Scope::Every,
        Some("209715200"),
        "Bytes of a chunked request body, decoded, at most; 0 is without limit.",
    ),
    tunable(
        "open",
        Kind::Bool,
        MANAGEMENT,
        Some("0"),
        "Let everybody who can reach the port do everything.",
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
        "queue_limit",
        Kind::Int,
        PROXY,
        Some("0"),
        "Requests that wait for a backend, at most; more get a 503. 0 is without limit.",
    ),
    tunable(
        "queue_relief_chance",
        Kind::Percent,
        PROXY,
        Some("0"),
        "How often it is passed over then, in per cent.",
    ),
    tunable(
        "queue_relief_size",
        Kind::Int,
        PROXY,
        Some("0"),
        "From this length of the normal queue on, the high-priority queue is at times passed over; 0 is never.",
    ),
    tunable(
        "queue_timeout",
        Kind::Int,
        PROXY,
        Some("0"),
        "Seconds that a request waits for a backend before it gets a 503; 0 is as long as idle_timeout.",
    ),
    tunable(
        "reproxy_cache_maxsize",
        Kind::Int,
        PROXY,
        Some("0"),
        "Entries of the cache of reproxied URLs, at most; 0 is no cache.",
    ),
    tunable(
        "reproxy_file_root",
        Kind::Directory,
        PROXY,
        None,
        "X-REPROXY-FILE reaches files below this directory only.",
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
        "token_file",
        Kind::TokenFile,
        MANAGEMENT,
        None,
        "Who may use the port from other machines: lines NAME read|admin SECRET; none takes it back.",
    ),
    tunable(
        "trusted_upstream_proxies",
        Kind::Networks,
        Scope::Every,
        None,
        "Peers whose X-Forwarded-For is believed: addresses and CIDR blocks.",
    ),
    tunable(
        "upload_status_listeners",
        Kind::Endpoints,
        PROXY,
        None,
        "Where the progress of uploads is sent by UDP: ip:port, separated by commas.",
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
