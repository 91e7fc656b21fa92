//! How a process of a node ends, or gives its place to another: who may ask for it, and the signals that do.
//!
//! Whoever wants the process to stop calls [`Lifecycle::request`]; `boot` alone carries it out. Asking again ends it
//! at once, so that nobody has to wait for a drain that hangs.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, watch};

use crate::service_manager;

/// How to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// At once; what is in flight is cut off.
    Now,
    /// Stop accepting, finish what is in flight, at most for so long (none: without limit).
    Graceful(Option<Duration>),
}

/// How long a node drains at TERM or INT where nothing else was said.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// The handle that asks a node to end, and that its parts wait on. Clones share one state.
#[derive(Debug, Clone)]
pub struct Lifecycle {
    stop: watch::Sender<Option<Stop>>,
    reload: watch::Sender<u64>,
    replace: Arc<Notify>,
    report: watch::Sender<u64>,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self {
            stop: watch::Sender::new(None),
            reload: watch::Sender::new(0),
            replace: Arc::default(),
            report: watch::Sender::new(0),
        }
    }
}

impl Lifecycle {
    /// Asks the node to end. A second request while one is being carried out ends it at once.
    pub fn request(&self, stop: Stop) {
        self.stop.send_modify(|current| {
            *current = Some(if current.is_some() { Stop::Now } else { stop });
        });
    }

    /// Asks the node to read its files anew.
    pub fn reload(&self) {
        self.reload.send_modify(|turn| *turn += 1);
    }

    /// Counts how often that was asked for.
    pub fn reloads(&self) -> watch::Receiver<u64> {
        self.reload.subscribe()
    }

    /// Asks for another process in the place of this one.
    pub fn replace(&self) {
        self.replace.notify_one();
    }

    /// Waits until that is asked for. Asked for again while it is being done, it is done once more.
    pub async fn replacement_requested(&self) {
        self.replace.notified().await;
    }

    /// Asks the node to log what it does.
    pub fn report(&self) {
        self.report.send_modify(|turn| *turn += 1);
    }

    /// Counts how often that was asked for.
    pub fn reports(&self) -> watch::Receiver<u64> {
        self.report.subscribe()
    }

    /// Whether an end was asked for.
    pub fn is_stopping(&self) -> bool {
        self.stop.borrow().is_some()
    }

    /// Waits until an end is asked for. Dropping the future loses nothing.
    pub async fn requested(&self) -> Stop {
        let mut stop = self.stop.subscribe();
        match stop.wait_for(Option::is_some).await {
            Ok(stop) => (*stop).unwrap_or(Stop::Now),
            Err(_) => Stop::Now,
        }
    }

    /// Waits until the node must end at once.
    pub async fn requested_now(&self) {
        let mut stop = self.stop.subscribe();
        // An error means that no handle is left, and `self` is one.
        drop(stop.wait_for(|stop| *stop == Some(Stop::Now)).await);
    }
}

/// The signals a node listens to.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user1: Signal,
    user2: Signal,
}

impl Signals {
    /// Takes the signals over from their default, which would kill the process.
    ///
    /// # Errors
    /// When the system refuses a handler.
    pub fn register() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    /// Turns signals into requests, for as long as it is polled.
    pub async fn follow(mut self, lifecycle: Lifecycle) {
        loop {
            tokio::select! {
                Some(()) = self.terminate.recv() => lifecycle.request(Stop::Graceful(Some(DRAIN_TIMEOUT))),
                Some(()) = self.interrupt.recv() => lifecycle.request(Stop::Graceful(Some(DRAIN_TIMEOUT))),
                Some(()) = self.hangup.recv() => {
                    service_manager::reloading();
                    tracing::info!("HUP: certificates are read anew, logs opened again");
                    lifecycle.reload();
                    service_manager::ready("running");
                }
                Some(()) = self.user1.recv() => lifecycle.report(),
                Some(()) = self.user2.recv() => lifecycle.replace(),
                else => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_second_request_is_at_once() {
        let lifecycle = Lifecycle::default();
        assert!(!lifecycle.is_stopping());
        lifecycle.request(Stop::Graceful(None));
        assert_eq!(lifecycle.requested().await, Stop::Graceful(None));
        lifecycle.request(Stop::Graceful(None));
        lifecycle.requested_now().await;
        assert_eq!(lifecycle.requested().await, Stop::Now);
    }
}
