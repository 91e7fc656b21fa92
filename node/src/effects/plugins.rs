//! Plugins that this node does not run as the configuration says: they failed too often, or cannot run here at all.

use super::Failure;
use crate::plugin::Trouble;
use crate::snapshot::Snapshot;

/// As failed effects. None of them keeps the node from serving.
pub(super) fn failures(snapshot: &Snapshot) -> Vec<Failure> {
    let mut found = Vec::new();
    for (service, view) in snapshot.services() {
        let links = view.hooks.iter().flat_map(|hooks| hooks.all());
        for (plugin, failures) in links.filter_map(|(plugin, hook)| Some((plugin, hook.failures()?))) {
            let troubles = failures.off.into_iter().chain(failures.refused);
            found.extend(troubles.map(|Trouble { since, reason }| Failure {
                object: format!("plugin {plugin} of {service}"),
                reason,
                since,
            }));
        }
    }
    found
}
