//! The access logs that services ask for: which are open, and which this node does not open.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use fleetbal_raft::model::{FleetConfig, ServiceName};

use super::Failure;
use crate::access_log::AccessLogs;
use crate::snapshot::{LogSettings, LogTarget, NodeVariables};

/// How long logs may take to open before that is somebody else's trouble: their writer goes on.
const OPEN: Duration = Duration::from_secs(1);

/// Why a command is not started.
pub const NO_PROGRAMS: &str = "programs are started only on nodes that run with --allow-exec";

/// Sees to it that the logs are open that a configuration asks for.
#[derive(Debug)]
pub(super) struct Logs {
    variables: NodeVariables,
    writer: AccessLogs,
    may_start_programs: bool,
    open: BTreeSet<Arc<LogTarget>>,
    refused: BTreeMap<ServiceName, (String, Instant)>,
    told: Troubles,
}

/// What is wrong with logs: those that cannot be written, and those that are not this node's to open.
#[derive(Debug, Clone, Default)]
pub(super) struct Troubles {
    access_logs: AccessLogs,
    refused: Arc<ArcSwap<Vec<Failure>>>,
}

impl Logs {
    pub(super) fn new(variables: NodeVariables, access_logs: AccessLogs, may_start_programs: bool) -> Self {
        Self {
            variables,
            told: Troubles {
                access_logs: access_logs.clone(),
                refused: Arc::default(),
            },
            writer: access_logs,
            may_start_programs,
            open: BTreeSet::new(),
            refused: BTreeMap::new(),
        }
    }

    /// What is wrong, whenever it is looked at.
    pub(super) fn troubles(&self) -> Troubles {
        self.told.clone()
    }

    /// Opens and closes what it takes, and files that may have been moved where `anew`.
    pub(super) async fn reconcile(&mut self, config: &FleetConfig, anew: bool) {
        let mut wanted = BTreeSet::new();
        let mut refused = BTreeMap::new();
        for (name, service) in config.services() {
            match LogSettings::of(service, &self.variables) {
                Ok(None) => {}
                Ok(Some(log)) => match &*log.target {
                    LogTarget::Command(command) if !self.may_start_programs => {
                        refused.insert(name.clone(), format!("| {command}: {NO_PROGRAMS}"));
                    }
                    LogTarget::File(_) | LogTarget::Command(_) => {
                        wanted.insert(log.target);
                    }
                },
                Err(reason) => {
                    refused.insert(name.clone(), reason);
                }
            }
        }
        if anew {
            self.writer.reopen();
        }
        if wanted != self.open {
            let opened = tokio::time::timeout(OPEN, self.writer.open(wanted.clone())).await;
            if opened.is_err() {
                tracing::warn!("access logs take long to open");
            }
            self.open = wanted;
        }
        self.tell(refused, Instant::now());
    }

    fn tell(&mut self, refused: BTreeMap<ServiceName, String>, now: Instant) {
        let before = std::mem::take(&mut self.refused);
        for (name, reason) in refused {
            let known = before.get(&name).filter(|(was, _)| *was == reason);
            if known.is_none() {
                tracing::warn!(service = %name, %reason, "its log is not written on this node");
            }
            let since = known.map_or(now, |(_, since)| *since);
            self.refused.insert(name, (reason, since));
        }
        let failures = self.refused.iter().map(|(name, (reason, since))| Failure {
            object: format!("log of {name}"),
            reason: reason.clone(),
            since: *since,
        });
        self.told.refused.store(Arc::new(failures.collect()));
    }
}

impl Troubles {
    /// As failed effects. None of them keeps the node from serving.
    pub(super) fn failures(&self) -> Vec<Failure> {
        let troubles = self.access_logs.troubles();
        let failures = troubles.iter().map(|trouble| Failure {
            object: match &trouble.target {
                Some(target) => format!("log {target}"),
                None => "access logs".to_owned(),
            },
            reason: trouble.reason.clone(),
            since: trouble.since,
        });
        failures.chain(self.refused.load().iter().cloned()).collect()
    }
}
