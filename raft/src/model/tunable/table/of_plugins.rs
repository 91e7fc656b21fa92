//! Tunables that plugins bring along, and those of all plugins in Lua.

use super::super::super::plugin::Plugin;
use super::super::super::role::Role;
use super::super::{Kind, Scope, Tunable};
use super::{PROXY, WEB, tunable};

const fn of(plugin: &'static Plugin, tunable: Tunable) -> Tunable {
    Tunable {
        plugin: Some(plugin),
        ..tunable
    }
}

/// `accesscontrol.use_observed_ip`.
pub(super) const ACCESSCONTROL_USE_OBSERVED_IP: Tunable = of(
    &Plugin::AccessControl,
    tunable(
        "accesscontrol.use_observed_ip",
        Kind::Bool,
        Scope::Every,
        Some("0"),
        "Judge by the address that a trusted peer tells in X-Forwarded-For.",
    ),
);

/// `echo_delay`.
pub(super) const ECHO_DELAY: Tunable = of(
    &Plugin::EchoService,
    tunable(
        "echo_delay",
        Kind::Int,
        Scope::Only(Role::Echo),
        Some("0"),
        "Seconds after which a line comes back.",
    ),
);

/// `fallback_service`.
pub(super) const FALLBACK_SERVICE: Tunable = of(
    &Plugin::LazyCDN,
    tunable(
        "fallback_service",
        Kind::Text,
        WEB,
        None,
        "Who answers requests for files that are not there, or older than they are asked for.",
    ),
);

/// `fallback_udp_ping_addr`.
pub(super) const FALLBACK_UDP_PING_ADDR: Tunable = of(
    &Plugin::LazyCDN,
    tunable(
        "fallback_udp_ping_addr",
        Kind::Endpoint,
        WEB,
        None,
        "Who is told of such requests, by a datagram: ip:port.",
    ),
);

/// `highpri.host_pattern`.
pub(super) const HIGHPRI_HOST_PATTERN: Tunable = of(
    &Plugin::Highpri,
    tunable(
        "highpri.host_pattern",
        Kind::Pattern,
        Scope::Every,
        None,
        "Requests whose Host matches this regular expression are of high priority; none takes it back.",
    ),
);

/// `highpri.uri_pattern`.
pub(super) const HIGHPRI_URI_PATTERN: Tunable = of(
    &Plugin::Highpri,
    tunable(
        "highpri.uri_pattern",
        Kind::Pattern,
        Scope::Every,
        Some("^(?:/interface/(?:xmlrpc|flat)|/login\\.bml)$"),
        "Requests whose URI matches this regular expression are of high priority; none: none are.",
    ),
);

/// `log_format`.
pub(super) const LOG_FORMAT: Tunable = of(
    &Plugin::Log,
    tunable(
        "log_format",
        Kind::OneOf(&["perlbal", "combined", "json"]),
        Scope::Every,
        Some("perlbal"),
        "The form of the lines that the plugin Log writes.",
    ),
);

/// `max_content_length`.
pub(super) const MAX_CONTENT_LENGTH: Tunable = of(
    &Plugin::MaxContentLength,
    tunable(
        "max_content_length",
        Kind::Int,
        Scope::Every,
        Some("0"),
        "Requests that announce a longer body get a 413; 0 is without limit.",
    ),
);

/// `notmodified.host_pattern`.
pub(super) const NOTMODIFIED_HOST_PATTERN: Tunable = of(
    &Plugin::NotModified,
    tunable(
        "notmodified.host_pattern",
        Kind::Pattern,
        Scope::Every,
        None,
        "Conditional requests whose Host matches this get a 304; none takes it back.",
    ),
);

/// `send_backend_port`.
pub(super) const SEND_BACKEND_PORT: Tunable = of(
    &Plugin::XFFExtras,
    tunable(
        "send_backend_port",
        Kind::Bool,
        PROXY,
        Some("0"),
        "Tell backends the port that the client is connected to, in X-Forwarded-Port.",
    ),
);

/// `send_backend_proto`.
pub(super) const SEND_BACKEND_PROTO: Tunable = of(
    &Plugin::XFFExtras,
    tunable(
        "send_backend_proto",
        Kind::Bool,
        PROXY,
        Some("0"),
        "Tell backends whether the client speaks http or https, in X-Forwarded-Proto.",
    ),
);

/// `plugin_max_errors`.
pub(super) const PLUGIN_MAX_ERRORS: Tunable = tunable(
    "plugin_max_errors",
    Kind::Int,
    Scope::Every,
    Some("100"),
    "A plugin in Lua that failed so often is off on that node until it is pushed again; 0 is never.",
);

/// `plugin_memory_limit`.
pub(super) const PLUGIN_MEMORY_LIMIT: Tunable = tunable(
    "plugin_memory_limit",
    Kind::Size,
    Scope::Every,
    Some("16m"),
    "Memory that a plugin in Lua may take on each worker; 0 is without limit.",
);

/// `plugin_on_error`.
pub(super) const PLUGIN_ON_ERROR: Tunable = tunable(
    "plugin_on_error",
    Kind::OneOf(&["deny", "ignore"]),
    Scope::Every,
    Some("ignore"),
    "What becomes of a request whose hook in Lua failed: it goes on, or is answered 500.",
);

/// `plugin_time_limit`.
pub(super) const PLUGIN_TIME_LIMIT: Tunable = tunable(
    "plugin_time_limit",
    Kind::Int,
    Scope::Every,
    Some("10"),
    "Milliseconds that a hook in Lua may take; 0 is without limit.",
);
