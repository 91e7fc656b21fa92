//! When this node checks a backend.

use std::time::{Duration, Instant};

use crate::health::Own;

/// When this node checks it.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Between two checks; none: it does not.
    pub(super) every: Option<Duration>,
    /// Whether it checks because something is wrong.
    is_urgent: bool,
    /// When next.
    pub(super) next: Option<Instant>,
    pub(super) is_running: bool,
    /// When the own observation has to be looked at again.
    pub(super) stale_at: Option<Instant>,
}

impl Plan {
    /// Changes how often to check, and why. What is urgent is done at once, unless this node has just looked.
    pub(super) fn change(
        &mut self,
        every: Option<Duration>,
        is_urgent: bool,
        own: Option<&Own>,
        jitter: f64,
        now: Instant,
    ) {
        let begins = is_urgent && !self.is_urgent;
        self.is_urgent = is_urgent;
        let before = std::mem::replace(&mut self.every, every);
        let Some(every) = every else {
            self.next = None;
            return;
        };
        let failed_at = own.filter(|own| !own.is_up).map(|own| own.at);
        self.next = match self.next {
            _ if begins => Some(failed_at.map_or(now, |at| (at + every).max(now))),
            None if before.is_none() => Some(now + every.mul_f64(jitter)),
            // It is running.
            None => None,
            Some(next) => Some(next.min(now + every)),
        };
    }
}
