//! From one configuration to another in the smallest set of changes. PURE.
//!
//! Applied to the first, they give the second, to the byte. What both have stays untouched, and with it everything
//! that lives on it: listeners, connections, counters. The order is one in which no step is refused: what goes makes
//! room first, pools are there before services name them, and go after nobody does.

mod backends;
mod service;
mod uploads;

pub use backends::longest_rise;

use std::collections::BTreeMap;
use std::sync::Arc;

use itertools::{EitherOrBoth, Itertools as _};

use super::change::{Change, Setting};
use super::config::FleetConfig;
use super::mime::MimeTypes;
use super::name::{PoolName, ScriptName};
use super::plugin::Plugin;
use super::pool::Pool;
use super::reproxy::ReproxyLimits;

/// The changes that make `to` out of `from`, whatever their versions; none where both say the same.
pub fn diff(from: &FleetConfig, to: &FleetConfig) -> Vec<Change> {
    let first = respelled(from, to);
    if !first.is_empty() {
        let mut between = from.clone();
        if between.apply_all(&first).is_ok() {
            return first.into_iter().chain(steps(&between, to)).collect();
        }
    }
    steps(from, to)
}

fn steps(from: &FleetConfig, to: &FleetConfig) -> Vec<Change> {
    // Taken apart, so that a new field cannot be forgotten here.
    let FleetConfig {
        version: _,
        pools,
        services,
        defaults,
        voters,
        dead_voter_after,
        reproxy_limits,
        config_history,
        loaded,
        scripts,
        certificates,
        mime,
    } = to;
    let mut changes = Vec::new();
    let plugin = |plugin: &Plugin, loaded| Change::SetLoaded {
        plugin: plugin.to_string(),
        loaded,
    };
    uploads::come(from, (scripts, certificates), &mut changes);
    changes.extend(loaded.difference(&from.loaded).map(|one| plugin(one, true)));
    let (mut fresh, mut late) = (Vec::new(), Vec::new());
    let their_services = beside(&from.services, services);
    let gone = their_services.iter().filter(|(_, _, after)| after.is_none());
    changes.extend(gone.map(|(name, ..)| Change::RemoveService((*name).clone())));
    let their_pools = beside(&from.pools, pools);
    pools_diff(&their_pools, &mut changes);
    for (name, before, after) in their_services {
        match (before, after) {
            (Some(before), Some(after)) => {
                service::diff((name, before, after), &from.defaults, &mut changes, &mut late);
            }
            (None, Some(after)) => service::create((name, after), defaults, &mut fresh, &mut late),
            (_, None) => {}
        }
    }
    defaults_diff(&from.defaults, defaults, &mut changes);
    let gone = their_pools.iter().filter(|(_, _, after)| after.is_none());
    changes.extend(gone.map(|(name, ..)| Change::RemovePool((*name).clone())));
    changes.append(&mut fresh);
    changes.append(&mut late);
    changes.extend(from.loaded.difference(loaded).map(|one| plugin(one, false)));
    uploads::go(from, (scripts, certificates), &mut changes);
    limits(&from.reproxy_limits, reproxy_limits, &mut changes);
    if !Arc::ptr_eq(&from.mime, mime) {
        types(&from.mime, mime, &mut changes);
    }
    let mut number = |before: Option<u32>, after: Option<u32>, set: fn(u32) -> Change, unset: Setting| {
        if before != after {
            changes.push(after.map_or_else(|| Change::Unset(unset), set));
        }
    };
    let (before, after) = (from.dead_voter_after, *dead_voter_after);
    number(before, after, Change::SetDeadVoterAfter, Setting::DeadVoterAfter);
    let (before, after) = (from.config_history, *config_history);
    number(before, after, Change::SetConfigHistory, Setting::ConfigHistory);
    number(from.voters, *voters, Change::SetVoters, Setting::Voters);
    changes
}

/// Takes scripts away that come back under a name of other case: two such cannot be there at a time.
fn respelled(from: &FleetConfig, to: &FleetConfig) -> Vec<Change> {
    let is_other = |name: &ScriptName, other: &ScriptName| {
        name != other && name.as_str().eq_ignore_ascii_case(other.as_str())
    };
    let comes_back = |name: &&ScriptName| to.scripts.keys().any(|other| is_other(name, other));
    let gone = from.scripts.keys().filter(comes_back);
    gone.flat_map(|name| {
        let unload = Change::SetLoaded {
            plugin: name.to_string(),
            loaded: false,
        };
        [unload, Change::RemoveScript(name.clone())]
    })
    .collect()
}

/// An object's name, what it was and what it is.
type Differing<'a, K, V> = (&'a K, Option<&'a Arc<V>>, Option<&'a Arc<V>>);

/// What is not the same in two maps, as it was and as it is. Both are walked once, in step: most of what they hold is the
/// same object in both, and nothing is looked up.
fn beside<'a, K: Ord, V: Eq>(
    from: &'a BTreeMap<K, Arc<V>>,
    to: &'a BTreeMap<K, Arc<V>>,
) -> Vec<Differing<'a, K, V>> {
    let pairs = from
        .iter()
        .merge_join_by(to, |(one, _), (other, _)| one.cmp(other));
    let differing = pairs.filter_map(|pair| match pair {
        // Comparing two Arcs of equal identity looks at nothing else.
        EitherOrBoth::Both((_, before), (_, after)) if before == after => None,
        EitherOrBoth::Both((name, before), (_, after)) => Some((name, Some(before), Some(after))),
        EitherOrBoth::Left((name, before)) => Some((name, Some(before), None)),
        EitherOrBoth::Right((name, after)) => Some((name, None, Some(after))),
    });
    differing.collect()
}

fn pools_diff(pools: &[Differing<'_, PoolName, Pool>], changes: &mut Vec<Change>) {
    for (name, before, after) in pools {
        match (before, after) {
            (Some(before), Some(after)) => pool(name, before, after, changes),
            (None, Some(after)) => {
                changes.push(Change::CreatePool((*name).clone()));
                pool(name, &Pool::default(), after, changes);
            }
            (_, None) => {}
        }
    }
}

fn pool(name: &PoolName, before: &Pool, after: &Pool, changes: &mut Vec<Change>) {
    let old: BTreeMap<_, _> = before.explicit().collect();
    let new: BTreeMap<_, _> = after.explicit().collect();
    for (key, value) in &new {
        if old.get(key) != Some(value) {
            changes.push(Change::Set {
                object: name.to_string(),
                key: (*key).to_owned(),
                value: value.clone(),
            });
        }
    }
    let gone = old.keys().filter(|key| !new.contains_key(*key));
    changes.extend(gone.map(|key| {
        Change::Unset(Setting::Tunable {
            object: name.to_string(),
            key: (*key).to_owned(),
        })
    }));
    backends::diff(name, before.backends(), after.backends(), changes);
}

fn defaults_diff(
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
    changes: &mut Vec<Change>,
) {
    for (key, value) in after {
        if before.get(key) != Some(value) {
            changes.push(Change::SetDefault {
                key: key.clone(),
                value: value.clone(),
            });
        }
    }
    let gone = before.keys().filter(|key| !after.contains_key(*key));
    changes.extend(gone.map(|key| Change::Unset(Setting::Default(key.clone()))));
}

fn types(before: &MimeTypes, after: &MimeTypes, changes: &mut Vec<Change>) {
    let change = |extension: &str, kind: Option<&str>| Change::SetMime {
        extension: extension.to_owned(),
        kind: kind.map(str::to_owned),
    };
    let (old, new): (BTreeMap<_, _>, BTreeMap<_, _>) = (before.all().collect(), after.all().collect());
    let set = new
        .iter()
        .filter(|(extension, kind)| old.get(*extension) != Some(*kind));
    changes.extend(set.map(|(extension, kind)| change(extension, Some(kind))));
    let gone = old.keys().filter(|extension| !new.contains_key(*extension));
    changes.extend(gone.map(|extension| change(extension, None)));
}

fn limits(before: &ReproxyLimits, after: &ReproxyLimits, changes: &mut Vec<Change>) {
    let ReproxyLimits { each, by_target } = after;
    if before.each != *each {
        changes.push(Change::SetReproxyLimit {
            target: None,
            limit: *each,
        });
    }
    for (target, limit) in by_target {
        if before.by_target.get(target) != Some(limit) {
            changes.push(Change::SetReproxyLimit {
                target: Some(target.clone()),
                limit: *limit,
            });
        }
    }
    let gone = before
        .by_target
        .keys()
        .filter(|target| !by_target.contains_key(*target));
    changes.extend(gone.map(|target| Change::Unset(Setting::ReproxyLimit(target.clone()))));
}

#[cfg(test)]
#[path = "diff/tests.rs"]
mod tests;
