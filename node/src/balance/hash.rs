//! `hash`: the same key goes to the same backend, on every node, without a word between them.
//!
//! A Maglev table (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, section
//! 3.4): each backend has an order of all places of its own, and takes its next free one in turn, the oftener the more
//! it weighs. It depends on the addresses and weights alone, not on the order or time in which they were added; one
//! that goes leaves its places to the others, and hardly any of theirs change hands. One that cannot be used now keeps
//! its places; who asks for one of them gets another place's, and nobody else notices.

use sha2::{Digest, Sha256};

use super::weights::Weights;

/// Places. A prime; a hundred for each of 655 backends, which keeps their parts within some percent. With more they
/// differ more.
const PLACES: usize = 65_537;

/// Places that are looked at before any backend that can be used will do.
const PATIENCE: usize = 1_024;

/// The table of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maglev {
    table: Box<[u16]>,
}

impl Maglev {
    /// The table for backends with these names, which are the same on every node, and weights. Of more than 65,536
    /// backends the last have no place.
    pub fn new(names: &[String], weights: &Weights) -> Self {
        let mut order: Vec<_> = (0..=u16::MAX).zip(names).collect();
        order.sort_by_key(|(_, name)| *name);
        let backends = order.into_iter().map(|(at, name)| Taker::new(at, name, weights));
        let mut backends: Vec<_> = backends.filter(|backend| backend.weight > 0).collect();
        let heaviest = backends
            .iter()
            .map(|backend| backend.weight)
            .max()
            .unwrap_or_default();
        for backend in &mut backends {
            // Everybody takes one in the first round, however little it weighs.
            backend.saved = heaviest - backend.weight;
        }
        let mut table = vec![None; if backends.is_empty() { 0 } else { PLACES }];
        let mut free = table.len();
        while free > 0 {
            for backend in &mut backends {
                // The heaviest takes a place each round, the others when they have saved up for one.
                backend.saved += backend.weight;
                if backend.saved >= heaviest && free > 0 {
                    backend.saved -= heaviest;
                    backend.take(&mut table);
                    free -= 1;
                }
            }
        }
        Self {
            table: table.into_iter().flatten().collect(),
        }
    }

    /// Picks the backend of a key's hash, or else the next usable one in an order of that key's own: the same wherever
    /// the same ones are usable.
    pub fn pick(&self, hash: u64, count: usize, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let start = place(mixed(hash));
        // Each key has steps of its own: beside the places of a backend are too often those of the same other one.
        let step = 1 + place(mixed(mixed(hash))) % (PLACES - 1);
        let places = (0..PATIENCE).filter_map(|number| self.table.get((start + number * step) % PLACES));
        let found = places.map(|at| usize::from(*at)).find(|at| usable(*at));
        found.or_else(|| {
            let first = start.checked_rem(count)?;
            (first..count).chain(0..first).find(|at| usable(*at))
        })
    }
}

/// A backend that takes places.
struct Taker {
    at: u16,
    weight: u64,
    /// Towards its next place.
    saved: u64,
    next: usize,
    step: usize,
}

impl Taker {
    fn new(at: u16, name: &str, weights: &Weights) -> Self {
        let digest = Sha256::digest(name);
        let (offset, rest) = digest.split_first_chunk().unwrap_or((&[0; 8], &[]));
        let skip = rest.first_chunk().unwrap_or(&[0; 8]);
        let step = u64::from_be_bytes(*skip) % (PLACES as u64 - 1) + 1;
        Self {
            at,
            weight: weights.of(at.into()).into(),
            saved: 0,
            next: place(u64::from_be_bytes(*offset)),
            step: place(step),
        }
    }

    /// Takes the next free place of its order, which comes past all of them.
    fn take(&mut self, table: &mut [Option<u16>]) {
        for _ in 0..PLACES {
            let at = self.next;
            self.next = (at + self.step) % PLACES;
            if let Some(place @ None) = table.get_mut(at) {
                *place = Some(self.at);
                return;
            }
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "it is below PLACES")]
const fn place(number: u64) -> usize {
    (number % PLACES as u64) as usize
}

/// Spreads what a weak hash has in some bits over all of them (the finalizer of splitmix64).
pub const fn mixed(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::super::distribution::{assert_follows, count};
    use super::*;

    fn names(numbers: impl IntoIterator<Item = u8>) -> Vec<String> {
        numbers.into_iter().map(|n| format!("10.0.0.{n}:80")).collect()
    }

    fn even(names: &[String]) -> Maglev {
        Maglev::new(names, &Weights::new(vec![1; names.len()]))
    }

    /// Keys by the name of their backend.
    fn owners(names: &[String], table: &Maglev, usable: impl Fn(usize) -> bool) -> Vec<String> {
        let of = |key| table.pick(key, names.len(), &usable).unwrap();
        (0..50_000).map(|key| names[of(key)].clone()).collect()
    }

    fn places_of(table: &Maglev, backends: usize) -> Vec<u64> {
        let mut places = table.table.iter();
        count(backends, PLACES, || places.next().map(|at| usize::from(*at)))
    }

    #[test]
    fn keys_spread_by_weight() {
        let names = names(1..=3);
        let table = Maglev::new(&names, &Weights::new([1, 2, 5]));
        let mut key = 0;
        let mut next = || {
            key += 1;
            table.pick(key, 3, |_| true)
        };
        assert_follows(&count(3, 20_000, &mut next), &[1.0, 2.0, 5.0]);
        // Places are handed out, not drawn.
        let places = places_of(&table, 3);
        for (places, weight) in places.iter().zip([1, 2, 5]) {
            assert!(
                places.abs_diff(PLACES as u64 * weight / 8) <= 2,
                "{places} of weight {weight}"
            );
        }
        let ten = super::tests::names(1..=10);
        let places = places_of(&even(&ten), 10);
        assert!(places.iter().max().unwrap() - places.iter().min().unwrap() <= 1);
    }

    #[test]
    fn all_nodes_agree_whatever_the_order() {
        let (there, here) = (names(1..=9), names((1..=9).rev()));
        let agreed = owners(&there, &even(&there), |_| true);
        assert_eq!(agreed, owners(&here, &even(&here), |_| true));
        // And so do releases: this is the table of the first one.
        let digest = |table: &Maglev| {
            let bytes: Vec<u8> = table.table.iter().flat_map(|at| at.to_be_bytes()).collect();
            Sha256::digest(bytes)[..4].to_vec()
        };
        assert_eq!(digest(&even(&there)), PINNED);
    }

    const PINNED: [u8; 4] = [123, 47, 24, 170];

    #[test]
    fn one_that_goes_moves_hardly_any_other_key() {
        for backends in [5, 20] {
            let before = names(1..=backends);
            let after = names((1..=backends).filter(|n| *n != 3));
            let (was, is) = (
                owners(&before, &even(&before), |_| true),
                owners(&after, &even(&after), |_| true),
            );
            let moved = was.iter().zip(&is).filter(|(was, is)| was != is).count();
            let had_to = was.iter().filter(|name| **name == before[2]).count();
            // Of the keys that could stay, some percent move.
            let others = was.len() - had_to;
            assert!(
                moved >= had_to && moved - had_to < others * 4 / 100,
                "{backends}: {moved}, {had_to} had to"
            );
            let mut gained = vec![0; after.len()];
            for (_, is) in was.iter().zip(&is).filter(|(was, _)| **was == before[2]) {
                gained[after.iter().position(|name| name == is).unwrap()] += 1;
            }
            assert_follows(&gained, &vec![1.0; after.len()]);
        }
    }

    #[test]
    fn one_that_cannot_be_used_moves_no_other_key() {
        let names = names(1..=6);
        let table = even(&names);
        let (was, is) = (
            owners(&names, &table, |_| true),
            owners(&names, &table, |at| at != 2),
        );
        let mut gained = vec![0; 6];
        for (was, is) in was.iter().zip(&is) {
            if *was == names[2] {
                gained[names.iter().position(|name| name == is).unwrap()] += 1;
            } else {
                assert_eq!(was, is);
            }
        }
        assert_follows(&gained, &[1.0, 1.0, 0.0, 1.0, 1.0, 1.0]);
        // With hardly any left, they are found, and with none, none.
        assert_eq!(table.pick(7, 6, |at| at == 4), Some(4));
        assert_eq!(table.pick(7, 6, |_| false), None);
    }

    #[test]
    fn the_smallest_has_a_place_and_an_empty_pool_no_pick() {
        let names = names(1..=2);
        let table = Maglev::new(&names, &Weights::new([1, 1_000_000]));
        assert_eq!(places_of(&table, 2), [1, PLACES as u64 - 1]);
        let nothing = Maglev::new(&[], &Weights::new([]));
        assert_eq!(nothing.pick(7, 0, |_| true), None);
        let weightless = Maglev::new(&names, &Weights::new([0, 0]));
        assert!(weightless.pick(7, 2, |_| true).is_some());
    }
}
