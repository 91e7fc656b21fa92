//! From one state of a service to another.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::apply::set_role;
use super::super::change::{Change, Setting};
use super::super::header::HeaderRule;
use super::super::name::ServiceName;
use super::super::role::Role;
use super::super::service::Service;
use super::super::value::Value;

/// Whether single steps do not lead from one to the other: a role is never taken back, a management service never
/// disabled, and lines of plugins are never forgotten.
fn is_put(before: &Service, after: &Service) -> bool {
    let loses_role = before.role().is_some() && after.role().is_none();
    let is_silenced = before.enabled && !after.enabled && before.role() == Some(Role::Management);
    loses_role || is_silenced || before.plugins != after.plugins || before.specs != after.specs
}

fn put(name: &ServiceName, service: &Arc<Service>) -> Change {
    Change::PutService {
        name: name.clone(),
        service: Arc::clone(service),
    }
}

/// The steps to a service that was not there, where `defaults` are those that hold for a role that is set. `late` ones
/// name other services, and come when all are there.
pub(super) fn create(
    (name, after): (&ServiceName, &Arc<Service>),
    defaults: &BTreeMap<String, String>,
    changes: &mut Vec<Change>,
    late: &mut Vec<Change>,
) {
    let nothing = Service::default();
    if is_put(&nothing, after) {
        changes.push(put(name, after));
    } else {
        changes.push(Change::CreateService(name.clone()));
        steps((name, &nothing, after), defaults, changes, late);
    }
}

/// The steps from one state to the other.
pub(super) fn diff(
    (name, before, after): (&ServiceName, &Arc<Service>, &Arc<Service>),
    defaults: &BTreeMap<String, String>,
    changes: &mut Vec<Change>,
    late: &mut Vec<Change>,
) {
    if is_put(before, after) {
        changes.push(put(name, after));
    } else {
        steps((name, before, after), defaults, changes, late);
    }
}

fn steps(
    (name, before, after): (&ServiceName, &Service, &Service),
    defaults: &BTreeMap<String, String>,
    changes: &mut Vec<Change>,
    late: &mut Vec<Change>,
) {
    let Service {
        role,
        enabled,
        set,
        header_rules,
        plugins: _,
        specs: _,
    } = after;
    let enable = |enabled| Change::SetEnabled {
        service: name.clone(),
        enabled,
    };
    let assign = |key: &str, value: String| Change::Set {
        object: name.to_string(),
        key: key.to_owned(),
        value,
    };
    changes.extend((before.enabled && !enabled).then(|| enable(false)));
    let mut now = before.clone();
    if let Some(role) = role.filter(|role| before.role() != Some(*role)) {
        changes.push(assign("role", role.to_string()));
        // What a role and the defaults bring with them need not be said. They were checked when they were set.
        drop(set_role(&mut now, role, defaults));
    }
    for (key, value) in set {
        if now.set.get(key) == Some(value) {
            continue;
        }
        let names_a_service = matches!(value, Value::Service(_));
        let place = if names_a_service {
            &mut *late
        } else {
            &mut *changes
        };
        place.push(assign(key, value.to_string()));
    }
    let gone = now.set.keys().filter(|key| !set.contains_key(*key));
    changes.extend(gone.map(|key| {
        Change::Unset(Setting::Tunable {
            object: name.to_string(),
            key: (*key).to_owned(),
        })
    }));
    headers(name, before.header_rules(), header_rules, changes);
    changes.extend((!before.enabled && *enabled).then(|| enable(true)));
}

fn headers(name: &ServiceName, before: &[HeaderRule], after: &[HeaderRule], changes: &mut Vec<Change>) {
    let put = |rule: &HeaderRule| Change::Header {
        service: name.clone(),
        rule: rule.clone(),
    };
    let take_back = |rule: &HeaderRule| Change::Unset(Setting::header(name, rule));
    let goes = |rule: &&HeaderRule| !after.iter().any(|other| other.replaces(rule));
    let mut now: Vec<&HeaderRule> = before.iter().filter(|rule| !goes(rule)).collect();
    let mut steps: Vec<Change> = before.iter().filter(goes).map(take_back).collect();
    for rule in after {
        match now.iter_mut().find(|other| rule.replaces(other)) {
            Some(other) if *other == rule => {}
            Some(other) => {
                *other = rule;
                steps.push(put(rule));
            }
            None => {
                now.push(rule);
                steps.push(put(rule));
            }
        }
    }
    if now.into_iter().eq(after) {
        changes.extend(steps);
    } else {
        changes.extend(before.iter().map(take_back));
        changes.extend(after.iter().map(put));
    }
}
