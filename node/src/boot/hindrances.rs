//! What keeps this node from serving as it should: an effect or a store that failed, a pool of which it reaches no
//! backend. It is no reason to send the traffic elsewhere as long as nobody is better off: what all nodes share never
//! empties a VIP.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::checks::Health;
use crate::effects::Effects;
use crate::gossip::{FleetView, HINDRANCES_MAX, NodeState, NodeView};
use crate::monitor::readiness::Readiness;

/// How often it looks whether the others are better off.
const LOOK: Duration = Duration::from_millis(500);

/// How long a node that is ready waits whether others have an effect's trouble as well.
const EFFECT_PATIENCE: Duration = Duration::from_secs(1);

/// Something that keeps a node from serving.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hindrance {
    /// The same on each node that has it.
    name: String,
    reason: String,
    /// For how long.
    age: Duration,
    /// How old it has to be before a node that is ready gives that up; none: never, for it is known from others alone.
    counts_after: Option<Duration>,
}

/// Where it is told of.
#[derive(Debug, Clone)]
pub(super) struct Hindrances {
    pub(super) effects: Effects,
    pub(super) health: Health,
}

impl Hindrances {
    /// The names of all that this node has, for the others.
    pub(super) fn names(&self) -> BTreeSet<String> {
        self.all().into_iter().map(|hindrance| hindrance.name).collect()
    }

    fn all(&self) -> Vec<Hindrance> {
        let now = Instant::now();
        let effects = self.effects.hindering().into_iter().map(|failure| Hindrance {
            reason: format!("{}: {}", failure.object, failure.reason),
            name: failure.object,
            age: now.saturating_duration_since(failure.since),
            counts_after: Some(EFFECT_PATIENCE),
        });
        let pools = self.health.unreachable().into_iter().map(|pool| Hindrance {
            name: format!("backends of {}", pool.name),
            reason: format!("pool {}: none of its backends can be reached", pool.name),
            age: pool.since,
            counts_after: pool.is_seen_here.then_some(pool.patience),
        });
        effects.chain(pools).collect()
    }

    /// Keeps readiness right.
    pub(super) async fn watch(self, readiness: Readiness, mut fleet: FleetView) {
        let mut hindered = false;
        loop {
            let own = self.all();
            // Nobody waits for a node that has not been ready yet.
            let is_patient = !hindered && readiness.not_ready().is_none();
            let decisive = decisive(&own, &fleet.nodes(), is_patient);
            if hindered != decisive.is_some() {
                let reason = decisive.map(|hindrance| hindrance.reason.as_str());
                tracing::warn!(
                    reason,
                    "what keeps this node from serving, though others are better off, has changed"
                );
            }
            hindered = decisive.is_some();
            readiness.set_hindered(decisive.map(|hindrance| hindrance.reason.clone()));
            tokio::select! {
                true = fleet.changed() => tokio::time::sleep(LOOK / 10).await,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }
}

/// What speaks against traffic here: something that another node does not have which has nothing else either. So of
/// any nodes those with the fewest troubles stay ready.
fn decisive<'a>(own: &'a [Hindrance], nodes: &[NodeView], is_patient: bool) -> Option<&'a Hindrance> {
    let names: BTreeSet<_> = own.iter().map(|hindrance| &hindrance.name).collect();
    let better: Vec<_> = nodes
        .iter()
        .filter(|node| !node.is_self && node.state == NodeState::Alive && node.ready == Some(true))
        .filter_map(|node| node.hindrances.as_ref())
        .filter(|theirs| theirs.len() < HINDRANCES_MAX && theirs.iter().all(|name| names.contains(name)))
        .collect();
    own.iter().find(|hindrance| {
        let counts = |after| !is_patient || hindrance.age >= after;
        hindrance.counts_after.is_some_and(counts)
            && better.iter().any(|theirs| !theirs.contains(&hindrance.name))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gossip::NodeState;

    fn hindrance(name: &str, age: u64) -> Hindrance {
        Hindrance {
            name: name.to_owned(),
            reason: format!("{name}: broken"),
            age: Duration::from_secs(age),
            counts_after: Some(Duration::from_secs(3)),
        }
    }

    fn node(name: &str, ready: bool, hindrances: Option<&[&str]>) -> NodeView {
        NodeView {
            ready: Some(ready),
            hindrances: hindrances.map(|names| names.iter().map(ToString::to_string).collect()),
            ..NodeView::unheard(name, NodeState::Alive)
        }
    }

    fn name<'a>(own: &'a [Hindrance], nodes: &[NodeView]) -> Option<&'a str> {
        decisive(own, nodes, true).map(|hindrance| hindrance.name.as_str())
    }

    #[test]
    fn what_another_does_not_have_counts_and_what_all_have_does_not() {
        let own = [hindrance("store", 9), hindrance("service www", 9)];
        let well = node("n2", true, Some(&[]));
        let same = node("n3", true, Some(&["store", "service www"]));
        assert_eq!(name(&own, &[]), None, "there is nobody else");
        assert_eq!(name(&own, &[well.clone(), same.clone()]), Some("store"));
        assert_eq!(name(&own, std::slice::from_ref(&same)), None);
        let half = node("n3", true, Some(&["store"]));
        assert_eq!(name(&own, &[same, half]), Some("service www"));
        let other = node("n3", true, Some(&["service mail"]));
        assert_eq!(name(&own, &[other]), None, "it is no better off");
        let silent = node("n2", true, None);
        assert_eq!(name(&own, &[silent]), None, "an older release does not say");
        let drained = node("n2", false, Some(&[]));
        assert_eq!(name(&own, &[drained]), None, "it does not take the traffic");
        let dead = NodeView {
            state: NodeState::Dead,
            ..well.clone()
        };
        assert_eq!(name(&own, &[dead]), None);
        let itself = NodeView {
            is_self: true,
            ..well
        };
        assert_eq!(name(&own, &[itself]), None);
    }

    #[test]
    fn who_is_ready_waits_a_moment_and_hearsay_never_counts() {
        let well = [node("n2", true, Some(&[]))];
        let young = [hindrance("store", 2)];
        assert_eq!(name(&young, &well), None);
        assert!(decisive(&young, &well, false).is_some());
        let hearsay = [Hindrance {
            counts_after: None,
            ..hindrance("backends of web", 99)
        }];
        assert_eq!(decisive(&hearsay, &well, false), None);
    }

    proptest! {
        /// Whatever the nodes suffer from, and whoever looks first: somebody stays.
        #[test]
        fn troubles_never_empty_a_fleet(
            all in prop::collection::vec(prop::collection::btree_set(0_u8..4, 0..4), 1..6),
            order in prop::collection::vec(any::<prop::sample::Index>(), 30),
        ) {
            let names = |of: &BTreeSet<u8>| -> Vec<String> { of.iter().map(|n| format!("t{n}")).collect() };
            let mut ready = vec![true; all.len()];
            for index in order {
                let at = index.index(all.len());
                let own: Vec<_> = names(&all[at]).iter().map(|name| hindrance(name, 9)).collect();
                let nodes: Vec<_> = all.iter().zip(&ready).enumerate().map(|(other, (of, ready))| NodeView {
                    is_self: other == at,
                    hindrances: Some(names(of).into_iter().collect()),
                    ..node("n", *ready, None)
                }).collect();
                ready[at] = decisive(&own, &nodes, true).is_none();
                prop_assert!(ready.contains(&true));
            }
        }
    }
}
