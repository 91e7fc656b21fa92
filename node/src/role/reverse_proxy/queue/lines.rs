//! Three lines, one a class; in each, whoever came first is first.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::Answer;
use crate::http::RequestHead;

/// How urgent a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Before all others.
    High,
    /// As most are.
    Normal,
    /// After all others.
    Low,
}

impl Class {
    /// The first one first.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// That of a request by its service's rules.
    #[inline]
    pub(in crate::role::reverse_proxy) fn of(head: &RequestHead) -> Self {
        if head.high_priority {
            Self::High
        } else {
            Self::Normal
        }
    }
}

/// How many wait, and for how long the first of them has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Length {
    /// How many.
    pub count: usize,
    /// For how long; nothing where nobody waits.
    pub age: Duration,
}

impl Length {
    pub(super) fn with(self, other: Self) -> Self {
        Self {
            count: self.count + other.count,
            age: self.age.max(other.age),
        }
    }
}

#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) since: Instant,
    pub(super) worker: usize,
    pub(super) sender: oneshot::Sender<Answer>,
}

/// Numbers are given in the order in which requests come.
#[derive(Debug, Default)]
pub(super) struct Lines {
    high: BTreeMap<u64, Waiter>,
    normal: BTreeMap<u64, Waiter>,
    low: BTreeMap<u64, Waiter>,
}

impl Lines {
    fn line(&self, class: Class) -> &BTreeMap<u64, Waiter> {
        match class {
            Class::High => &self.high,
            Class::Normal => &self.normal,
            Class::Low => &self.low,
        }
    }

    fn line_mut(&mut self, class: Class) -> &mut BTreeMap<u64, Waiter> {
        match class {
            Class::High => &mut self.high,
            Class::Normal => &mut self.normal,
            Class::Low => &mut self.low,
        }
    }

    pub(super) fn enter(&mut self, class: Class, id: u64, waiter: Waiter) {
        self.line_mut(class).insert(id, waiter);
    }

    pub(super) fn remove(&mut self, class: Class, id: u64) -> Option<Waiter> {
        self.line_mut(class).remove(&id)
    }

    /// Who is next; with `skips_high`, as if nobody waited in the first line, where somebody waits in another.
    pub(super) fn first(&self, skips_high: bool) -> Option<(Class, u64)> {
        let first = |class| self.line(class).keys().next().map(|id| (class, *id));
        let others = || first(Class::Normal).or_else(|| first(Class::Low));
        if skips_high {
            others().or_else(|| first(Class::High))
        } else {
            first(Class::High).or_else(others)
        }
    }

    /// Who came last.
    pub(super) fn newest(&self) -> Option<u64> {
        let last = Class::ALL.map(|class| self.line(class).keys().next_back().copied());
        last.into_iter().flatten().max()
    }

    /// All who came before this number.
    pub(super) fn before(&self, end: u64) -> impl Iterator<Item = (Class, u64)> {
        let of = move |class| self.line(class).range(..end).map(move |(id, _)| (class, *id));
        Class::ALL.into_iter().flat_map(of)
    }

    pub(super) fn len(&self, class: Class) -> usize {
        self.line(class).len()
    }

    pub(super) fn total(&self) -> usize {
        Class::ALL.into_iter().map(|class| self.len(class)).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.total() == 0
    }

    pub(super) fn length(&self, class: Class, now: Instant) -> Length {
        let first = self.line(class).values().next();
        Length {
            count: self.len(class),
            age: first.map_or(Duration::ZERO, |waiter| {
                now.saturating_duration_since(waiter.since)
            }),
        }
    }
}
