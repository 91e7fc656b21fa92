//! A node whose store failed: it says so, goes on with traffic, and leaves new traffic to those that can do better.

use std::time::{Duration, Instant};

use fleetbal_raft::Cluster;

use crate::effects::{Effects, Failure};
use crate::gossip::{FleetView, NodeState};
use crate::monitor::readiness::Readiness;

/// What the failure is about, in `effects`.
const STORE: &str = "store";

/// How often it looks whether the others are better off.
const LOOK: Duration = Duration::from_millis(500);

/// Waits until the store fails; then keeps readiness right. Where every live node has the same trouble, it is no
/// reason to get no traffic.
pub(super) async fn watch(cluster: Cluster, effects: Effects, readiness: Readiness, fleet: FleetView) {
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
    loop {
        let nodes = fleet.nodes();
        let better_off = nodes.iter().any(|node| {
            let has_it = node.troubles.iter().any(|trouble| trouble.object == STORE);
            !node.is_self && node.state == NodeState::Alive && !has_it
        });
        readiness.set_store_failed(better_off);
        tokio::time::sleep(LOOK).await;
    }
}
