//! What is known of one backend.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::report::{BackendHealth, Evidence, Standing, Why};
use super::pools::PoolHealth;
use crate::health::{Checkers, Judgement, Key, Observation, Own, Patience, Seen, Tracker, judge};
use crate::snapshot::BackendState;

/// After so many failed checks in a row a backend is down that nobody else has trouble with, unless it refuses.
const FALL: u32 = 3;

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) backend: Arc<BackendState>,
    pub(super) weight: u32,
    pub(super) is_draining: bool,
    pub(super) tracker: Tracker,
    /// Worked out once somebody has to check it.
    checkers: Option<Checkers>,
    /// What others that live tell of it, and since when by this node's clock.
    heard: BTreeMap<Arc<str>, (Observation, Instant)>,
    judgement: Judgement,
    /// Since when the verdict is what it is.
    since: Instant,
    /// Requests that it had answered at the last look.
    answered: u64,
    plan: Plan,
}

/// When this node checks it.
#[derive(Debug, Default)]
struct Plan {
    /// Between two checks; none: it does not.
    every: Option<Duration>,
    /// Whether it checks because something is wrong.
    is_urgent: bool,
    /// When next.
    next: Option<Instant>,
    is_running: bool,
    /// When the own observation has to be looked at again.
    stale_at: Option<Instant>,
}

/// What a verdict depends on beside the backend.
pub(super) struct Context<'a> {
    pub(super) own: &'a Arc<str>,
    pub(super) alive: &'a BTreeSet<Arc<str>>,
    pub(super) pool: &'a PoolHealth,
}

impl Entry {
    pub(super) fn new(backend: &Arc<BackendState>, now: Instant) -> Self {
        Self {
            backend: Arc::clone(backend),
            weight: 1,
            is_draining: false,
            tracker: Tracker::default(),
            checkers: None,
            heard: BTreeMap::new(),
            judgement: judge(None, []),
            since: now,
            answered: backend.requests_total(),
            plan: Plan::default(),
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.judgement.is_up
    }

    /// For how long the verdict has been what it is.
    pub(super) fn since(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    /// Whether this node has seen it down itself a moment ago.
    pub(super) fn is_seen_down(&self, pool: &PoolHealth, now: Instant) -> bool {
        let own = self.tracker.fresh(now, pool.window());
        own.is_some_and(|own| !own.is_up)
    }

    /// A node tells this of it now; none: nothing.
    pub(super) fn hear(&mut self, name: &Arc<str>, observation: Option<&Observation>, now: Instant) {
        let Some(observation) = observation else {
            self.forget(name);
            return;
        };
        let before = self.heard.get(name);
        let since = before.filter(|(before, _)| before.is_up() == observation.is_up());
        let since = since.map_or(now, |(_, since)| *since);
        self.heard.insert(Arc::clone(name), (observation.clone(), since));
    }

    pub(super) fn forget(&mut self, name: &Arc<str>) {
        self.heard.remove(name);
    }

    /// Follows the live nodes. Whether others check it now.
    pub(super) fn follow(
        &mut self,
        came: &[Arc<str>],
        went: &[Arc<str>],
        alive: &BTreeSet<Arc<str>>,
    ) -> bool {
        let Some(checkers) = &mut self.checkers else {
            return false;
        };
        let before = checkers.clone();
        checkers.follow(came, went, alive);
        *checkers != before
    }

    /// Whether requests that it answered since the last look say something new. Not while it is down: those may be
    /// older than that.
    pub(super) fn has_answered(&mut self, now: Instant) -> bool {
        let answered = self.backend.requests_total();
        let has_more = std::mem::replace(&mut self.answered, answered) < answered;
        let is_thought_down = self.tracker.last().is_some_and(|own| !own.is_up);
        if !has_more || is_thought_down {
            return false;
        }
        self.tracker.saw(&Seen::Up(None), 1, now);
        !self.judgement.checkers_say_up
    }

    /// Whether a check is due; it counts as running then.
    pub(super) fn begin_check(&mut self, now: Instant) -> bool {
        let is_due = !self.plan.is_running && self.plan.next.is_some_and(|next| next <= now);
        self.plan.is_running |= is_due;
        is_due
    }

    /// A check is through.
    pub(super) fn checked(&mut self, started: Instant, seen: Option<&Seen>, pool: &PoolHealth, now: Instant) {
        self.plan.is_running = false;
        self.plan.next = self.plan.every.map(|every| (started + every).max(now));
        let Some(seen) = seen else { return };
        let refused = matches!(seen, Seen::Down(failure) if failure.refused);
        let is_known_trouble = refused || self.is_trouble_elsewhere();
        let patience = Patience {
            fall: pool
                .rules()
                .fall
                .unwrap_or(if is_known_trouble { 1 } else { FALL }),
            rise: pool.rules().rise,
        };
        self.tracker.checked(seen, patience, now);
    }

    fn is_trouble_elsewhere(&self) -> bool {
        self.heard.values().any(|(observation, _)| !observation.is_up())
    }

    /// Judges, and plans the next check. What this node tells the others of it.
    pub(super) fn review(&mut self, context: &Context<'_>, now: Instant) -> Option<Observation> {
        let window = context.pool.window();
        let own = self.tracker.fresh(now, window).cloned();
        let own_up = own.as_ref().map(|own| own.is_up);
        let trouble_elsewhere = self.is_trouble_elsewhere();
        let trouble = trouble_elsewhere || own_up == Some(false);
        let (calm, urgent) = context.pool.intervals();
        let is_checker = (trouble || calm.is_some()) && self.checkers(context).has(context.own);
        let judgement = judge(own_up, self.votes(context.own, own_up));
        if judgement.is_up != self.judgement.is_up {
            self.since = now;
        }
        self.judgement = judgement;
        // Whoever has seen something else than the checkers looks for himself.
        let differs = own_up.is_some_and(|up| up != judgement.checkers_say_up);
        let is_urgent = differs || (is_checker && trouble);
        let every = if is_urgent {
            Some(urgent)
        } else {
            calm.filter(|_| is_checker)
        };
        self.plan.stale_at = own.as_ref().map(|own| own.at + window);
        self.plan.change(
            every,
            is_urgent,
            own.as_ref(),
            context.jitter(self.backend.key()),
            now,
        );
        self.backend.set_missed(own_up == Some(false));
        match own {
            Some(own) if !own.is_up => Some(Observation::Down(own.reason)),
            Some(own) if trouble_elsewhere && (is_checker || differs) => {
                let millis = own.round_trip.map(|time| time.as_millis());
                Some(Observation::Up(millis.and_then(|millis| millis.try_into().ok())))
            }
            Some(_) | None => None,
        }
    }

    fn checkers(&mut self, context: &Context<'_>) -> &Checkers {
        let wanted = usize::try_from(context.pool.rules().checkers).unwrap_or(1);
        let known = self.checkers.take().filter(|known| known.wanted() == wanted);
        self.checkers
            .insert(known.unwrap_or_else(|| Checkers::choose(self.backend.address(), wanted, context.alive)))
    }

    /// What each checker says.
    fn votes(&self, own: &Arc<str>, own_up: Option<bool>) -> Vec<Option<bool>> {
        let names = self.checkers.iter().flat_map(Checkers::names);
        let vote = |name: &Arc<str>| {
            if name == own {
                own_up
            } else {
                self.heard.get(name).map(|(observation, _)| observation.is_up())
            }
        };
        names.map(vote).collect()
    }

    /// When it has to be thought about again.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        let next = self.plan.next.filter(|_| !self.plan.is_running);
        match (next, self.plan.stale_at) {
            (Some(next), Some(stale)) => Some(next.min(stale)),
            (next, stale) => next.or(stale),
        }
    }

    /// Tells the data plane.
    pub(super) fn publish(&self, is_panic: bool) {
        self.backend.set_out(!self.is_up() && !is_panic);
    }

    pub(super) fn health(&self, key: &Key, is_panic: bool, now: Instant) -> BackendHealth {
        BackendHealth {
            key: key.clone(),
            standing: if self.is_draining {
                Standing::Draining
            } else if self.is_up() {
                Standing::Up
            } else {
                Standing::Down
            },
            is_up: self.is_up(),
            is_panic,
            since: self.since(now),
            reason: self.reason(),
        }
    }

    /// Why it is down: the own reason first, else that of somebody who says so.
    fn reason(&self) -> Option<String> {
        let own = self.tracker.last().filter(|own| !own.is_up);
        let heard = self
            .heard
            .values()
            .filter_map(|(observation, _)| match observation {
                Observation::Down(reason) => Some(reason),
                Observation::Up(_) => None,
            });
        let reason = own.map(|own| &own.reason).into_iter().chain(heard).next();
        reason.filter(|_| !self.is_up()).cloned()
    }

    pub(super) fn why(
        &self,
        health: BackendHealth,
        pool: &PoolHealth,
        own_name: &Arc<str>,
        alive: &BTreeSet<Arc<str>>,
        now: Instant,
    ) -> Why {
        let wanted = usize::try_from(pool.rules().checkers).unwrap_or(1);
        let chosen = self.checkers.clone();
        let checkers = chosen.unwrap_or_else(|| Checkers::choose(self.backend.address(), wanted, alive));
        let own = self.tracker.fresh(now, pool.window());
        let evidence = alive.iter().map(|name| {
            let heard = self.heard.get(name);
            let (observation, age) = if name == own_name {
                let age = own.map(|own| now.saturating_duration_since(own.at));
                (own.map(observed), age)
            } else {
                let age = heard.map(|(_, since)| now.saturating_duration_since(*since));
                (heard.map(|(observation, _)| observation.clone()), age)
            };
            Evidence {
                node: name.to_string(),
                is_checker: checkers.has(name),
                observation,
                age,
            }
        });
        Why {
            rule: self.judgement.rule,
            evidence: evidence.collect(),
            health,
        }
    }
}

fn observed(own: &Own) -> Observation {
    if own.is_up {
        let millis = own.round_trip.map(|time| time.as_millis());
        Observation::Up(millis.and_then(|millis| millis.try_into().ok()))
    } else {
        Observation::Down(own.reason.clone())
    }
}

impl Plan {
    /// Changes how often to check, and why. What is urgent is done at once, unless this node has just looked.
    fn change(
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

impl Context<'_> {
    /// Spreads the first checks of many backends over an interval: from 0 to 1.
    fn jitter(&self, key: &Key) -> f64 {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        (key, self.own).hash(&mut hasher);
        f64::from(u16::try_from(hasher.finish() & 0xffff).unwrap_or_default()) / 65_536.0
    }
}
