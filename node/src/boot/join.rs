//! How this node comes to its configuration: alone, founding, joining, or resuming what its directory holds.

use std::sync::Arc;
use std::time::Duration;

use fleetbal_raft::cluster::{self, Joiner};
use fleetbal_raft::error::OpenError;
use fleetbal_raft::identity::{self, DataDir, Identity};
use fleetbal_raft::model::FEATURE_LEVEL;
use fleetbal_raft::{Clock, Cluster, JoinToken, StartOptions, Timing};

use tokio::time::{Instant, sleep};

use super::{BootError, Given, start_config};
use crate::clock;
use crate::settings::{Begin, ClusterSettings, FLEET, Settings, TokenSource};

/// How long a data directory that is inherited may still be in use, and how often to look.
const LET_GO_WITHIN: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(10);

/// The handle on the replicated configuration of a node with these settings.
pub(super) async fn cluster(given: Given<'_>) -> Result<Cluster, BootError> {
    let settings = given.settings;
    let clock: Clock = Arc::new(clock::now);
    let Some(clustered) = &settings.cluster else {
        let state = given
            .inheritance
            .and_then(|inheritance| inheritance.state.as_deref());
        if state.is_none() {
            start_config::check(given)?;
        }
        return Cluster::standalone(settings.node.clone(), clock, state)
            .await
            .map_err(BootError::config);
    };
    let dir = open(clustered, given.inheritance.is_some()).await?;
    let identity = match dir.identity().map_err(BootError::config)? {
        Some(identity) => resume(settings, clustered, identity)?,
        None => begin(given, clustered, &dir, &clock).await?,
    };
    let options = StartOptions {
        dir,
        identity,
        advertise: clustered.advertise,
        timing: Timing::default(),
        clock,
        feature_level: FEATURE_LEVEL,
        rekey_after: fleetbal_raft::cluster::REKEY_AFTER,
    };
    Cluster::start(options).await.map_err(BootError::config)
}

/// The data directory; what had it until now, in this process or in the one before, may need a moment to let go of it.
async fn open(clustered: &ClusterSettings, is_inherited: bool) -> Result<DataDir, BootError> {
    let give_up = Instant::now() + LET_GO_WITHIN;
    loop {
        match DataDir::open(&clustered.data_dir) {
            Err(OpenError::Locked(_)) if is_inherited && Instant::now() < give_up => sleep(LOOK).await,
            opened => return opened.map_err(BootError::config),
        }
    }
}

/// A directory that belongs to a fleet is resumed, also where the flags that made it are still there; flags that
/// say another fleet or another name are a mistake.
fn resume(
    settings: &Settings,
    clustered: &ClusterSettings,
    identity: Identity,
) -> Result<Identity, BootError> {
    let other = |what: String| {
        let path = clustered.data_dir.display();
        let (name, fleet) = (&identity.name, &identity.fleet);
        Err(BootError::Config(format!(
            "data directory {path} belongs to node '{name}' of fleet '{fleet}', {what}"
        )))
    };
    if settings.node_given && settings.node != identity.name {
        return other(format!(
            "not to node '{}'; choose another directory or name",
            settings.node
        ));
    }
    match &clustered.begin {
        Begin::Found(Some(fleet)) if *fleet != identity.fleet => other(format!(
            "not to fleet '{fleet}'; choose an empty directory to found that one"
        )),
        Begin::Join {
            token: Some(source), ..
        } => match token(source) {
            Ok(token) if !token.is_for(&identity.keys) => other(
                "and the join token is another fleet's; choose an empty directory to join that one"
                    .to_owned(),
            ),
            // A resumed node needs no token, so one that is gone or spent by now is no mistake.
            Ok(_) | Err(_) => Ok(identity),
        },
        Begin::Found(_) | Begin::Join { .. } | Begin::Resume => Ok(identity),
    }
}

async fn begin(
    given: Given<'_>,
    clustered: &ClusterSettings,
    dir: &DataDir,
    clock: &Clock,
) -> Result<Identity, BootError> {
    let name = given.settings.node.clone();
    match &clustered.begin {
        Begin::Found(fleet) => {
            // Before anything is on disk: a start that fails has founded nothing.
            start_config::check(given)?;
            let fleet = fleet.as_deref().unwrap_or(FLEET);
            tracing::info!(node = %name, fleet, "founding a new fleet");
            identity::found(dir, fleet, name, clustered.advertise).map_err(BootError::config)
        }
        Begin::Join { peers, token: source } => {
            let source = source.as_ref().ok_or_else(|| {
                BootError::Config(
                    "--join needs a token: run `fleetbal cluster token` on a member and give it with --token or \
                     --token-file"
                        .to_owned(),
                )
            })?;
            let token = token(source)?;
            let asked: Vec<_> = peers.iter().map(ToString::to_string).collect();
            tracing::info!(node = %name, peers = asked.join(","), "joining");
            let joiner = Joiner {
                peers,
                token: &token,
                node: name,
                advertise: clustered.advertise,
                feature_level: FEATURE_LEVEL,
                clock: Arc::clone(clock),
            };
            cluster::join(dir, &joiner).await.map_err(BootError::config)
        }
        Begin::Resume => Err(BootError::Config(format!(
            "data directory {} belongs to no fleet yet; found one with --init, or join one with --join HOST:PORT and \
             --token T",
            clustered.data_dir.display()
        ))),
    }
}

fn token(source: &TokenSource) -> Result<JoinToken, BootError> {
    let text = match source {
        TokenSource::Text(text) => text.clone(),
        TokenSource::File(path) => std::fs::read_to_string(path)
            .map_err(|error| BootError::Config(format!("--token-file {}: {error}", path.display())))?,
    };
    JoinToken::parse(text.trim()).map_err(BootError::config)
}
