//! A leader without anybody to lead needs no clock of the consensus: nobody waits for its heartbeats, and nobody could be
//! elected in its place.

use std::sync::Arc;

use openraft::ServerState;
use openraft::async_runtime::WatchReceiver as _;

use super::Inner;

impl Inner {
    pub(super) fn begin_to_rest(self: &Arc<Self>) {
        let node = Arc::clone(self);
        self.keep(async move { node.rest_while_alone().await });
    }

    /// Stops that clock, which wakes a thread fifty times a second, for as long as this node leads and is all there is.
    async fn rest_while_alone(&self) {
        let mut metrics = self.raft.server_metrics();
        loop {
            let is_alone = {
                let now = metrics.borrow_and_update();
                now.state == ServerState::Leader && now.membership_config.nodes().count() == 1
            };
            self.raft.runtime_config().tick(!is_alone);
            if metrics.changed().await.is_err() {
                return;
            }
        }
    }
}
