//! Changes of the configuration: check what only this machine knows, propose, wait until it is in effect here.

use std::time::Duration;

use fleetbal_raft::model::{
    Answer, Batch, Change, Command as Proposal, FleetConfig, Refusal, ServiceName, Typist, Version,
};
use tokio::time::{Instant, timeout_at};

use super::super::render::Reply;
use super::super::{Context, bind, local_check};

/// How long the fleet may take to agree.
const PROPOSE: Duration = Duration::from_secs(5);

/// How long this node may take to put into effect what the fleet agreed on.
const SETTLE: Duration = Duration::from_secs(5);

/// How long `ENABLE` waits for the other nodes to try.
const ENABLE: Duration = Duration::from_secs(2);

pub(super) async fn execute(change: Change, typist: &Typist, context: &Context) -> Reply {
    let config = context.view.load().config.clone();
    let said = said(&change);
    let changes = match prepare(change, &config, context) {
        Ok(changes) => changes,
        Err(text) => return Reply::Refused(text),
    };
    let batch = Batch::of(changes);
    match carry_out(batch, typist, context).await {
        Ok(_) => said,
        Err(refusal) => Reply::Refused(refusal.text),
    }
}

/// What a change is answered that was made: `OK`, but for those that Perlbal answers otherwise.
pub(in super::super) fn said(change: &Change) -> Reply {
    let Change::SetMime { extension, kind } = change else {
        return Reply::Done;
    };
    Reply::Said(match kind {
        Some(kind) => format!("{extension} set to {kind}."),
        None => format!("{extension} removed."),
    })
}

/// Checks what looks at this machine, and adds what a nodefile says. `config` is what the change would meet; it is
/// `apply`'s to judge by it.
///
/// # Errors
/// What this machine lacks, in Perlbal's words where Perlbal has some.
pub(in super::super) fn prepare(
    change: Change,
    config: &FleetConfig,
    context: &Context,
) -> Result<Vec<Change>, String> {
    local_check::check(&change, &context.variables)?;
    if let Some(service) = enabled_service(&change) {
        check_bind(service, config, context)?;
    }
    local_check::tls(&change, config, &context.variables, context.cluster.seal())?;
    local_check::log(&change, config, &context.variables, context.may_start_programs)?;
    local_check::scripts(&change, config)?;
    let listed = local_check::nodefile(&change, &context.variables)?;
    Ok(std::iter::once(change).chain(listed).collect())
}

/// Proposes changes as one, and waits until they are in effect: here and, where services are enabled, everywhere. Says
/// which version the configuration is at.
///
/// # Errors
/// Which of them was refused and why, or that not everything went well although they hold.
pub(in super::super) async fn carry_out(
    batch: Batch,
    typist: &Typist,
    context: &Context,
) -> Result<Version, Refusal> {
    // Once more where lines were judged before: the fleet may have gone on meanwhile.
    let config = context.cluster.feed().latest().state.config.clone();
    config.check_asked(&batch.changes)?;
    let enabled: Vec<_> = batch.changes.iter().flat_map(enabled_services).collect();
    put_into_effect(Proposal::Batch(batch), &enabled, typist, context).await
}

/// The same for any proposal that changes the configuration, where it enables these services.
pub(super) async fn put_into_effect(
    proposal: Proposal,
    enabled: &[ServiceName],
    typist: &Typist,
    context: &Context,
) -> Result<Version, Refusal> {
    let Some(version) = propose(proposal, typist, context).await? else {
        return Ok(context.view.load().version);
    };
    if !settled(version, Instant::now() + SETTLE, context).await {
        return Err(whole(format!(
            "applied as version {version}, but not in effect on this node yet"
        )));
    }
    if !enabled.is_empty() {
        tried_everywhere(enabled, version, context).await.map_err(whole)?;
    }
    Ok(version)
}

/// Proposes, and says which version the configuration is at, where it is concerned at all.
async fn propose(proposal: Proposal, typist: &Typist, context: &Context) -> Result<Option<Version>, Refusal> {
    let proposed = context.cluster.propose(proposal, typist, PROPOSE).await;
    match proposed.map_err(|error| whole(error.to_string()))?.answer {
        Answer::Applied(version) => Ok(Some(version)),
        Answer::Refused(refusal) => Err(refusal),
        Answer::Joined(_) | Answer::Done => Ok(None),
    }
}

/// Proposes what is no change of the configuration.
pub(super) async fn agree(proposal: Proposal, typist: &Typist, context: &Context) -> Result<(), String> {
    let agreed = propose(proposal, typist, context).await;
    agreed.map(|_| ()).map_err(|refusal| refusal.text)
}

fn whole(text: String) -> Refusal {
    Refusal {
        text,
        change: Refusal::WHOLE,
    }
}

/// Waits until this node balances by a version and has tried its effects; false at the deadline.
pub(super) async fn settled(version: Version, deadline: Instant, context: &Context) -> bool {
    let mut settled = context.settled.clone();
    let waited = timeout_at(deadline, settled.wait_for(|at| *at >= version)).await;
    matches!(waited, Ok(Ok(_)))
}

/// Waits until every live node has tried to enable these services, and says who could not.
async fn tried_everywhere(
    services: &[ServiceName],
    version: Version,
    context: &Context,
) -> Result<(), String> {
    let deadline = Instant::now() + ENABLE;
    let waited = context.fleet.wait_version(version.0, deadline).await;
    let silent = waited.err().unwrap_or_default();
    let objects: Vec<_> = services
        .iter()
        .map(|service| format!("service {service}"))
        .collect();
    let mut troubles: Vec<String> = Vec::new();
    for node in context.fleet.nodes() {
        if silent.contains(&node.name) {
            troubles.push(format!("{}: no answer", node.name));
            continue;
        }
        let own = node
            .troubles
            .iter()
            .filter(|trouble| objects.contains(&trouble.object));
        troubles.extend(own.map(|trouble| format!("{}: {}", node.name, trouble.reason)));
    }
    if troubles.is_empty() {
        return Ok(());
    }
    Err(format!("enabled, but {}", troubles.join("; ")))
}

/// The service that a change enables.
pub(super) fn enabled_service(change: &Change) -> Option<&ServiceName> {
    if let Change::SetEnabled {
        service,
        enabled: true,
    } = change
    {
        return Some(service);
    }
    None
}

/// All services that are to be enabled after a change.
fn enabled_services(change: &Change) -> Vec<ServiceName> {
    if let Change::Restore(config) = change {
        let enabled = config.services().filter(|(_, service)| service.enabled);
        return enabled.map(|(name, _)| name.clone()).collect();
    }
    enabled_service(change).cloned().into_iter().collect()
}

/// Whether this machine lets the service listen. A service that is unknown or enabled already is left to `apply`.
fn check_bind(name: &ServiceName, config: &FleetConfig, context: &Context) -> Result<(), String> {
    match config.service(name.as_str()) {
        Some(service) if !service.enabled => {
            let own = bind::Own {
                listener: context.own_listener,
                sockets: &context.sockets,
            };
            Ok(bind::check(name, service, &context.variables, &own)?)
        }
        Some(_) | None => Ok(()),
    }
}
