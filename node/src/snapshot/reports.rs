//! How the data plane tells of backends.

use tokio::sync::mpsc;

use crate::health::{Key, Seen};

/// What the data plane saw of a backend.
#[derive(Debug)]
pub struct Report {
    /// The backend.
    pub backend: Key,
    /// What was seen.
    pub what: What,
}

/// What can be seen of a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Whether it can be reached.
    Seen(Seen),
    /// So many requests in a row were answered with 5xx, or not at all.
    Errors(u32),
}

/// Where reports go: to whoever judges backends. By default to nobody.
#[derive(Debug, Clone, Default)]
pub struct Reports(Option<mpsc::Sender<Report>>);

/// Reports that wait to be read. What does not fit is lost; who fails goes on failing.
const REPORTS: usize = 4096;

impl Reports {
    /// Tells this of a backend.
    pub(super) fn tell(&self, backend: &Key, what: What) {
        if let Some(reports) = &self.0 {
            let report = Report {
                backend: backend.clone(),
                what,
            };
            if reports.try_send(report).is_err() {
                tracing::trace!(%backend, "report of a backend lost");
            }
        }
    }

    /// Somewhere for them to go, and where they come out.
    pub fn channel() -> (Self, mpsc::Receiver<Report>) {
        let (sender, receiver) = mpsc::channel(REPORTS);
        (Self(Some(sender)), receiver)
    }
}
