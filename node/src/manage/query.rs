//! Read commands: data into lines. Nothing here waits or changes anything.

pub mod certificate;
pub mod cluster;
pub mod effects;
pub mod health;
pub mod history;
pub mod live;
pub mod node;
pub mod plugin;
pub mod pool;
pub mod service;
pub mod sockets;
pub mod tokens;
pub mod why;

use std::collections::HashMap;

use fleetbal_raft::model::{BackendAddress, PoolName, ServiceName};

use crate::reproxy::CacheFigures;

/// Live figures of this node that `show` prints beside the configuration.
pub trait Figures {
    /// Requests that were handed to the backends of a pool.
    fn requests_by_backend(&self, pool: &PoolName) -> HashMap<BackendAddress, u64>;

    /// Clients of a service that wait for a backend.
    fn pending_clients(&self, service: &ServiceName) -> u64;

    /// The backend connections of a service that are being opened, as lines.
    fn pending_backends(&self, service: &ServiceName) -> Vec<String>;

    /// Idle backend connections of a service.
    fn idle_backends(&self, service: &ServiceName) -> u64;

    /// The cache of reproxied URLs of a service.
    fn reproxy_cache(&self, service: &ServiceName) -> CacheFigures;
}

/// No figures: before anything runs, as in a config file.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoFigures;

impl Figures for NoFigures {
    fn requests_by_backend(&self, _pool: &PoolName) -> HashMap<BackendAddress, u64> {
        HashMap::new()
    }

    fn pending_clients(&self, _service: &ServiceName) -> u64 {
        0
    }

    fn pending_backends(&self, _service: &ServiceName) -> Vec<String> {
        Vec::new()
    }

    fn idle_backends(&self, _service: &ServiceName) -> u64 {
        0
    }

    fn reproxy_cache(&self, _service: &ServiceName) -> CacheFigures {
        CacheFigures::default()
    }
}
