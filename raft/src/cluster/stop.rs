//! How a node ends: somebody else leads before it is gone.

use std::sync::PoisonError;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver as _;
use tokio::time::{sleep, timeout};

use super::Inner;
use super::transfer::HandOverError;

/// How long a leader that goes down waits for another.
const HAND_OVER: Duration = Duration::from_secs(1);

/// How often a leader that goes down looks for a voter that has caught up.
const HEIR: Duration = Duration::from_millis(10);

impl Inner {
    pub(crate) fn is_stopping(&self) -> bool {
        *self.stopping.borrow() || self.raft.metrics().borrow_watched().running_state.is_err()
    }

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

    pub(super) async fn store_failed(&self) -> String {
        let mut metrics = self.raft.metrics();
        let fatal = loop {
            let state = metrics.borrow_and_update().running_state.clone();
            match state {
                Err(fatal) if !*self.stopping.borrow() => break fatal.to_string(),
                Ok(()) | Err(_) => {}
            }
            if metrics.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let place = self.home.as_ref().map(|home| home.dir.raft_path());
        let place = place.map_or_else(|| "memory".to_owned(), |path| path.display().to_string());
        let reason = self.log_failure.get().map_or(fatal, str::to_owned);
        format!("the store {place} failed: {reason}")
    }

    /// Gives the leadership to another voter, so that nobody has to wait for an election.
    async fn hand_over(&self) {
        if self.voters().len() < 2 {
            return;
        }
        let heir = async {
            loop {
                match self.heir() {
                    Some(heir) => return heir,
                    None => sleep(HEIR).await,
                }
            }
        };
        let outcome = match timeout(HAND_OVER, heir).await {
            Ok(heir) => self.hand_over_to(heir).await,
            Err(_) => Err(HandOverError::Behind),
        };
        if let Err(error) = outcome {
            tracing::warn!(%error, "the leadership was not taken over in time");
        }
    }
}
