//! What plugins know of the request that a client's connection is at, and where it goes on.

use std::rc::Rc;
use std::sync::Arc;

use super::local::{Current, Served};
use crate::plugin::{Asked, Hooks, Outcome, Point, Points, RequestContext};

/// A request of a service with plugins. When it goes, they are told that the request is over.
#[derive(Debug)]
pub(super) struct Hooked {
    pub(super) hooks: Arc<Hooks>,
    pub(super) context: RequestContext,
    /// Where they are still asked.
    points: Points,
    /// That of the selector that handed the request over, if it has plugins too.
    #[expect(dead_code, reason = "it is told when this one goes")]
    outer: Option<Box<Self>>,
    /// Whether a plugin has asked to wait: it goes on where it was.
    pub(super) waits: bool,
}

impl Hooked {
    pub(super) fn new(hooks: Arc<Hooks>, context: RequestContext, outer: Option<Box<Self>>) -> Box<Self> {
        Box::new(Self {
            points: hooks.points(),
            hooks,
            context,
            outer,
            waits: false,
        })
    }

    /// Asks the plugins at a point.
    pub(super) fn run(&mut self, points: &[Point]) -> Outcome {
        self.hooks.run(points, &mut self.context)
    }

    /// The same; where a plugin asks to wait, this waits.
    pub(super) async fn ask(&mut self, points: &[Point]) -> Outcome {
        self.hooks.ask(points, &mut self.context).await
    }

    /// The same for whoever sends what a backend has named.
    pub(super) fn asked(&mut self) -> Option<Asked<'_>> {
        (self.points != Points::default()).then_some(Asked {
            hooks: &self.hooks,
            context: &mut self.context,
        })
    }

    /// Whether any of them is asked at that point.
    #[inline]
    pub(super) fn has(&self, point: Point) -> bool {
        self.points.has(point)
    }

    /// Whether it takes more than the head before a backend is asked for, or a backend before anything is sent.
    #[inline]
    pub(super) fn holds_request(&self) -> bool {
        self.points.meets(Points::BEFORE_BACKEND)
            || self.context.backend().is_some()
            || self.context.priority().is_some()
    }

    /// Whether it is asked about files, so that none is sent before.
    #[inline]
    pub(super) fn sees_files(&self) -> bool {
        self.points.meets(Points::FILES)
    }

    /// Another service answers: its plugins are asked from now on.
    pub(super) fn retire(&mut self) {
        self.points = Points::default();
    }
}

impl Drop for Hooked {
    fn drop(&mut self) {
        self.hooks.end(&mut self.context);
    }
}

/// A request that goes on where it was: behind a pause, or with another service.
#[derive(Debug)]
pub(super) struct Resumed {
    pub(super) served: Rc<Served>,
    pub(super) current: Rc<Current>,
    pub(super) outer: Option<Rc<Current>>,
    /// Its head, which is not in the input any more.
    pub(super) head: Vec<u8>,
}
