//! The part of a node that carries traffic: it outlives whatever becomes of the rest.

use std::sync::Arc;

use fleetbal_raft::Cluster;
use fleetbal_raft::model::FleetConfig;
use fleetbal_raft::seal::Seal;
use tokio::sync::{mpsc, watch};

use super::BootError;
use super::hindrances::Hindrances;
use super::peers::Said;
use crate::checks::{Health, Runner};
use crate::effects::{self, Effects};
use crate::gossip::FleetView;
use crate::handover::Inheritance;
use crate::health::Told;
use crate::lifecycle::Lifecycle;
use crate::manage::Started;
use crate::monitor::readiness::Readiness;
use crate::monitor::stats::Stats;
use crate::settings::Settings;
use crate::snapshot::{NodeVariables, Publisher, Report, Reports, View};
use crate::sockets::Sockets;
use crate::workers::Workers;

/// What carries traffic, and goes on doing so whatever the rest of the node does.
#[derive(Debug)]
pub(super) struct DataPlane {
    pub(super) view: View,
    pub(super) stats: Arc<Stats>,
    pub(super) workers: Arc<Workers>,
    pub(super) readiness: Readiness,
    pub(super) started: Started,
}

impl DataPlane {
    /// A node begins around it; what is known of its readiness comes from the process before.
    pub(super) fn begin(&self, is_drained: bool, inheritance: Option<&Inheritance>) {
        let drained = inheritance.is_some_and(|inheritance| inheritance.draining);
        self.readiness.set_draining(is_drained || drained);
        // The process before still serves what this one is about to, on the same sockets.
        if inheritance.is_some_and(|inheritance| inheritance.ready) {
            self.readiness.start_finished();
            self.readiness.caught_up();
        }
    }

    /// Closes the listeners of services that are gone since they were opened, and sockets that nobody wants.
    pub(super) fn close_what_is_left(&self, config: &FleetConfig, sockets: &Sockets) {
        self.workers.close_all_but(|name| {
            let service = config.service(name.as_str());
            service.is_some_and(|service| service.enabled)
        });
        sockets.close_unclaimed();
    }

    /// What this node knew last, so that whoever asks as soon as the management port is open reads no empty configuration;
    /// the one that publishes what follows, and what requests report.
    pub(super) fn first_view(
        &self,
        cluster: &Cluster,
        variables: NodeVariables,
    ) -> (Publisher, mpsc::Receiver<Report>) {
        let (seen, reports) = Reports::channel();
        let mut publisher = Publisher::of(&self.view, variables).reporting(seen);
        publisher.publish(&cluster.feed().latest().state.config);
        (publisher, reports)
    }

    /// What keeps it as the configuration asks for.
    pub(super) fn effects(
        &self,
        publisher: Publisher,
        (variables, seal): (&NodeVariables, &Seal),
        settings: &Settings,
        lifecycle: &Lifecycle,
    ) -> (effects::Runner, Effects) {
        let plane = effects::Plane {
            servers: self.workers.tls().clone(),
            seal: seal.clone(),
            access_logs: self.workers.access_logs().clone(),
            may_start_programs: settings.allow_exec,
        };
        effects::effects(publisher, variables.clone(), plane, lifecycle)
    }

    pub(super) fn start(settings: &Settings) -> Result<Self, BootError> {
        let stats = Arc::new(Stats::new());
        let view = View::default();
        let workers = Workers::start(settings.workers, view.clone(), stats.clone());
        Ok(Self {
            view,
            stats,
            workers: Arc::new(workers.map_err(BootError::running)?),
            readiness: Readiness::default(),
            started: Started::now(),
        })
    }

    pub(super) fn said(
        &self,
        effects: &Effects,
        health: &Health,
        backends: watch::Receiver<Arc<Told>>,
    ) -> Said {
        let hindrances = Hindrances {
            effects: effects.clone(),
            health: health.clone(),
        };
        Said {
            hindrances,
            backends,
            view: self.view.clone(),
            stats: self.stats.clone(),
            queues: self.workers.queues().clone(),
            readiness: self.readiness.clone(),
            started: self.started,
            effects: effects.clone(),
        }
    }

    /// What keeps the view of the backends' health, by reports of requests; what it tells the others goes to the other
    /// end.
    pub(super) fn checks(
        &self,
        health: &Health,
        effects: &Effects,
        fleet: &FleetView,
        (reports, told): (mpsc::Receiver<Report>, watch::Sender<Arc<Told>>),
    ) -> Runner {
        Runner {
            health: health.clone(),
            view: self.view.clone(),
            settled: effects.settled(),
            reports,
            fleet: fleet.clone(),
            told,
        }
    }
}
