//! Who checks a backend: rendezvous hashing. Each node has a score for each backend, and the highest few check it. All
//! nodes come to the same answer without talking; a node that comes or goes moves its own share and nothing else.

use std::collections::BTreeSet;
use std::sync::Arc;

use fleetbal_raft::model::BackendAddress;
use sha2::{Digest, Sha256};

/// The checkers of one backend, the one with the highest score first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkers {
    backend: BackendAddress,
    count: usize,
    best: Vec<(u64, Arc<str>)>,
}

impl Checkers {
    /// The `count` best of these nodes; all of them, where there are no more.
    pub fn choose(backend: BackendAddress, count: usize, nodes: &BTreeSet<Arc<str>>) -> Self {
        let mut chosen = Self {
            backend,
            count,
            best: Vec::with_capacity(count + 1),
        };
        for node in nodes {
            chosen.consider(node);
        }
        chosen
    }

    /// Follows a change of the live nodes. Looks at those that came alone, unless a checker went.
    pub fn follow(&mut self, came: &[Arc<str>], went: &[Arc<str>], nodes: &BTreeSet<Arc<str>>) {
        if went.iter().any(|node| self.has(node)) {
            *self = Self::choose(self.backend, self.count, nodes);
            return;
        }
        for node in came {
            self.consider(node);
        }
    }

    /// How many there should be.
    pub fn wanted(&self) -> usize {
        self.count
    }

    /// Whether this node is one of them.
    pub fn has(&self, node: &str) -> bool {
        self.names().any(|name| &**name == node)
    }

    /// Their names.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &Arc<str>> {
        self.best.iter().map(|(_, name)| name)
    }

    fn consider(&mut self, node: &Arc<str>) {
        if self.has(node) {
            return;
        }
        let candidate = (score(self.backend, node), Arc::clone(node));
        let at = self.best.partition_point(|other| *other > candidate);
        if at < self.count {
            self.best.insert(at, candidate);
            self.best.truncate(self.count);
        }
    }
}

/// SHA-256, so that it is the same in every release and on every machine.
fn score(backend: BackendAddress, node: &str) -> u64 {
    let mut hash = Sha256::new();
    hash.update(backend.to_string());
    hash.update([0]);
    hash.update(node);
    let digest: [u8; 32] = hash.finalize().into();
    digest
        .iter()
        .take(8)
        .fold(0, |score, byte| score << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn nodes(numbers: impl IntoIterator<Item = u16>) -> BTreeSet<Arc<str>> {
        numbers.into_iter().map(|n| format!("n{n}").into()).collect()
    }

    fn backend(number: u16) -> BackendAddress {
        BackendAddress::parse(&format!("10.0.{}.{}:80", number >> 8, number & 255)).unwrap()
    }

    proptest! {
        #[test]
        fn following_a_change_is_choosing_anew(
            before in prop::collection::btree_set(0_u16..40, 0..30),
            after in prop::collection::btree_set(0_u16..40, 0..30),
            number in any::<u16>(),
            count in 1_usize..4,
        ) {
            let (before, after) = (nodes(before), nodes(after));
            let mut checkers = Checkers::choose(backend(number), count, &before);
            prop_assert_eq!(checkers.names().len(), count.min(before.len()));
            let came: Vec<_> = after.difference(&before).cloned().collect();
            let went: Vec<_> = before.difference(&after).cloned().collect();
            checkers.follow(&came, &went, &after);
            prop_assert_eq!(&checkers, &Checkers::choose(backend(number), count, &after));
        }

        #[test]
        fn a_node_that_goes_moves_its_own_share_only(
            all in prop::collection::btree_set(0_u16..40, 3..30),
            number in any::<u16>(),
        ) {
            let gone = nodes(all.iter().copied().take(1));
            let all = nodes(all);
            let left: BTreeSet<_> = all.difference(&gone).cloned().collect();
            let before = Checkers::choose(backend(number), 2, &all);
            let after = Checkers::choose(backend(number), 2, &left);
            for name in before.names().filter(|name| left.contains(*name)) {
                prop_assert!(after.has(name));
            }
        }
    }

    #[test]
    fn the_work_is_spread_evenly() {
        let nodes = nodes(0..50);
        let mut shares: BTreeMap<Arc<str>, u32> = BTreeMap::new();
        for number in 0..5_000 {
            for name in Checkers::choose(backend(number), 2, &nodes).names() {
                *shares.entry(Arc::clone(name)).or_default() += 1;
            }
        }
        assert_eq!(shares.len(), 50);
        // 200 each on average; five standard deviations either way.
        assert!(
            shares.values().all(|share| (130..270).contains(share)),
            "{shares:?}"
        );
    }

    #[test]
    fn the_choice_is_the_same_in_every_release() {
        let checkers = Checkers::choose(backend(7), 2, &nodes(1..=6));
        let names: Vec<_> = checkers.names().map(ToString::to_string).collect();
        assert_eq!(names, ["n3", "n4"]);
    }
}
