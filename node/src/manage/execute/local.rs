//! Commands that are neither a change of the configuration nor a read.

use std::time::Duration;

use fleetbal_raft::model::Command as Proposal;
use tokio::time::Instant;

use super::super::Context;
use super::super::command::Local;
use super::super::render::Reply;
use super::change::{propose, settled};
use crate::lifecycle::Stop;

/// How long a fresh read may take.
const SYNC: Duration = Duration::from_secs(5);

pub(super) async fn execute(local: Local, typist: &str, context: &Context) -> Reply {
    match local {
        Local::Shutdown(stop) => {
            context.lifecycle.request(stop);
            match stop {
                Stop::Now => Reply::Silent,
                Stop::Graceful(_) => Reply::Done,
            }
        }
        Local::Sync => done(sync(context).await),
        Local::Barrier(within) => done(barrier(within, context).await),
        Local::IssueToken { ttl, uses } => match context.cluster.issue_token(ttl, uses, typist).await {
            Ok(token) => Reply::Lines(vec![token.to_string()]),
            Err(error) => Reply::Refused(error.to_string()),
        },
        Local::RevokeToken(id) => {
            let revoked = propose(Proposal::RevokeToken(id), typist, context).await;
            done(revoked.map(|_| ()))
        }
        // A connection's own affairs; it keeps them to itself.
        Local::Use(_) | Local::Verbose(_) | Local::Auth(_) | Local::Quit => Reply::Silent,
    }
}

fn done(outcome: Result<(), String>) -> Reply {
    match outcome {
        Ok(()) => Reply::Done,
        Err(text) => Reply::Refused(text),
    }
}

/// Waits until this node has applied, and balances by, all that was committed when this was called.
async fn sync(context: &Context) -> Result<(), String> {
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
