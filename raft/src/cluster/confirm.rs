//! The undoing of what nobody confirmed in time.
//!
//! Every node counts by its own monotonic clock from when it saw the version, so a new leader has counted since its
//! election at the latest. Whoever leads when the time is over asks for the undoing; the log decides whether a `confirm`
//! came first.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::Inner;
use crate::model::{Answer, Command, Pending, RequestId};

/// How long the undoing of one version is tried before it is looked at anew.
const UNDO: Duration = Duration::from_secs(5);

/// How soon it is looked at again whether this node leads.
const SOON: Duration = Duration::from_millis(50);

/// Who the history names as the typist.
const NOBODY: &str = "no confirm";

impl Inner {
    /// Starts to undo what is not confirmed.
    pub(super) fn begin_to_undo(self: &Arc<Self>) {
        let node = Arc::clone(self);
        self.keep(async move { node.undo_unconfirmed().await });
    }

    async fn undo_unconfirmed(&self) {
        let mut feed = self.feed.clone();
        let mut waiting: Option<(Pending, Instant)> = None;
        loop {
            let pending = feed.latest().state.history().pending();
            waiting = match (pending, waiting) {
                (None, _) => None,
                (Some(pending), Some((known, due))) if pending == known => Some((known, due)),
                (Some(pending), _) => Some((pending, Instant::now() + seconds(pending))),
            };
            let Some((pending, due)) = waiting else {
                if !feed.changed().await {
                    return;
                }
                continue;
            };
            tokio::select! {
                goes_on = feed.changed() => if !goes_on { return },
                () = sleep_until(due) => self.undo_or_wait(pending).await,
            }
        }
    }

    async fn undo_or_wait(&self, pending: Pending) {
        if self.leader() != Some(self.node_id) {
            self.leader_changes_from(self.leader(), SOON).await;
            return;
        }
        let version = pending.version;
        let request_id = RequestId(rand::random());
        let undone = self
            .propose_command(request_id, Command::Undo(version), NOBODY.into(), UNDO)
            .await;
        match undone.map(|proposed| proposed.answer) {
            Ok(Answer::Applied(now)) => {
                tracing::warn!(%version, %now, "undone: nobody confirmed it in time");
            }
            // Somebody confirmed it at the last moment, or the fleet cannot agree now.
            Ok(_) => {}
            Err(error) => tracing::warn!(%version, %error, "not confirmed in time, and not undone yet"),
        }
    }
}

fn seconds(pending: Pending) -> Duration {
    Duration::from_secs(u64::from(pending.seconds))
}
