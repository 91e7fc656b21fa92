//! From one list of backends to another, order included: whoever stays in order is not touched.

use std::collections::{BTreeMap, BTreeSet};

use super::super::address::BackendAddress;
use super::super::change::Change;
use super::super::name::PoolName;
use super::super::pool::Backend;

/// From so many steps on a list that is changed in more than a quarter of its places is replaced as a whole.
const MANY: usize = 256;

/// The steps from one list to the other.
pub(super) fn diff(pool: &PoolName, before: &[Backend], after: &[Backend], changes: &mut Vec<Change>) {
    // Most changes are of one place in a long list.
    let alike = |(ours, theirs): &(&Backend, &Backend)| ours == theirs;
    let head = before.iter().zip(after).take_while(alike).count();
    let (old, new) = (
        before.get(head..).unwrap_or_default(),
        after.get(head..).unwrap_or_default(),
    );
    let tail = old.iter().rev().zip(new.iter().rev()).take_while(alike).count();
    let old = old.get(..old.len() - tail).unwrap_or_default();
    let new = new.get(..new.len() - tail).unwrap_or_default();
    let ahead = head
        .checked_sub(1)
        .and_then(|last| before.get(last))
        .map(|backend| backend.address);
    let steps = steps(pool, old, new, ahead, tail == 0);
    if steps.len() > MANY && steps.len() * 4 > after.len() {
        whole(pool, before, after, changes);
    } else {
        changes.extend(steps);
    }
}

fn steps(
    pool: &PoolName,
    before: &[Backend],
    after: &[Backend],
    ahead: Option<BackendAddress>,
    is_end: bool,
) -> Vec<Change> {
    let places: BTreeMap<BackendAddress, usize> = after.iter().map(|it| it.address).zip(0..).collect();
    let mut steps: Vec<Change> = before
        .iter()
        .filter(|backend| !places.contains_key(&backend.address))
        .map(|backend| Change::PoolRemove {
            pool: pool.clone(),
            backend: backend.address,
        })
        .collect();
    let shared: Vec<(&Backend, usize)> = before
        .iter()
        .filter_map(|backend| places.get(&backend.address).map(|place| (backend, *place)))
        .collect();
    let staying = longest_rise(&shared.iter().map(|(_, place)| *place).collect::<Vec<_>>());
    let staying: BTreeMap<BackendAddress, &Backend> = shared
        .into_iter()
        .filter(|(_, place)| staying.contains(place))
        .map(|(backend, _)| (backend.address, backend))
        .collect();
    // Behind the last that stays, an ADD puts everything in its place.
    let last = after.iter().rposition(|it| staying.contains_key(&it.address));
    let appended_from = if is_end {
        last.map_or(0, |last| last + 1)
    } else {
        after.len()
    };
    let mut ahead = ahead;
    for (place, backend) in after.iter().enumerate() {
        let drain = |draining| Change::PoolDrain {
            pool: pool.clone(),
            backend: backend.address,
            draining,
        };
        match staying.get(&backend.address) {
            Some(old) if *old == backend => {}
            Some(old) if old.weight == backend.weight => steps.push(drain(backend.draining)),
            None if place >= appended_from => {
                steps.push(Change::PoolAdd {
                    pool: pool.clone(),
                    backend: backend.address,
                    weight: backend.weight,
                });
                steps.extend(backend.draining.then(|| drain(true)));
            }
            Some(_) | None => steps.push(Change::PoolPlace {
                pool: pool.clone(),
                backend: *backend,
                after: ahead,
            }),
        }
        ahead = Some(backend.address);
    }
    steps
}

/// All of a list at once. Who stays keeps draining by itself, so only the others are told.
fn whole(pool: &PoolName, before: &[Backend], after: &[Backend], changes: &mut Vec<Change>) {
    changes.push(Change::SetBackends {
        object: pool.to_string(),
        backends: after.iter().map(|it| (it.address, it.weight)).collect(),
    });
    let drained: BTreeSet<BackendAddress> = before
        .iter()
        .filter(|it| it.draining)
        .map(|it| it.address)
        .collect();
    for backend in after {
        if backend.draining != drained.contains(&backend.address) {
            changes.push(Change::PoolDrain {
                pool: pool.clone(),
                backend: backend.address,
                draining: backend.draining,
            });
        }
    }
}

/// The longest run that rises among numbers of which no two are equal (patience sorting): what can stay where a list
/// is put in another order.
pub fn longest_rise(numbers: &[usize]) -> BTreeSet<usize> {
    // For each length the index of the smallest number that a run of that length ends with.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(numbers.len());
    let number = |index: &usize| numbers.get(*index).copied().unwrap_or_default();
    for (index, value) in numbers.iter().enumerate() {
        let length = ends.partition_point(|end| number(end) < *value);
        before.push(
            length
                .checked_sub(1)
                .and_then(|shorter| ends.get(shorter).copied()),
        );
        match ends.get_mut(length) {
            Some(end) => *end = index,
            None => ends.push(index),
        }
    }
    let mut rise = BTreeSet::new();
    let mut next = ends.last().copied();
    while let Some(index) = next {
        rise.insert(number(&index));
        next = before.get(index).copied().flatten();
    }
    rise
}
