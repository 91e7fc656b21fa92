//! What a node tells of backends, as gossip keys and values: a pair for each, so that only what changes travels.

use std::sync::Arc;

use chitchat::NodeState as GossipState;
use fleetbal_raft::model::{BackendAddress, PoolName};

use super::keys::{REASON_MAX, one_line};
use crate::health::{Key, Observation, Told};

/// Of so many backends a node tells at most: where more are in trouble, pools are in panic, and nobody asks for details.
pub(super) const MOST: usize = 4096;

const PREFIX: &str = "backend/";

/// A pair of another node; none if it is about something else or cannot be read.
pub(super) fn read(key: &str, value: &str) -> Option<(Key, Observation)> {
    let (pool, backend) = key.strip_prefix(PREFIX)?.rsplit_once('/')?;
    let key = Key {
        pool: PoolName::parse(pool).ok()?,
        backend: BackendAddress::parse(backend)?,
    };
    let (word, rest) = value.split_once(' ').unwrap_or((value, ""));
    let observation = match (word, rest) {
        ("up", "") => Observation::Up(None),
        ("up", millis) => Observation::Up(Some(millis.parse().ok()?)),
        ("down", reason) => Observation::Down(one_line(reason, REASON_MAX)),
        ("ejected", reason) => Observation::Ejected(one_line(reason, REASON_MAX)),
        _ => return None,
    };
    Some((key, observation))
}

fn key(of: &Key) -> String {
    format!("{PREFIX}{}/{}", of.pool, of.backend)
}

fn value(observation: &Observation) -> String {
    match observation {
        Observation::Up(None) => "up".to_owned(),
        Observation::Up(Some(millis)) => format!("up {millis}"),
        Observation::Down(reason) => format!("down {}", one_line(reason, REASON_MAX)),
        Observation::Ejected(reason) => format!("ejected {}", one_line(reason, REASON_MAX)),
    }
}

/// Everything as pairs, as far as it is told.
pub(super) fn pairs(told: &Told) -> impl Iterator<Item = (String, String)> {
    let told = told.iter().take(MOST);
    told.map(|(backend, observation)| (key(backend), value(observation)))
}

/// Says what is told now in place of what was told before.
pub(super) fn say(state: &mut GossipState, before: &Arc<Told>, now: &Arc<Told>) {
    if Arc::ptr_eq(before, now) {
        return;
    }
    let last = now.keys().nth(MOST - 1);
    let is_gone = |backend: &&Key| !now.contains_key(*backend) || last.is_some_and(|last| *backend > last);
    for gone in before.keys().take(MOST).filter(is_gone) {
        state.delete(&key(gone));
    }
    for (key, value) in pairs(now) {
        state.set(key, value);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_told_is_read_back(reason in "[ -~]{0,60}", millis in any::<Option<u64>>(), port in 1_u16..) {
            let of = Key {
                pool: PoolName::parse("web").unwrap(),
                backend: BackendAddress::parse(&format!("[::1]:{port}")).unwrap(),
            };
            let reason = reason.trim().to_owned();
            for observation in [
                Observation::Up(millis),
                Observation::Down(reason.clone()),
                Observation::Ejected(reason),
            ] {
                prop_assert_eq!(read(&key(&of), &value(&observation)), Some((of.clone(), observation)));
            }
        }

        #[test]
        fn hostile_pairs_are_nothing_or_tamed(key in "backend/.{0,20}", value in ".{0,300}") {
            if let Some((_, Observation::Down(reason) | Observation::Ejected(reason))) = read(&key, &value) {
                prop_assert!(!reason.contains(char::is_control) && reason.chars().count() <= REASON_MAX);
            }
        }
    }

    #[test]
    fn what_cannot_be_read_is_nothing() {
        for (key, value) in [
            ("backend/web/127.0.0.1:80", "sideways"),
            ("backend/web/127.0.0.1:80", "up soon"),
            ("backend/web/127.0.0.1:80", ""),
            ("backend/web/nowhere", "up"),
            ("backend/127.0.0.1:80", "up"),
            ("backend//127.0.0.1:80", "up"),
            ("version", "up"),
        ] {
            assert_eq!(read(key, value), None, "{key} {value}");
        }
    }
}
