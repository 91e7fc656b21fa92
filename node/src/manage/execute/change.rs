//! Changes of the configuration: check what only this machine knows, propose, wait until it is in effect here.

use std::time::Duration;

use fleetbal_raft::model::{Answer, Batch, Change, Command as Proposal, ServiceName, Version};
use tokio::time::{Instant, timeout_at};

use super::super::render::Reply;
use super::super::{Context, bind, local_check};

/// How long the fleet may take to agree.
const PROPOSE: Duration = Duration::from_secs(5);

/// How long this node may take to put into effect what the fleet agreed on.
const SETTLE: Duration = Duration::from_secs(5);

/// How long `ENABLE` waits for the other nodes to try.
const ENABLE: Duration = Duration::from_secs(2);

pub(super) async fn execute(change: Change, typist: &str, context: &Context) -> Reply {
    if let Err(text) = check_here(&change, context) {
        return Reply::Refused(text);
    }
    let enabled = enabled_service(&change).cloned();
    let listed = match local_check::nodefile(&change, &context.variables) {
        Ok(listed) => listed,
        Err(text) => return Reply::Refused(text),
    };
    let batch = Batch {
        changes: std::iter::once(change).chain(listed).collect(),
        if_version: None,
    };
    let version = match propose(Proposal::Batch(batch), typist, context).await {
        Ok(Some(version)) => version,
        Ok(None) => return Reply::Done,
        Err(text) => return Reply::Refused(text),
    };
    if !settled(version, Instant::now() + SETTLE, context).await {
        return Reply::Refused(format!(
            "applied as version {version}, but not in effect on this node yet"
        ));
    }
    if let Some(service) = enabled {
        return tried_everywhere(&service, version, context).await;
    }
    Reply::Done
}

/// Proposes, and says which version the configuration is at, where it is concerned at all.
pub(super) async fn propose(
    proposal: Proposal,
    typist: &str,
    context: &Context,
) -> Result<Option<Version>, String> {
    let proposed = context.cluster.propose(proposal, typist, PROPOSE).await;
    match proposed.map_err(|error| error.to_string())?.answer {
        Answer::Applied(version) => Ok(Some(version)),
        Answer::Refused(refusal) => Err(refusal.text),
        Answer::Joined(_) | Answer::Done => Ok(None),
    }
}

/// Waits until this node balances by a version and has tried its effects; false at the deadline.
pub(super) async fn settled(version: Version, deadline: Instant, context: &Context) -> bool {
    let mut settled = context.settled.clone();
    let waited = timeout_at(deadline, settled.wait_for(|at| *at >= version)).await;
    matches!(waited, Ok(Ok(_)))
}

/// Waits until every live node has tried, and says who could not.
async fn tried_everywhere(service: &ServiceName, version: Version, context: &Context) -> Reply {
    let deadline = Instant::now() + ENABLE;
    let waited = context.fleet.wait_version(version.0, deadline).await;
    let silent = waited.err().unwrap_or_default();
    let object = format!("service {service}");
    let mut troubles: Vec<String> = Vec::new();
    for node in context.fleet.nodes() {
        if silent.contains(&node.name) {
            troubles.push(format!("{}: no answer", node.name));
        } else if let Some(trouble) = node.troubles.iter().find(|trouble| trouble.object == object) {
            troubles.push(format!("{}: {}", node.name, trouble.reason));
        }
    }
    if troubles.is_empty() {
        return Reply::Done;
    }
    Reply::Refused(format!("enabled, but {}", troubles.join("; ")))
}

/// The service that a change enables.
fn enabled_service(change: &Change) -> Option<&ServiceName> {
    if let Change::SetEnabled {
        service,
        enabled: true,
    } = change
    {
        return Some(service);
    }
    None
}

/// Checks what looks at this machine; the configuration itself is `apply`'s to judge.
fn check_here(change: &Change, context: &Context) -> Result<(), String> {
    local_check::check(change, &context.variables)?;
    enabled_service(change).map_or(Ok(()), |service| check_bind(service, context))
}

/// Whether this machine lets the service listen. A service that is unknown or enabled already is left to `apply`.
fn check_bind(name: &ServiceName, context: &Context) -> Result<(), String> {
    let snapshot = context.view.load();
    match snapshot.config.service(name.as_str()) {
        Some(service) if !service.enabled => {
            bind::check(name, service, &context.variables, context.own_listener)
        }
        Some(_) | None => Ok(()),
    }
}
