//! Pools of backends.

mod health;
mod outlier;
mod settings;

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::address::BackendAddress;
use super::rejection::Rejection;
use super::template::Template;
pub use health::{Expect, HealthRules};
pub use outlier::OutlierRules;
use settings::{POOL_SETTINGS, PoolSetting};

/// How a pool spreads requests over its backends. The algorithms are the data plane's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BalanceMethod {
    /// Perlbal's rule: the hottest idle connection of any backend; at random where one has to be opened.
    #[default]
    Random,
    /// Each backend in turn.
    RoundRobin,
    /// Each backend in turn, as often as its weight says.
    Weighted,
    /// The backend with the fewest requests in flight for its weight.
    LeastConnections,
    /// The faster of two: the peak of an exponentially weighted mean of response times.
    ResponseTime,
    /// The less loaded by what backends say of themselves in their responses.
    ReportedLoad,
    /// The same backend for the same key, see [`HashBy`].
    Hash,
}

impl BalanceMethod {
    /// All methods.
    pub const ALL: [Self; 7] = [
        Self::Random,
        Self::RoundRobin,
        Self::Weighted,
        Self::LeastConnections,
        Self::ResponseTime,
        Self::ReportedLoad,
        Self::Hash,
    ];

    /// Its name in a configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::RoundRobin => "round_robin",
            Self::Weighted => "weighted",
            Self::LeastConnections => "least_connections",
            Self::ResponseTime => "response_time",
            Self::ReportedLoad => "reported_load",
            Self::Hash => "hash",
        }
    }

    /// The method of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }
}

impl fmt::Display for BalanceMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What of a request is the key of [`BalanceMethod::Hash`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum HashBy {
    /// The address of the client.
    #[default]
    ClientAddress,
    /// The URI, query included.
    Uri,
    /// The value of a header, whose name is in lower case here.
    Header(String),
    /// The value of a cookie; its name's case counts.
    Cookie(String),
}

impl HashBy {
    /// Reads `client_address`, `uri`, `header:NAME` or `cookie:NAME`.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once(':') {
            None if text == "client_address" => Some(Self::ClientAddress),
            None if text == "uri" => Some(Self::Uri),
            Some(("header", name)) if is_token(name) => Some(Self::Header(name.to_ascii_lowercase())),
            Some(("cookie", name)) if is_token(name) => Some(Self::Cookie(name.to_owned())),
            Some(_) | None => None,
        }
    }
}

impl fmt::Display for HashBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientAddress => f.write_str("client_address"),
            Self::Uri => f.write_str("uri"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
        }
    }
}

/// Whether a text is a token, as names of headers and cookies are (RFC 9110, section 5.6.2).
pub(super) fn is_token(text: &str) -> bool {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(token)
}

/// Values of a pool's `nodefile` that stop it, and leave its backends as they are (reference, section 1.4).
pub const NO_NODEFILE: [&str; 5] = ["none", "null", "undef", "\"\"", "''"];

/// The weights that a backend can have.
pub(super) const WEIGHTS: RangeInclusive<u32> = 1..=1000;

/// A member of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backend {
    /// Where it listens.
    pub address: BackendAddress,
    /// Its share of the requests beside that of the others, where the balance method looks at it; 1 to 1000.
    pub weight: u32,
    /// Whether it gets no further request.
    pub draining: bool,
}

/// Below so much of its weight, in per cent, a pool is used as if all of it were up, where nothing else is set.
const PANIC_THRESHOLD: u32 = 30;

/// A pool: backends in the order in which they were added, and how to choose among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// How requests are spread.
    pub balance_method: BalanceMethod,
    /// What the method `hash` looks at.
    pub hash_by: HashBy,
    /// The file that lists its members; each node watches its own, and fills in the variables of its path.
    pub nodefile: Option<Template>,
    /// The response header in which backends tell their load, in lower case; none: the one of ORCA.
    pub load_header: Option<String>,
    /// How its backends are checked.
    pub health: HealthRules,
    /// Where less of its weight is up, in per cent, all of it but the draining is used.
    pub panic_threshold: u32,
    /// When a backend that answers badly is taken out.
    pub outlier: OutlierRules,
    /// For how long the part of a backend that came back grows until it is whole; none: it is at once.
    pub slow_start: Option<Duration>,
    pub(super) backends: Vec<Backend>,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            balance_method: BalanceMethod::default(),
            hash_by: HashBy::default(),
            nodefile: None,
            load_header: None,
            health: HealthRules::default(),
            panic_threshold: PANIC_THRESHOLD,
            outlier: OutlierRules::default(),
            slow_start: None,
            backends: Vec::new(),
        }
    }
}

impl Pool {
    /// The backends, oldest first.
    pub fn backends(&self) -> &[Backend] {
        &self.backends
    }

    /// Checks a setting's value and sets it.
    pub(crate) fn set(&mut self, key: &str, value: &str) -> Result<(), Rejection> {
        let setting = PoolSetting::find(key).ok_or_else(|| Rejection::PoolSetting(key.to_owned()))?;
        (setting.set)(self, value)
    }

    /// The settings that are not at their defaults, with values as `SET` takes them, in the order of the table.
    pub fn explicit(&self) -> impl Iterator<Item = (&'static str, String)> {
        POOL_SETTINGS
            .iter()
            .filter_map(|setting| Some((setting.key, (setting.get)(self)?)))
    }

    /// Makes these all of its backends. One that stays goes on draining where it does.
    pub(crate) fn set_backends(&mut self, backends: &[(BackendAddress, u32)]) -> Result<(), Rejection> {
        if !backends.iter().all(|(_, weight)| WEIGHTS.contains(weight)) {
            return Err(Rejection::Weight);
        }
        let before = std::mem::take(&mut self.backends);
        let drained = before.iter().filter(|backend| backend.draining);
        let drained: BTreeSet<_> = drained.map(|backend| backend.address).collect();
        let mut known = BTreeSet::new();
        let fresh = backends.iter().filter(|(address, _)| known.insert(*address));
        self.backends = fresh
            .map(|(address, weight)| Backend {
                address: *address,
                weight: *weight,
                draining: drained.contains(address),
            })
            .collect();
        Ok(())
    }

    /// Adds a backend; one that is there already moves to the end and is new again, as in Perlbal.
    pub(crate) fn add(&mut self, address: BackendAddress, weight: u32) -> Result<(), Rejection> {
        if !WEIGHTS.contains(&weight) {
            return Err(Rejection::Weight);
        }
        self.remove(address);
        self.backends.push(Backend {
            address,
            weight,
            draining: false,
        });
        Ok(())
    }

    /// Removes a backend; one that is not there is no error, as in Perlbal.
    pub(crate) fn remove(&mut self, address: BackendAddress) {
        self.backends.retain(|backend| backend.address != address);
    }

    /// Lets a backend have no further requests, or have them again. False where it is not there.
    pub(crate) fn drain(&mut self, address: BackendAddress, draining: bool) -> bool {
        let found = self
            .backends
            .iter_mut()
            .find(|backend| backend.address == address);
        found.map(|backend| backend.draining = draining).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_and_keys_keep_their_names() {
        for method in BalanceMethod::ALL {
            assert_eq!(BalanceMethod::parse(method.name()), Some(method));
        }
        for text in ["client_address", "uri", "header:x-user", "cookie:Session"] {
            assert_eq!(HashBy::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(
            HashBy::parse("header:X-User"),
            Some(HashBy::Header("x-user".to_owned()))
        );
        for bad in [
            "",
            "URI",
            "header",
            "header:",
            "header:a b",
            "cookie:a=b",
            "cookie:é",
            "uri:x",
        ] {
            assert_eq!(HashBy::parse(bad), None, "{bad}");
        }
    }
}
