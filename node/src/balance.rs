//! Which backend of a pool gets a request. Pure: who may be chosen and all randomness are passed in.

pub mod random;
pub mod round_robin;

use fleetbal_raft::model::BalanceMethod;
use rand::Rng;

/// Whether any idle connection will do, whichever backend it leads to; else the backend is picked first.
pub const fn takes_any_idle(method: BalanceMethod) -> bool {
    match method {
        BalanceMethod::Random => true,
        BalanceMethod::RoundRobin => false,
    }
}

/// Picks one of `count` backends among those that are usable. `turn` is one higher for each request.
pub fn pick(
    method: BalanceMethod,
    count: usize,
    usable: impl Fn(usize) -> bool,
    turn: usize,
    rng: &mut impl Rng,
) -> Option<usize> {
    match method {
        BalanceMethod::Random => random::pick(count, usable, rng),
        BalanceMethod::RoundRobin => round_robin::pick(count, usable, turn),
    }
}
