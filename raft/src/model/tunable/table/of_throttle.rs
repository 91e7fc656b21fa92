//! Tunables of the plugin Throttle.

use super::super::super::plugin::Plugin;
use super::super::{Kind, Scope, Tunable};
use super::tunable;

const fn throttle(
    key: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    help: &'static str,
) -> Tunable {
    Tunable {
        plugin: Some(&Plugin::Throttle),
        ..tunable(key, kind, Scope::Every, default, help)
    }
}

/// `ban_expiration`.
pub(super) const BAN_EXPIRATION: Tunable = throttle(
    "ban_expiration",
    Kind::Int,
    Some("60"),
    "Seconds for which a client is banned.",
);

/// `ban_threshold`.
pub(super) const BAN_THRESHOLD: Tunable = throttle(
    "ban_threshold",
    Kind::Int,
    Some("0"),
    "Delays behind each other that ban a client; 0 is never.",
);

/// `blacklist_action`.
pub(super) const BLACKLIST_ACTION: Tunable = throttle(
    "blacklist_action",
    Kind::OneOf(&["deny", "throttle"]),
    Some("deny"),
    "What becomes of requests of clients in the blacklist.",
);

/// `blacklist_file`.
pub(super) const BLACKLIST_FILE: Tunable = throttle(
    "blacklist_file",
    Kind::File,
    None,
    "A file of the clients whose requests are refused or delayed: an address or block a line.",
);

/// `default_action`.
pub(super) const DEFAULT_ACTION: Tunable = throttle(
    "default_action",
    Kind::OneOf(&["allow", "throttle"]),
    Some("throttle"),
    "What becomes of requests of other clients.",
);

/// `initial_delay`.
pub(super) const INITIAL_DELAY: Tunable = throttle(
    "initial_delay",
    Kind::Int,
    Some("3"),
    "Seconds of the first delay; each further one is twice as long.",
);

/// `log_events`.
pub(super) const LOG_EVENTS: Tunable = throttle(
    "log_events",
    Kind::SomeOf(&[
        "ban",
        "unban",
        "whitelisted",
        "blacklisted",
        "concurrent",
        "throttled",
        "banned",
        "all",
        "none",
    ]),
    Some("all"),
    "What is logged, separated by commas.",
);

/// `log_only`.
pub(super) const LOG_ONLY: Tunable = throttle(
    "log_only",
    Kind::Bool,
    Some("0"),
    "Log what would be done, and do nothing.",
);

/// `max_concurrent`.
pub(super) const MAX_CONCURRENT: Tunable = throttle(
    "max_concurrent",
    Kind::Int,
    Some("2"),
    "Requests of one client that may be in progress; more get a 403.",
);

/// `max_delay`.
pub(super) const MAX_DELAY: Tunable = throttle(
    "max_delay",
    Kind::Int,
    Some("300"),
    "Seconds of the longest delay.",
);

/// `method_regex`.
pub(super) const METHOD_REGEX: Tunable = throttle(
    "method_regex",
    Kind::Pattern,
    None,
    "Only requests whose method matches are delayed; none takes it back.",
);

/// `path_regex`.
pub(super) const PATH_REGEX: Tunable = throttle(
    "path_regex",
    Kind::Pattern,
    None,
    "Only requests whose path and query match are delayed; none takes it back.",
);

/// `throttle_threshold_seconds`.
pub(super) const THROTTLE_THRESHOLD_SECONDS: Tunable = throttle(
    "throttle_threshold_seconds",
    Kind::Int,
    Some("60"),
    "Seconds that a client has to wait between two requests so as not to be delayed.",
);

/// `whitelist_file`.
pub(super) const WHITELIST_FILE: Tunable = throttle(
    "whitelist_file",
    Kind::File,
    None,
    "A file of the clients that are left alone: an address or block a line.",
);
