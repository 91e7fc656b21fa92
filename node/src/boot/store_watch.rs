//! A node whose store failed: it says so, and goes on with traffic for as long as nobody can do better.

use std::time::Instant;

use fleetbal_raft::Cluster;

use crate::effects::{Effects, Failure};

/// What the failure is about, in `effects`.
const STORE: &str = "store";

/// Waits until the store fails, and reports it.
pub(super) async fn watch(cluster: Cluster, effects: Effects) {
    let reason = cluster.store_failed().await;
    let version = cluster.feed().latest().state.config.version;
    tracing::error!(
        "{reason}; this node goes on with traffic by version {version}, and takes part in no change until it is \
         started again"
    );
    effects.report(&Failure {
        object: STORE.to_owned(),
        reason,
        since: Instant::now(),
    });
}
