//! `SERVER max_reproxy_connections`: how many connections a node opens to what it is sent to by X-REPROXY-URL.

use std::collections::BTreeMap;

/// Limits of connections to the targets of reproxying. They hold for the whole fleet, on each node by itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReproxyLimits {
    /// To each target that has no limit of its own; 0 is without limit.
    pub each: u64,
    pub(crate) by_target: BTreeMap<String, u64>,
}

impl ReproxyLimits {
    /// How many connections a node may have open to `host:port`, in lower case; none: any number.
    pub fn of(&self, target: &str) -> Option<u64> {
        let limit = self.by_target.get(target).copied().unwrap_or(self.each);
        Some(limit).filter(|limit| *limit > 0)
    }

    /// The targets with a limit of their own, by name; 0 is without limit.
    pub fn by_target(&self) -> impl ExactSizeIterator<Item = (&str, u64)> {
        self.by_target
            .iter()
            .map(|(target, limit)| (target.as_str(), *limit))
    }

    /// Sets the limit of one target, or of each that has none of its own.
    pub(crate) fn set(&mut self, target: Option<&str>, limit: u64) {
        match target {
            Some(target) => {
                self.by_target.insert(target.to_owned(), limit);
            }
            None => self.each = limit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_targets_own_limit_comes_first() {
        let mut limits = ReproxyLimits::default();
        assert_eq!(limits.of("10.0.0.1:80"), None);
        limits.set(None, 5);
        limits.set(Some("10.0.0.1:80"), 2);
        limits.set(Some("10.0.0.2:80"), 0);
        assert_eq!(limits.of("10.0.0.1:80"), Some(2));
        assert_eq!(limits.of("10.0.0.2:80"), None);
        assert_eq!(limits.of("10.0.0.3:80"), Some(5));
    }
}
