//! When this node checks a backend.

use std::time::{Duration, Instant};

use crate::health::Own;

/// Who checks in the place of a node that died begins within this part of an interval: nobody has looked since some time
/// before that one died.
const SOON: f64 = 0.25;

/// When this node checks it.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Between two checks; none: it does not.
    pub(super) every: Option<Duration>,
    /// Whether it checks because something is wrong.
    is_urgent: bool,
    /// Whether a node that checked it has just died.
    is_left_alone: bool,
    /// When next.
    pub(super) next: Option<Instant>,
    pub(super) is_running: bool,
    /// When the own observation has to be looked at again.
    pub(super) stale_at: Option<Instant>,
}

impl Plan {
    /// A node that checked it has died, so that who begins to check begins soon.
    pub(super) fn leave_alone(&mut self) {
        self.is_left_alone = true;
    }

    /// Changes how often to check, and why. What is urgent is done at once, unless this node has just looked.
    pub(super) fn change(
        &mut self,
        every: Option<Duration>,
        is_urgent: bool,
        own: Option<&Own>,
        jitter: f64,
        now: Instant,
    ) {
        let part = if std::mem::take(&mut self.is_left_alone) {
            jitter * SOON
        } else {
            jitter
        };
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
            None if before.is_none() => Some(now + every.mul_f64(part)),
            // It is running.
            None => None,
            Some(next) => Some(next.min(now + every)),
        };
    }
}
