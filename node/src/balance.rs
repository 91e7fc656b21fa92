//! Which backend of a pool gets a request. The algorithms are pure: who may be chosen, what is known of the backends,
//! time and all randomness are passed in. None waits, and none takes a lock.

#[cfg(test)]
mod distribution;
pub mod hash;
pub mod least_connections;
pub mod random;
pub mod reported_load;
pub mod response_time;
pub mod round_robin;
pub mod stamped;
pub mod two_choices;
pub mod weights;

use std::sync::Arc;
use std::time::Instant;

use fleetbal_raft::model::BalanceMethod;
use rand::Rng;

use crate::snapshot::{PoolView, millis};
use hash::Maglev;
use round_robin::Round;
pub use weights::Weights;

/// What a method wants to know of a request.
#[derive(Debug, Clone, Copy)]
pub struct Pick {
    /// One higher for each request, over all workers ([`PoolView::next_turn`]); for `round_robin`.
    pub turn: usize,
    /// The hash of the request's key, the same on every node; for `hash`.
    pub hash: u64,
    /// The time; for the methods that go by figures, which age.
    pub now: Instant,
}

/// A method, with what it has worked out for one version of a pool.
#[derive(Debug, Clone)]
pub enum Plan {
    /// [`random`]: any idle connection will do, whichever backend it leads to.
    Random,
    /// [`round_robin`].
    RoundRobin(Round),
    /// [`random`], but for each request.
    Weighted,
    /// [`least_connections`].
    LeastConnections,
    /// [`response_time`].
    ResponseTime,
    /// [`reported_load`].
    ReportedLoad,
    /// [`hash`].
    Hash(Arc<Maglev>),
}

impl Plan {
    /// Works out what a method needs for backends of these names and weights.
    pub fn new(method: BalanceMethod, names: impl FnOnce() -> Vec<String>, weights: &Weights) -> Self {
        match method {
            BalanceMethod::Random => Self::Random,
            BalanceMethod::RoundRobin => Self::RoundRobin(Round::new(weights)),
            BalanceMethod::Weighted => Self::Weighted,
            BalanceMethod::LeastConnections => Self::LeastConnections,
            BalanceMethod::ResponseTime => Self::ResponseTime,
            BalanceMethod::ReportedLoad => Self::ReportedLoad,
            BalanceMethod::Hash => Self::Hash(Arc::new(Maglev::new(&names(), weights))),
        }
    }

    /// Whether any idle connection will do; else the backend is picked first, then one of its connections.
    #[inline]
    pub const fn takes_any_idle(&self) -> bool {
        matches!(self, Self::Random)
    }

    /// Whether it goes by [`Pick::turn`].
    pub const fn takes_turns(&self) -> bool {
        matches!(self, Self::RoundRobin(_))
    }

    /// Whether it goes by what was learned of the backends, so that requests and answers have to be told to them.
    #[inline]
    pub const fn learns(&self) -> bool {
        matches!(
            self,
            Self::LeastConnections | Self::ResponseTime | Self::ReportedLoad
        )
    }
}

/// Picks one of the pool's backends, by its place among [`PoolView::backends`], of those that are usable. Who is
/// draining or barred, or was tried already, is the caller's business.
pub fn pick(
    pool: &PoolView,
    request: Pick,
    usable: impl Fn(usize) -> bool,
    rng: &mut impl Rng,
) -> Option<usize> {
    let weights = pool.weights();
    let now = || millis(request.now);
    let backend = |at: usize| pool.backends().get(at);
    match pool.plan() {
        Plan::Random | Plan::Weighted => random::pick(weights, usable, rng),
        Plan::RoundRobin(round) => round.pick(weights, request.turn, usable, rng),
        Plan::LeastConnections => {
            let in_flight = |at| backend(at).map_or(u32::MAX, |backend| backend.in_flight());
            least_connections::pick(weights, in_flight, usable, rng)
        }
        Plan::ResponseTime => {
            let now = now();
            let pace = |at| backend(at).map(|backend| backend.pace(now)).unwrap_or_default();
            response_time::pick(weights, pace, usable, rng)
        }
        Plan::ReportedLoad => {
            let now = now();
            let load = |at| backend(at).map(|backend| backend.load(now)).unwrap_or_default();
            reported_load::pick(weights, load, usable, rng)
        }
        Plan::Hash(table) => table.pick(request.hash, weights.count(), usable),
    }
}
