//! The queues of all services of a node.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use fleetbal_raft::model::ServiceName;

use super::Queue;
use crate::monitor::sockets::Socket;

/// They outlive configurations: whoever waits when a service goes still has a place.
#[derive(Debug)]
pub struct Queues {
    workers: usize,
    all: Mutex<BTreeMap<ServiceName, Arc<Queue>>>,
}

impl Queues {
    /// None yet, on so many workers.
    pub fn new(workers: usize) -> Self {
        Self {
            workers,
            all: Mutex::default(),
        }
    }

    /// Requests that wait in all of them.
    pub fn waiting(&self) -> u64 {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.values().map(|queue| queue.waiting() as u64).sum()
    }

    /// The queue of one service, if there is one.
    pub fn find(&self, service: &ServiceName) -> Option<Arc<Queue>> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(service).map(Arc::clone)
    }

    /// The connections that are being opened, of all services.
    pub fn openings(&self) -> Vec<Socket> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let queues: Vec<_> = all.values().map(Arc::clone).collect();
        drop(all);
        let of = |queue: Arc<Queue>| {
            let openings = queue.openings().into_iter();
            openings.map(move |opening| opening.socket(queue.service()))
        };
        queues.into_iter().flat_map(of).collect()
    }

    /// The queue of one service, made where there is none yet.
    pub fn of(&self, service: &ServiceName) -> Arc<Queue> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = all.get(service) {
            return Arc::clone(queue);
        }
        let queue = Arc::new(Queue::new(service.clone(), self.workers));
        all.insert(service.clone(), Arc::clone(&queue));
        queue
    }
}
