//! Timeouts of connections: a cell each, and one sweep a second over all of a worker, instead of a timer a request.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::task::Waker;
use std::time::Duration;

use crate::clock;

/// No deadline.
const NEVER: u64 = u64::MAX;

/// All that has a deadline on one worker, and its coarse clock.
#[derive(Debug)]
pub(crate) struct Deadlines<T> {
    /// Ticks since the start; one a second.
    now: Cell<u64>,
    /// Seconds since the epoch, at the last tick.
    epoch: Cell<u64>,
    all: RefCell<Vec<Weak<T>>>,
}

/// What has a deadline.
pub(crate) trait Timed {
    /// It.
    fn deadline(&self) -> &Deadline;
}

/// The deadline of one connection; at first there is none.
#[derive(Debug)]
pub(crate) struct Deadline {
    at: Cell<u64>,
    waker: RefCell<Option<Waker>>,
}

/// Between two sweeps.
pub(crate) const TICK: Duration = Duration::from_secs(1);

impl<T> Default for Deadlines<T> {
    fn default() -> Self {
        Self {
            now: Cell::new(0),
            epoch: Cell::new(clock::now().0 / 1000),
            all: RefCell::default(),
        }
    }
}

impl<T: Timed> Deadlines<T> {
    /// One more has a deadline, for as long as it lives.
    pub(super) fn add(&self, timed: T) -> Rc<T> {
        let timed = Rc::new(timed);
        self.all.borrow_mut().push(Rc::downgrade(&timed));
        timed
    }

    /// All that live.
    pub(super) fn all(&self) -> Vec<Rc<T>> {
        self.all.borrow().iter().filter_map(Weak::upgrade).collect()
    }

    /// The tick that it is.
    #[inline]
    pub(crate) fn now(&self) -> u64 {
        self.now.get()
    }

    /// What the calendar says, in seconds since the epoch; at most a tick old.
    #[inline]
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.get()
    }

    /// Sets a deadline from now; it passes at most two ticks late, and not before its time. None: never.
    #[inline]
    pub(super) fn arm(&self, deadline: &Deadline, length: Option<Duration>) {
        // The current tick has begun already, so one more.
        let at = length.map_or(NEVER, |length| self.now.get() + length.as_secs() + 1);
        deadline.at.set(at);
    }

    /// Whether a deadline has passed.
    #[inline]
    pub(super) fn has_passed(&self, deadline: &Deadline) -> bool {
        deadline.at.get() <= self.now.get()
    }

    /// A second has passed: wakes those whose deadline has passed.
    pub(crate) fn tick(&self) {
        self.now.set(self.now.get() + 1);
        self.epoch.set(clock::now().0 / 1000);
        self.all.borrow_mut().retain(|timed| {
            let Some(timed) = timed.upgrade() else {
                return false;
            };
            let deadline = timed.deadline();
            if self.has_passed(deadline)
                && let Some(waker) = &*deadline.waker.borrow()
            {
                waker.wake_by_ref();
            }
            true
        });
    }
}

impl Default for Deadline {
    fn default() -> Self {
        Self {
            at: Cell::new(NEVER),
            waker: RefCell::default(),
        }
    }
}

impl Deadline {
    /// Whom to wake.
    pub(super) fn wakes(&self, waker: &Waker) {
        *self.waker.borrow_mut() = Some(waker.clone());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Timed for Deadline {
        fn deadline(&self) -> &Deadline {
            self
        }
    }

    #[test]
    fn wakes_when_its_time_has_passed() {
        let deadlines = Deadlines::default();
        let deadline = deadlines.add(Deadline::default());
        let count = Arc::new(Count(AtomicUsize::new(0)));
        deadline.wakes(&Waker::from(Arc::clone(&count)));
        deadlines.tick();
        deadlines.arm(&deadline, Some(Duration::from_secs(2)));
        for _ in 0..2 {
            deadlines.tick();
            assert!(!deadlines.has_passed(&deadline));
        }
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
        deadlines.tick();
        assert!(deadlines.has_passed(&deadline));
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        deadlines.arm(&deadline, None);
        assert!(!deadlines.has_passed(&deadline));
        assert_eq!(deadlines.all().len(), 1);
        drop(deadline);
        deadlines.tick();
        assert!(deadlines.all.borrow().is_empty());
    }
}
