//! What a request on a connection teaches about its backend, for the balance methods that go by it.

use std::time::Instant;

use super::Lease;
use crate::balance::{Plan, reported_load};
use crate::snapshot::PoolView;

impl Lease {
    /// A request goes out on it. Where the pool learns nothing, neither does this.
    #[inline]
    pub fn begin(&mut self, pool: &PoolView) {
        if pool.learns() {
            self.state.open.begin_request(Instant::now());
        }
    }

    /// The head of the final answer has come, which is `head`.
    #[inline]
    pub fn learn(&mut self, pool: Option<&PoolView>, head: &[u8]) {
        if self.state.open.is_counted()
            && let Some(pool) = pool
        {
            self.learn_from(pool, head);
        }
    }

    fn learn_from(&mut self, pool: &PoolView, head: &[u8]) {
        let now = Instant::now();
        let elapsed = self.state.open.request_answered(now);
        if let Some(elapsed) = elapsed.filter(|_| pool.times_answers()) {
            self.backend().took(elapsed);
        }
        match pool.plan() {
            Plan::ResponseTime => {
                if let Some(elapsed) = elapsed {
                    self.backend().answered(now, elapsed);
                }
            }
            Plan::ReportedLoad => {
                if let Some(load) = reported_load::read(head, pool.load_header()) {
                    self.backend().reported(now, load);
                }
            }
            Plan::Random | Plan::RoundRobin(_) | Plan::Weighted | Plan::LeastConnections | Plan::Hash(_) => {}
        }
    }

    /// The answer is through; the connection may serve another request.
    #[inline]
    pub fn end(&mut self) {
        self.state.open.end_request();
    }
}
