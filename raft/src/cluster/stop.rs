//! How a node ends: somebody else leads before it is gone.

use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::Inner;

/// How long a leader that goes down waits for another.
const HAND_OVER: Duration = Duration::from_secs(1);

/// How often a leader that goes down looks for a voter that has caught up.
const HEIR: Duration = Duration::from_millis(10);

impl Inner {
    pub(super) async fn shutdown(&self) {
        let was_stopping = self.stopping.send_replace(true);
        if !was_stopping && self.leader() == Some(self.node_id) {
            self.hand_over().await;
        }
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "the replicated log did not end in order");
        }
        self.tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .abort_all();
    }

    /// Gives the leadership to another voter, so that nobody has to wait for an election.
    async fn hand_over(&self) {
        if self.voters().len() < 2 {
            return;
        }
        let handing_over = async {
            let heir = loop {
                match self.heir() {
                    Some(heir) => break heir,
                    None => sleep(HEIR).await,
                }
            };
            if self.raft.trigger().transfer_leader(heir).await.is_ok() {
                self.led_by_another_than(self.node_id).await;
            }
        };
        if timeout(HAND_OVER, handing_over).await.is_err() {
            tracing::warn!("the leadership was not taken over in time");
        }
    }
}
