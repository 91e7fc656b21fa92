//! Commands that are neither a change of the configuration nor a read.

use std::time::Duration;

use fleetbal_raft::model::{Answer, Batch, Command as Proposal, Plugin, RequestId, Typist};
use tokio::time::Instant;

use super::super::Context;
use super::super::command::Local;
use super::super::render::Reply;
use super::change::{agree, settled};
use super::{membership, plan};
use crate::lifecycle::Stop;
use crate::os_settings;
use crate::plugin::builtin::throttle;

/// How long a fresh read may take.
const SYNC: Duration = Duration::from_secs(5);

pub(super) async fn execute(local: Local, typist: &Typist, context: &Context) -> Reply {
    match local {
        Local::Shutdown(stop) => {
            context.lifecycle.request(stop);
            match stop {
                Stop::Now => Reply::Silent,
                Stop::Graceful(_) => Reply::Done,
            }
        }
        Local::Server(setting) => Reply::of(os_settings::apply(&setting)),
        Local::Sync => Reply::of(sync(context).await),
        Local::Barrier(within) => Reply::of(barrier(within, context).await),
        Local::IssueToken { ttl, uses } => issue_token(ttl, uses, typist, context).await,
        Local::RevokeToken(id) => Reply::of(agree(Proposal::RevokeToken(id), typist, context).await),
        Local::RemoveNode(node) => Reply::of(membership::remove(node, typist, context).await),
        Local::SetWish { node, wish } => Reply::of(membership::set_wish(node, wish, typist, context).await),
        Local::Rollback(to) => Reply::of(plan::roll_back(to, typist, context).await),
        Local::Confirm => Reply::of(agree(Proposal::Confirm, typist, context).await),
        Local::Transfer(node) => Reply::of(membership::transfer(node, context).await),
        Local::Rekey => Reply::of(membership::rekey(context).await),
        Local::DrainNode(drained) => Reply::of(drain(drained, context).await),
        Local::Throttle { service, list } => Reply::of(reload_list(&service, list, context)),
        Local::Outcome(request) => Reply::Lines(vec![outcome(request, typist, context).await]),
        // A connection's own affairs, and other nodes'; it keeps them to itself.
        Local::Use(_)
        | Local::Verbose(_)
        | Local::Auth(_)
        | Local::Begin
        | Local::Commit { .. }
        | Local::Abort
        | Local::Include(_)
        | Local::On { .. }
        | Local::Fleet(_)
        | Local::FleetSum(_)
        | Local::Quit => Reply::Silent,
    }
}

async fn issue_token(ttl: Duration, uses: Option<u32>, typist: &Typist, context: &Context) -> Reply {
    match context.cluster.issue_token(ttl, uses, typist).await {
        Ok(token) => Reply::Lines(vec![token.to_string()]),
        Err(error) => Reply::Refused(error.to_string()),
    }
}

/// Reads a list of the plugin Throttle anew, on this node.
fn reload_list(service: &str, list: Option<throttle::Which>, context: &Context) -> Result<(), String> {
    let snapshot = context.view.load();
    if !snapshot.config.loaded().contains(&Plugin::Throttle) {
        return Err("unknown command: throttle (it needs LOAD Throttle)".to_owned());
    }
    let view = snapshot.service(service);
    let hooks = view.and_then(|view| view.hooks.as_deref());
    let Some(hook) = hooks.and_then(|hooks| hooks.of(&Plugin::Throttle)) else {
        return Err(format!("service '{service}' does not have the plugin Throttle"));
    };
    let Some(which) = list else { return Ok(()) };
    throttle::reload(hook, which).map_err(|error| error.to_string())
}

/// Gives up this node's readiness, or takes it back; its next starts hold to it.
async fn drain(drained: bool, context: &Context) -> Result<(), String> {
    let kept = context.cluster.set_drained(drained).await;
    kept.map_err(|error| error.to_string())?;
    context.readiness.set_draining(drained);
    Ok(())
}

/// What became of a request. An entry of ours behind it in the log decides it: once that one is applied, the request
/// is either applied too or can never be.
async fn outcome(request: RequestId, typist: &Typist, context: &Context) -> String {
    if let Some(answer) = context.cluster.answer(request) {
        return told(&answer);
    }
    let nothing = Proposal::Batch(Batch::default());
    let Ok(proposed) = context.cluster.propose(nothing, typist, SYNC).await else {
        return "pending".to_owned();
    };
    let feed = context.cluster.feed();
    if !feed.wait_index(proposed.log_index, Instant::now() + SYNC).await {
        return "pending".to_owned();
    }
    let answer = context.cluster.answer(request);
    answer.map_or_else(|| "never applied".to_owned(), |answer| told(&answer))
}

fn told(answer: &Answer) -> String {
    match answer {
        Answer::Applied(version) => format!("applied as version {version}"),
        Answer::Refused(refusal) => format!("refused: {}", refusal.text),
        Answer::Joined(_) | Answer::Done => "applied".to_owned(),
    }
}

/// Waits until this node has applied, and balances by, all that was committed when this was called.
pub(in super::super) async fn sync(context: &Context) -> Result<(), String> {
    let deadline = Instant::now() + SYNC;
    let index = context.cluster.read_index(SYNC).await;
    let index = index.map_err(|error| error.to_string())?;
    let feed = context.cluster.feed();
    if feed.wait_index(index, deadline).await {
        let version = feed.latest().state.config.version;
        if settled(version, deadline, context).await {
            return Ok(());
        }
    }
    Err("this node has not caught up yet".to_owned())
}

/// Waits until every live node balances by what this one does.
async fn barrier(within: Duration, context: &Context) -> Result<(), String> {
    let version = context.view.load().version;
    let deadline = Instant::now() + within;
    context
        .fleet
        .wait_version(version.0, deadline)
        .await
        .map_err(|behind| format!("not at version {version} yet: {}", behind.join(", ")))
}
