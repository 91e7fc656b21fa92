//! What tells one cache of reproxied URLs from another.

/// How a service's cache of reproxied URLs is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheRules {
    /// The most entries; above 0.
    pub entries: usize,
    /// Tells one cache from another that came before it: what that had is gone.
    pub epoch: u64,
}
