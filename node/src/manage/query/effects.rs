//! `effects`: what nodes could not do of the configuration.

use fleetbal_raft::model::UnixMillis;

use super::cluster::aligned;
use crate::gossip::{NodeState, NodeView};

const COLUMNS: [&str; 5] = ["NODE", "OBJECT", "STATE", "SINCE", "REASON"];

/// A line for each failed effect of a node that lives, below the names of the columns; `SINCE` is in seconds. The
/// reason comes last, for it has blanks.
pub fn lines(nodes: &[NodeView], now: UnixMillis) -> Vec<String> {
    let mut rows = vec![COLUMNS.map(str::to_owned).to_vec()];
    let living = nodes
        .iter()
        .filter(|node| matches!(node.state, NodeState::Alive | NodeState::Suspect));
    for node in living {
        rows.extend(node.troubles.iter().map(|trouble| {
            vec![
                node.name.clone(),
                trouble.object.clone(),
                "failed".to_owned(),
                (now.0.saturating_sub(trouble.since.0) / 1000).to_string(),
                trouble.reason.clone(),
            ]
        }));
    }
    aligned(&rows, &[])
}
