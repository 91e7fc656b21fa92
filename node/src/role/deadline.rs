//! Timeouts of connections: a cell each, and one sweep a second over all of a worker, instead of a timer a request.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::task::Waker;
use std::time::Duration;

/// No deadline.
const NEVER: u64 = u64::MAX;

/// All deadlines of one worker, and its coarse clock.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    /// Ticks since the start; one a second.
    now: Cell<u64>,
    all: RefCell<Vec<Weak<Deadline>>>,
}

/// The deadline of one connection.
#[derive(Debug)]
pub(crate) struct Deadline {
    at: Cell<u64>,
    waker: RefCell<Option<Waker>>,
}

impl Deadlines {
    /// Between two sweeps.
    pub(crate) const TICK: Duration = Duration::from_secs(1);

    /// A deadline that is not set yet.
    pub(super) fn add(&self) -> Rc<Deadline> {
        let deadline = Rc::new(Deadline {
            at: Cell::new(NEVER),
            waker: RefCell::default(),
        });
        self.all.borrow_mut().push(Rc::downgrade(&deadline));
        deadline
    }

    /// The tick that it is.
    #[inline]
    pub(crate) fn now(&self) -> u64 {
        self.now.get()
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
        self.all.borrow_mut().retain(|deadline| {
            let Some(deadline) = deadline.upgrade() else {
                return false;
            };
            if self.has_passed(&deadline)
                && let Some(waker) = &*deadline.waker.borrow()
            {
                waker.wake_by_ref();
            }
            true
        });
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

    #[test]
    fn wakes_when_its_time_has_passed() {
        let deadlines = Deadlines::default();
        let deadline = deadlines.add();
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
        drop(deadline);
        deadlines.tick();
        assert!(deadlines.all.borrow().is_empty());
    }
}
