//! Lines of access logs: what is kept of a request while it is answered, and where its lines go.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fleetbal_raft::model::Role;

use super::client::Client;
use super::local::{Local, Served};
use crate::access_log::{Batch, Line, Stamp};
use crate::clock;
use crate::snapshot::{LogTarget, ServiceView};

/// So many bytes of lines are handed over at once; fewer after [`SOON`].
const MANY: usize = 32 * 1024;

/// How long lines may wait for more.
const SOON: Duration = Duration::from_millis(100);

/// A head of more than this is not kept for the next request's copy.
const HEAD_KEPT: usize = 4096;

/// A request that one or more services log.
#[derive(Debug)]
pub(super) struct Logged {
    /// The head as the client sent it.
    head: Vec<u8>,
    started: Instant,
    services: Vec<Rc<Served>>,
    status: u16,
    length: u64,
    is_whole: bool,
}

/// Lines of a service that were not handed over yet.
#[derive(Debug, Default)]
pub(super) struct Unsent {
    target: Option<Arc<LogTarget>>,
    bytes: Vec<u8>,
    lines: u64,
}

/// What a worker has for its logs.
#[derive(Debug, Default)]
pub(super) struct Logs {
    stamp: RefCell<Stamp>,
    /// Services with lines that were not handed over.
    behind: RefCell<Vec<Rc<Served>>>,
    /// Kept for the next requests.
    #[expect(clippy::vec_box, reason = "they are taken and given back as they are")]
    spare: RefCell<Vec<Box<Logged>>>,
}

impl Client {
    /// A service begins to answer: it may want a line.
    #[inline]
    pub(super) fn log_for(&mut self, served: &Rc<Served>, view: &ServiceView, sent: &[u8]) {
        if view.log.is_some() {
            self.keep_for_log(served, sent);
        }
    }

    #[cold]
    fn keep_for_log(&mut self, served: &Rc<Served>, sent: &[u8]) {
        if self.logged.is_none() {
            let mut logged = self.local().logs.spare.borrow_mut().pop().unwrap_or_default();
            logged.head.extend_from_slice(sent);
            logged.started = Instant::now();
            self.logged = Some(logged);
        }
        if let Some(logged) = &mut self.logged
            && !logged.services.iter().any(|other| Rc::ptr_eq(other, served))
        {
            logged.services.push(Rc::clone(served));
        }
    }

    /// An answer of this status was begun with; none: it does not say its length.
    #[inline]
    pub(super) fn log_answer(&mut self, status: u16, length: Option<u64>) {
        if let Some(logged) = &mut self.logged {
            logged.status = status;
            logged.length = length.unwrap_or(0);
            logged.is_whole = false;
        }
    }

    /// All that was said went out.
    #[inline]
    pub(super) fn log_whole(&mut self) {
        if let Some(logged) = &mut self.logged {
            logged.is_whole = true;
        }
    }

    /// The request is over. Of an answer that was broken off nothing is logged, as in Perlbal.
    #[inline]
    pub(super) fn log(&mut self) {
        if let Some(logged) = self.logged.take() {
            self.write_log(logged);
        }
    }

    #[cold]
    fn write_log(&self, mut logged: Box<Logged>) {
        let local = &self.counted.local;
        if logged.is_whole && logged.status > 0 {
            let took = logged.started.elapsed();
            let mut stamp = local.logs.stamp.borrow_mut();
            stamp.set(clock::now().0 / 1000);
            for served in &logged.services {
                let line = Line {
                    peer: self.peer_text(),
                    head: &logged.head,
                    time: &stamp,
                    status: logged.status,
                    length: logged.length,
                    took,
                    service: served.name().as_str(),
                    role: "",
                };
                served.log(local, line);
            }
        }
        logged.clear();
        local.logs.spare.borrow_mut().push(logged);
    }
}

impl Default for Logged {
    fn default() -> Self {
        Self {
            head: Vec::new(),
            started: Instant::now(),
            services: Vec::new(),
            status: 0,
            length: 0,
            is_whole: false,
        }
    }
}

impl Logged {
    fn clear(&mut self) {
        self.head.clear();
        self.head.shrink_to(HEAD_KEPT);
        self.services.clear();
        self.is_whole = false;
        self.status = 0;
    }
}

impl Served {
    /// Writes a line where the service logs now.
    fn log(self: &Rc<Self>, local: &Rc<Local>, line: Line<'_>) {
        let Some(current) = self.current(local) else {
            return;
        };
        let Some(log) = &current.view.log else { return };
        let line = Line {
            role: current.view.role.map_or("-", Role::name),
            ..line
        };
        let mut unsent = self.unsent.borrow_mut();
        if unsent.target.as_ref().is_some_and(|target| *target != log.target) {
            self.hand_over(local, &mut unsent);
        }
        if unsent.bytes.is_empty() {
            unsent.target = Some(Arc::clone(&log.target));
            local.logs.is_behind(local, self);
        }
        line.write(log.format, &mut unsent.bytes);
        unsent.lines += 1;
        if unsent.bytes.len() >= MANY {
            self.hand_over(local, &mut unsent);
        }
    }

    fn hand_over(&self, local: &Local, unsent: &mut Unsent) {
        let Unsent { target, bytes, lines } = std::mem::take(unsent);
        if let Some(target) = target.filter(|_| lines > 0) {
            local.access_logs.write(Batch {
                target,
                bytes,
                lines,
                stats: Arc::clone(self.stats()),
            });
        }
    }
}

impl Logs {
    /// Sees to it that what waits is handed over soon.
    fn is_behind(&self, local: &Rc<Local>, served: &Rc<Served>) {
        let mut behind = self.behind.borrow_mut();
        if behind.is_empty() {
            let local = Rc::clone(local);
            tokio::task::spawn_local(async move {
                tokio::time::sleep(SOON).await;
                local.logs.hand_over(&local);
            });
        }
        if !behind.iter().any(|other| Rc::ptr_eq(other, served)) {
            behind.push(Rc::clone(served));
        }
    }

    /// Hands over all that waits.
    pub(super) fn hand_over(&self, local: &Local) {
        let behind = std::mem::take(&mut *self.behind.borrow_mut());
        for served in behind {
            served.hand_over(local, &mut served.unsent.borrow_mut());
        }
    }

    /// Lets go of what only a burst needed.
    pub(super) fn tick(&self) {
        let mut spare = self.spare.borrow_mut();
        let half = spare.len() / 2;
        spare.truncate(half.max(16));
    }
}
