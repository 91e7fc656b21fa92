//! What a config file does at the start: everything where a node stands alone, once and as one change where it
//! founds a fleet, nothing where the fleet has its configuration already.

use std::time::Duration;

use fleetbal_raft::model::{Answer, Change, Command, FleetConfig, Version};
use fleetbal_raft::{Cluster, ProposeError};

use super::{BootError, Given};
use crate::manage::script::{Script, WrongLine};
use crate::manage::{bind, local_check};
use crate::settings::Begin;

/// How long the fleet may take to agree on the configuration that its founder brings.
const WITHIN: Duration = Duration::from_secs(30);

/// Who the history names as the typist.
const TYPIST: &str = "config file";

/// Checks what looks at this machine, the addresses of services that the file enables included, before anything is
/// changed.
pub(super) fn check(given: Given<'_>) -> Result<(), BootError> {
    let Given {
        settings,
        script,
        sockets,
        ..
    } = given;
    let variables = super::variables(settings, &settings.node);
    let script = script.with_nodefiles(&variables).map_err(wrong)?;
    for (line, change) in &script.changes {
        let checked = local_check::check(change, &variables)
            .and_then(|()| local_check::log(change, &script.config, &variables, settings.allow_exec));
        checked.map_err(|text| refused(*line, text))?;
        let Change::SetEnabled {
            service: name,
            enabled: true,
        } = change
        else {
            continue;
        };
        if let Some(service) = script.config.service(name.as_str()) {
            let own = bind::Own {
                listener: settings.management,
                sockets,
            };
            bind::check(name, service, &variables, &own).map_err(|bind::Refused { text, remedy }| {
                BootError::Script {
                    line: *line,
                    text,
                    remedy,
                }
            })?;
        }
    }
    Ok(())
}

/// Brings the config file's changes in, where they are this node's to bring.
pub(super) async fn apply(given: Given<'_>, cluster: &Cluster) -> Result<(), BootError> {
    let Given { settings, script, .. } = given;
    if given.inheritance.is_some() {
        return Ok(());
    }
    let config = cluster.feed().latest().state.config.clone();
    let founds = match &settings.cluster {
        None => true,
        Some(clustered) => matches!(clustered.begin, Begin::Found(_)) && config.version == Version::default(),
    };
    let with_nodefiles = script.with_nodefiles(&super::variables(settings, cluster.name()));
    if !founds {
        // A nodefile that cannot be read is reported by whoever watches it.
        let script = with_nodefiles.as_ref().unwrap_or(script);
        warn_of_difference(script, &config);
        return Ok(());
    }
    let script = &with_nodefiles.map_err(wrong)?;
    if script.changes.is_empty() {
        return Ok(());
    }
    match cluster
        .propose(Command::Batch(script.batch()), TYPIST, WITHIN)
        .await
    {
        Ok(proposed) => accepted(&proposed.answer, script),
        Err(error) => Err(failed(&error)),
    }
}

fn accepted(answer: &Answer, script: &Script) -> Result<(), BootError> {
    let Answer::Refused(refusal) = answer else {
        return Ok(());
    };
    let index = usize::try_from(refusal.change).unwrap_or(usize::MAX);
    let line = script.changes.get(index).map_or(0, |(line, _)| *line);
    Err(refused(line, refusal.text.clone()))
}

fn wrong(wrong: WrongLine) -> BootError {
    refused(wrong.line, wrong.text)
}

fn refused(line: usize, text: String) -> BootError {
    BootError::Script {
        line,
        text,
        remedy: String::new(),
    }
}

fn failed(error: &ProposeError) -> BootError {
    BootError::Running(format!("the configuration could not be brought in: {error}"))
}

/// A fleet's configuration is never overwritten by a file; that the two differ is said once.
fn warn_of_difference(script: &Script, config: &FleetConfig) {
    if !script.changes.is_empty() && !script.config.says_the_same(config) {
        tracing::warn!(
            version = config.version.0,
            "the config file differs from the fleet's configuration, which stays as it is; `fleetbal config diff \
             FILE` shows where"
        );
    }
}
