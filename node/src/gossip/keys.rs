//! What a node says of itself, as typed values under gossip keys.
//!
//! Values of other nodes are bytes from outside: what cannot be read is unknown, and no text of theirs can break a
//! line or grow without bound.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use fleetbal_raft::model::{FleetConfig, UnixMillis, Version};
use fleetbal_raft::wire::ConfigHasher;

use super::load::Load;
use super::told;
use crate::health::Told;

const VERSION: &str = "version";
const LOG_INDEX: &str = "log_index";
const TERM: &str = "term";
const HASH: &str = "hash";
const READY: &str = "ready";
const NOT_READY_BECAUSE: &str = "not_ready_because";
const SOFTWARE: &str = "software";
const STARTED: &str = "started";
const REQUESTS: &str = "requests";
const LOAD: &str = "load";
const TROUBLES: &str = "troubles";
const HINDRANCES: &str = "hindrances";

/// The release of this binary.
pub const SOFTWARE_VERSION: &str = env!("CARGO_PKG_VERSION");

/// How many characters of another node's reason and release are kept.
pub(super) const REASON_MAX: usize = 200;
const SOFTWARE_MAX: usize = 32;

/// How many troubles of one node are told.
const TROUBLES_MAX: usize = 32;

/// The names of what keeps a node from serving: the same name is the same trouble. Of so many at most is told; who tells
/// that many may have more.
pub const HINDRANCES_MAX: usize = 64;

/// The hash of a configuration ([`ConfigHasher`]): the same hash is the same configuration.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ConfigHash([u8; 32]);

impl ConfigHash {
    /// Of one configuration.
    pub fn of(config: &FleetConfig) -> Self {
        Self::by(&mut ConfigHasher::default(), config)
    }

    /// The same by somebody who hashed the one before, for the price of what changed.
    pub fn by(hasher: &mut ConfigHasher, config: &FleetConfig) -> Self {
        Self(hasher.hash(config))
    }

    /// The first eight hex digits, which is what people compare.
    pub fn short(&self) -> String {
        self.to_string().chars().take(8).collect()
    }

    fn parse(text: &str) -> Option<Self> {
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let mut hash = [0; 32];
        for (index, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
        }
        Some(Self(hash))
    }
}

impl fmt::Display for ConfigHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ConfigHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Something that the configuration asks for and a node could not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What it is about, e.g. `service www`.
    pub object: String,
    /// Why it failed.
    pub reason: String,
    /// Since when, by that node's clock.
    pub since: UnixMillis,
}

impl Trouble {
    /// One line a trouble, a tab between its parts.
    fn write(troubles: &[Self]) -> String {
        let line = |trouble: &Self| {
            let (object, reason) = (&trouble.object, &trouble.reason);
            format!(
                "{}\t{}\t{}",
                one_line(object, REASON_MAX),
                one_line(reason, REASON_MAX),
                trouble.since.0
            )
        };
        let lines: Vec<_> = troubles.iter().take(TROUBLES_MAX).map(line).collect();
        lines.join("\n")
    }

    fn read(text: &str) -> Vec<Self> {
        let trouble = |line: &str| {
            let (object, rest) = line.split_once('\t')?;
            let (reason, since) = rest.split_once('\t')?;
            Some(Self {
                object: one_line(object, REASON_MAX),
                reason: one_line(reason, REASON_MAX),
                since: UnixMillis(since.parse().ok()?),
            })
        };
        text.lines().take(TROUBLES_MAX).filter_map(trouble).collect()
    }
}

/// What this node says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnState {
    /// The version this node balances by.
    pub version: Version,
    /// The last log entry it has applied.
    pub log_index: u64,
    /// Of its configuration.
    pub hash: ConfigHash,
    /// Whether it should get traffic.
    pub ready: bool,
    /// Why not, in plain words.
    pub not_ready_because: Option<String>,
    /// Requests it has answered since its start.
    pub requests_total: u64,
    /// What it has to do now.
    pub load: Load,
    /// When it started.
    pub started: UnixMillis,
    /// What it could not do of the configuration.
    pub troubles: Vec<Trouble>,
    /// What keeps it from serving, by name.
    pub hindrances: BTreeSet<String>,
    /// What it tells of backends.
    pub backends: Arc<Told>,
}

impl OwnState {
    /// Whether there is nothing in `other` that somebody may wait for.
    pub(super) fn same_news(&self, other: &Self) -> bool {
        self.version == other.version
            && self.ready == other.ready
            && self.hash == other.hash
            && self.troubles == other.troubles
            && self.hindrances == other.hindrances
            && self.backends == other.backends
    }

    /// As another node would read it.
    pub(super) fn said(&self, term: u64) -> Said {
        let pairs = self.pairs(term);
        Said {
            backends: Arc::clone(&self.backends),
            ..Said::read(pairs.iter().map(|(key, value)| (*key, value.as_str())))
        }
    }

    /// As gossip keys and values, with the Raft term this node is in; what it tells of backends aside.
    pub(super) fn pairs(&self, term: u64) -> [(&'static str, String); 12] {
        let hindrances = self.hindrances.iter().take(HINDRANCES_MAX);
        let hindrances: Vec<_> = hindrances.map(|name| one_line(name, REASON_MAX)).collect();
        let reason = self.not_ready_because.as_deref().unwrap_or_default();
        [
            (VERSION, self.version.to_string()),
            (LOG_INDEX, self.log_index.to_string()),
            (TERM, term.to_string()),
            (HASH, self.hash.to_string()),
            (READY, if self.ready { "yes" } else { "no" }.to_owned()),
            (NOT_READY_BECAUSE, one_line(reason, REASON_MAX)),
            (SOFTWARE, SOFTWARE_VERSION.to_owned()),
            (STARTED, self.started.0.to_string()),
            (REQUESTS, self.requests_total.to_string()),
            (LOAD, self.load.write()),
            (TROUBLES, Trouble::write(&self.troubles)),
            (HINDRANCES, hindrances.join("\n")),
        ]
    }
}

/// What another node said of itself, as far as it could be read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Said {
    /// The version it balances by.
    pub version: Option<u64>,
    /// The last log entry it has applied.
    pub log_index: Option<u64>,
    /// The Raft term it is in.
    pub term: Option<u64>,
    /// Of its configuration.
    pub hash: Option<ConfigHash>,
    /// Whether it should get traffic.
    pub ready: Option<bool>,
    /// Why not, one line.
    pub not_ready_because: Option<String>,
    /// Its release.
    pub software: Option<String>,
    /// When it started, by its clock.
    pub started: Option<UnixMillis>,
    /// Requests it has answered since its start.
    pub requests_total: Option<u64>,
    /// What it has to do.
    pub load: Option<Load>,
    /// What it could not do of the configuration.
    pub troubles: Vec<Trouble>,
    /// What keeps it from serving, by name; none: it does not say.
    pub hindrances: Option<BTreeSet<String>>,
    /// What it tells of backends.
    pub backends: Arc<Told>,
}

impl Said {
    /// Reads keys and values; unknown keys and unreadable values are passed over.
    pub(super) fn read<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut said = Self::default();
        let mut backends = Told::new();
        for (key, value) in pairs {
            match key {
                VERSION => said.version = value.parse().ok(),
                LOG_INDEX => said.log_index = value.parse().ok(),
                TERM => said.term = value.parse().ok(),
                HASH => said.hash = ConfigHash::parse(value),
                READY => said.ready = yes_or_no(value),
                NOT_READY_BECAUSE => {
                    said.not_ready_because =
                        Some(one_line(value, REASON_MAX)).filter(|reason| !reason.is_empty());
                }
                SOFTWARE => said.software = release(value),
                STARTED => said.started = value.parse().ok().map(UnixMillis),
                REQUESTS => said.requests_total = value.parse().ok(),
                LOAD => said.load = Load::read(value),
                TROUBLES => said.troubles = Trouble::read(value),
                HINDRANCES => {
                    let names = value.lines().take(HINDRANCES_MAX);
                    said.hindrances = Some(names.map(|name| one_line(name, REASON_MAX)).collect());
                }
                _ => backends.extend(told::read(key, value)),
            }
        }
        said.backends = Arc::new(backends.into_iter().take(told::MOST).collect());
        said
    }
}

fn yes_or_no(value: &str) -> Option<bool> {
    match value {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

/// Printable text without line breaks, at most so many characters.
pub(super) fn one_line(text: &str, max: usize) -> String {
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    let line: String = text.chars().take(max).map(printable).collect();
    line.trim().to_owned()
}

/// A release stands in a column: no blanks.
fn release(value: &str) -> Option<String> {
    let fits =
        !value.is_empty() && value.len() <= SOFTWARE_MAX && value.bytes().all(|b| b.is_ascii_graphic());
    fits.then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn own() -> OwnState {
        OwnState {
            version: Version(42),
            log_index: 77,
            hash: ConfigHash::of(&FleetConfig::default()),
            ready: false,
            not_ready_because: Some("draining".to_owned()),
            requests_total: u64::MAX,
            load: Load {
                connections: 9,
                ..Load::default()
            },
            started: UnixMillis(1_700_000_000_000),
            troubles: vec![Trouble {
                object: "service www".to_owned(),
                reason: "cannot listen on 0.0.0.0:80: Address already in use".to_owned(),
                since: UnixMillis(1_700_000_123_456),
            }],
            hindrances: ["service www".to_owned()].into(),
            backends: Arc::default(),
        }
    }

    fn read(pairs: &[(&'static str, String)]) -> Said {
        Said::read(pairs.iter().map(|(key, value)| (*key, value.as_str())))
    }

    #[test]
    fn what_is_said_is_read_back() {
        let said = read(&own().pairs(3));
        let expected = Said {
            version: Some(42),
            log_index: Some(77),
            term: Some(3),
            hash: Some(own().hash),
            ready: Some(false),
            not_ready_because: Some("draining".to_owned()),
            software: Some(SOFTWARE_VERSION.to_owned()),
            started: Some(UnixMillis(1_700_000_000_000)),
            requests_total: Some(u64::MAX),
            load: Some(own().load),
            troubles: own().troubles,
            hindrances: Some(own().hindrances),
            backends: Arc::default(),
        };
        assert_eq!(said, expected);
    }

    #[test]
    fn no_reason_is_none() {
        let ready = OwnState {
            ready: true,
            not_ready_because: None,
            ..own()
        };
        let said = read(&ready.pairs(1));
        assert_eq!((said.ready, said.not_ready_because), (Some(true), None));
    }

    #[test]
    fn the_hash_tells_configurations_apart() {
        let hash = ConfigHash::of(&FleetConfig::default());
        let mut other = FleetConfig::default();
        other.version = Version(1);
        assert_ne!(hash, ConfigHash::of(&other));
        assert_eq!(hash.short().len(), 8);
        assert!(hash.to_string().starts_with(&hash.short()));
    }

    #[test]
    fn hostile_values_are_unknown_or_tamed() {
        let bad = [
            (VERSION, "-1"),
            (LOG_INDEX, "99999999999999999999999999"),
            (TERM, ""),
            (HASH, "zz"),
            (READY, "maybe"),
            (NOT_READY_BECAUSE, "a\r\nERROR: b\u{0}"),
            (SOFTWARE, "0.1 0\n"),
            (STARTED, "1e9"),
            (REQUESTS, "+"),
            (LOAD, "many"),
            ("unheard of", "x"),
        ];
        let expected = Said {
            not_ready_because: Some("a  ERROR: b".to_owned()),
            ..Said::default()
        };
        assert_eq!(Said::read(bad), expected);
        let multibyte = "é".repeat(32);
        assert_eq!(Said::read([(HASH, multibyte.as_str())]), Said::default());
        let long = "x".repeat(70_000);
        let said = Said::read([(NOT_READY_BECAUSE, long.as_str()), (SOFTWARE, long.as_str())]);
        assert_eq!(said.not_ready_because.unwrap().len(), REASON_MAX);
        assert_eq!(said.software, None);
    }

    proptest! {
        #[test]
        fn any_value_is_read_without_a_line_break(value in ".*", key in 0_usize..12) {
            let key = own().pairs(0)[key].0;
            let said = Said::read([(key, value.as_str())]);
            let texts = said.not_ready_because.iter().chain(&said.software);
            for text in texts {
                prop_assert!(!text.contains(char::is_control));
            }
        }
    }
}
