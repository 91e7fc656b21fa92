//! From the fleet's configuration to another one in the smallest set of changes, as one version: what a file says, or
//! what an earlier version was.

use fleetbal_raft::model::{
    Batch, Change, Command as Proposal, FleetConfig, Refusal, ServiceName, Typist, Version, diff,
};

use super::super::script::{self, WrongLine};
use super::super::{Context, bind, local_check, plan};
use super::change::{carry_out, enabled_service, put_into_effect};

/// What a file would change.
#[derive(Debug)]
pub(in super::super) struct Plan {
    /// The version that it starts from.
    pub(in super::super) version: Version,
    /// The changes, in the order in which they are made.
    changes: Vec<Change>,
    /// What comes and what goes, for people.
    pub(in super::super) lines: Vec<String>,
    /// What the file says.
    wanted: FleetConfig,
}

impl Plan {
    /// Whether the fleet's configuration is the file's already.
    pub(in super::super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

/// Reads what a file says and compares. Lines of a single node (`CLUSTER key = value`, `SERVER pidfile` …) are nobody
/// else's business, and left alone.
///
/// # Errors
/// The first line that is wrong, or that asks for what this machine does not have.
pub(in super::super) fn plan(text: &[u8], context: &Context) -> Result<Plan, String> {
    let told = |wrong: WrongLine| format!("line {}: {}", wrong.line, wrong.text);
    let config = context.cluster.feed().latest().state.config.clone();
    let script = script::interpret_beside(text, |name| std::env::var(name).ok(), &config).map_err(told)?;
    let script = script.with_nodefiles(&context.variables).map_err(told)?;
    for (line, change) in &script.changes {
        let checked = local_check::check(change, &context.variables);
        checked.map_err(|text| format!("line {line}: {text}"))?;
    }
    Ok(Plan {
        version: config.version,
        changes: diff(&config, &script.config),
        lines: plan::lines(&config, &script.config),
        wanted: script.config,
    })
}

/// Makes the fleet's configuration what a plan wants, if it is still the one that the plan starts from.
///
/// # Errors
/// Why the fleet refused it, or that not everything went well although it holds.
pub(in super::super) async fn apply(
    plan: Plan,
    confirm: Option<u32>,
    typist: &Typist,
    context: &Context,
) -> Result<Version, String> {
    check_binds(&plan.changes, &plan.wanted, context)?;
    let batch = Batch {
        if_version: Some(plan.version),
        confirm,
        from_file: true,
        ..Batch::of(plan.changes)
    };
    carry_out(batch, typist, context)
        .await
        .map_err(|refusal| refusal.text)
}

/// Makes the configuration what it was at an earlier version, as a new one.
///
/// # Errors
/// As [`apply`], and where that version is not kept.
pub(super) async fn roll_back(to: Version, typist: &Typist, context: &Context) -> Result<(), String> {
    let state = context.cluster.feed().latest().state.clone();
    // One that this node does not have may have been made a moment ago: the fleet knows.
    let enabled = match state.config_at(to) {
        Ok(wanted) => check_binds(&diff(&state.config, &wanted), &wanted, context)?,
        Err(_) => Vec::new(),
    };
    let rollback = Proposal::Rollback { to, if_version: None };
    let done = put_into_effect(rollback, &enabled, typist, context).await;
    done.map(drop).map_err(|refusal: Refusal| refusal.text)
}

/// Tries the addresses of services that these changes enable, but for those that a service has now and may give up.
fn check_binds(
    changes: &[Change],
    wanted: &FleetConfig,
    context: &Context,
) -> Result<Vec<ServiceName>, String> {
    let view = context.view.load();
    let address = |service: &fleetbal_raft::model::Service| {
        let filled = service.listen_on(|variable| context.variables.fill(variable));
        filled.ok().flatten()
    };
    let open: Vec<_> = view
        .config
        .services()
        .filter(|(_, service)| service.enabled)
        .filter_map(|(_, service)| address(service))
        .collect();
    let own = bind::Own {
        listener: context.own_listener,
        sockets: &context.sockets,
    };
    let enabled: Vec<ServiceName> = changes.iter().filter_map(enabled_service).cloned().collect();
    for name in &enabled {
        let Some(service) = wanted.service(name.as_str()) else {
            continue;
        };
        if !address(service).is_some_and(|address| open.contains(&address)) {
            bind::check(name, service, &context.variables, &own)?;
        }
    }
    Ok(enabled)
}
