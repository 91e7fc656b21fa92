//! Bodies of requests before a backend sees them (Perlbal, reference sections 4.9, 4.10 and 4.13).
//!
//! A body is collected in memory until it is worth a backend's time; one that is large or slow goes to a file first.
//! Here is what decides that, the file itself, what becomes of the head, and the tracking of progress. Reading from
//! clients is the business of `role`.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

pub mod decision;
pub mod head;
pub mod spool;
pub mod tracker;

pub use decision::{Reason, Thresholds};
pub use spool::{Replay, Spool, SpoolName};
pub use tracker::{Announcer, Report, Tracker};

/// What one worker needs for uploads.
#[derive(Debug)]
pub struct Uploads {
    /// What this process knows of uploads anywhere.
    pub tracker: Arc<Tracker>,
    /// Tells trackers of those of this worker.
    pub announcer: Announcer,
    used: RefCell<BTreeSet<SpoolName>>,
}

impl Uploads {
    /// Of a worker that has had none.
    pub fn new(tracker: Arc<Tracker>) -> Self {
        Self {
            tracker,
            announcer: Announcer::default(),
            used: RefCell::default(),
        }
    }

    /// Whether this worker makes files of that name for the first time: there may be some of a process that crashed.
    pub fn is_first(&self, name: &SpoolName) -> bool {
        let mut used = self.used.borrow_mut();
        let is_new = !used.contains(name);
        if is_new {
            used.insert(name.clone());
        }
        is_new
    }
}
