//! Pools of backends.

use std::fmt;

use super::address::BackendAddress;

/// How a pool spreads requests over its backends. The algorithms are the data plane's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BalanceMethod {
    /// Perlbal's rule: the hottest idle connection of any backend; at random where one has to be opened.
    #[default]
    Random,
    /// Each backend in turn.
    RoundRobin,
}

impl BalanceMethod {
    /// All methods.
    pub const ALL: [Self; 2] = [Self::Random, Self::RoundRobin];

    /// Its name in a configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::RoundRobin => "round_robin",
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

/// A member of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backend {
    /// Where it listens.
    pub address: BackendAddress,
}

/// A pool: backends in the order in which they were added, and how to choose among them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pool {
    /// How requests are spread.
    pub balance_method: BalanceMethod,
    backends: Vec<Backend>,
}

impl Pool {
    /// The backends, oldest first.
    pub fn backends(&self) -> &[Backend] {
        &self.backends
    }

    /// Adds a backend; one that is there already moves to the end, as in Perlbal.
    pub(crate) fn add(&mut self, address: BackendAddress) {
        self.remove(address);
        self.backends.push(Backend { address });
    }

    /// Removes a backend; one that is not there is no error, as in Perlbal.
    pub(crate) fn remove(&mut self, address: BackendAddress) {
        self.backends.retain(|backend| backend.address != address);
    }
}
