//! `GET` and `PUT /api/v1/backup`: the configuration of one version as a file, and back.

use std::sync::Arc;

use fleetbal_raft::backup::Backup;
use fleetbal_raft::model::{Batch, Change, Typist, Version};
use http::{Request, StatusCode, Uri};
use hyper::body::Incoming;

use super::super::Context;
use super::super::execute::change::carry_out;
use super::super::execute::local::sync;
use super::Answer;
use super::answer::{file, plain, refuse};
use super::body::body;
use crate::clock;

/// A backup of what is committed, or, where the fleet cannot say what is (`?stale=yes`), of what this node has.
pub(super) async fn take(request: &Request<Incoming>, context: &Context) -> Answer {
    if !is_asked(request.uri(), "stale")
        && let Err(why) = sync(context).await
    {
        let text = format!("{why}; with ?stale=yes the backup is of what this node has");
        return *refuse(StatusCode::SERVICE_UNAVAILABLE, &text);
    }
    let state = Arc::clone(&context.cluster.feed().latest().state);
    let backup = Backup {
        fleet: state.name.clone(),
        fleet_id: state.id,
        node: context.cluster.name().to_string(),
        software: env!("CARGO_PKG_VERSION").to_owned(),
        time: clock::now(),
        config: Arc::clone(&state.config),
    };
    // Names of fleets are plain words.
    let name = format!("{}-{}.fleetbal", backup.fleet, backup.config.version);
    file(&name, backup.to_bytes())
}

/// Makes the configuration what a backup says: as one change, and only where nothing was configured yet, unless
/// `?replace=yes` says so.
pub(super) async fn restore(request: Request<Incoming>, context: &Context, typist: &Typist) -> Answer {
    let replaces = is_asked(request.uri(), "replace");
    let bytes = match body(request).await {
        Ok(bytes) => bytes,
        Err(refusal) => return *refusal,
    };
    let backup = match Backup::from_bytes(&bytes) {
        Ok(backup) => backup,
        Err(error) => return *refuse(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    if let Err(why) = sync(context).await {
        return *refuse(StatusCode::SERVICE_UNAVAILABLE, &why);
    }
    let now = Arc::clone(&context.cluster.feed().latest().state.config);
    if !now.is_empty() && !replaces {
        let text = format!(
            "this fleet has a configuration already (version {}); nothing was changed; with ?replace=yes the backup \
             takes its place",
            now.version
        );
        return *refuse(StatusCode::CONFLICT, &text);
    }
    let (from, fleet) = (backup.config.version, backup.fleet);
    let batch = Batch {
        if_version: Some(now.version),
        ..Batch::of(vec![Change::Restore(backup.config)])
    };
    match carry_out(batch, typist, context).await {
        Ok(version) => plain(StatusCode::OK, &restored(&fleet, from, version)),
        Err(refusal) => *refuse(StatusCode::CONFLICT, &refusal.text),
    }
}

fn restored(fleet: &str, from: Version, version: Version) -> String {
    format!("restored version {from} of fleet {fleet} as version {version}")
}

/// Whether `name=yes` is in the query.
fn is_asked(uri: &Uri, name: &str) -> bool {
    let mut words = uri.query().unwrap_or_default().split('&');
    words.any(|word| word.split_once('=') == Some((name, "yes")))
}
