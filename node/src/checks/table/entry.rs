//! What is known of one backend.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::report::{BackendHealth, Evidence, Standing, Why};
use super::outcome::Outcome;
use super::plan::Plan;
use super::pools::PoolHealth;
use crate::health::{Checkers, Judgement, Key, Observation, Own, Patience, Rule, Seen, Tracker, judge};
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
    /// What its requests came to.
    pub(super) outcome: Outcome,
    plan: Plan,
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
            outcome: Outcome::new(backend.timed()),
            plan: Plan::default(),
        }
    }

    /// Whether it is to be used: it is up, and its requests come to something.
    pub(super) fn is_up(&self) -> bool {
        self.judgement.is_up && !self.outcome.is_ejected()
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
        let since = before.filter(|(before, _)| before.is_like(observation));
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
        if went.iter().any(|node| before.has(node)) {
            self.plan.leave_alone();
        }
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

    /// Whether a check that is begun now can be its own as well; it counts as running then.
    pub(super) fn join_check(&mut self) -> bool {
        !std::mem::replace(&mut self.plan.is_running, true)
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
        let mut heard = self.heard.values();
        heard.any(|(observation, _)| observation.says_up() == Some(false))
    }

    /// Judges, and plans the next check. What this node tells the others of it.
    pub(super) fn review(&mut self, context: &Context<'_>, now: Instant) -> Option<Observation> {
        let was_up = self.is_up();
        self.outcome.expire(context.pool.outlier(), now);
        let window = context.pool.window();
        let own = self.tracker.fresh(now, window).cloned();
        let own_up = own.as_ref().map(|own| own.is_up);
        let trouble_elsewhere = self.is_trouble_elsewhere();
        let trouble = trouble_elsewhere || own_up == Some(false);
        let (calm, urgent) = context.pool.intervals();
        let is_checker = (trouble || calm.is_some()) && self.checkers(context).has(context.own);
        let judgement = judge(own_up, self.votes(context.own, own_up));
        self.judgement = judgement;
        if was_up != self.is_up() {
            self.since = now;
        }
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
            _ if self.outcome.is_ejected() => self.observed_outcome(),
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
                self.heard
                    .get(name)
                    .and_then(|(observation, _)| observation.says_up())
            }
        };
        names.map(vote).collect()
    }

    /// When it has to be thought about again.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        let next = self.plan.next.filter(|_| !self.plan.is_running);
        let times = [next, self.plan.stale_at, self.outcome.until()];
        times.into_iter().flatten().min()
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
            is_ejected: self.outcome.is_ejected(),
            ejections: self.outcome.total(),
            part: self.backend.part(now),
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
                Observation::Up(_) | Observation::Ejected(_) => None,
            });
        let reason = own.map(|own| own.reason.as_str()).into_iter();
        let reason = reason.chain(heard.map(String::as_str)).next();
        // While it is down, that it was taken out before is of no matter.
        let reason = reason.filter(|_| !self.judgement.is_up);
        reason.or(self.outcome.reason()).map(str::to_owned)
    }

    fn observed_outcome(&self) -> Option<Observation> {
        let reason = self.outcome.reason();
        reason.map(|reason| Observation::Ejected(reason.to_owned()))
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
                let observed = own.filter(|own| !own.is_up).map(observed);
                let observed = observed.or_else(|| self.observed_outcome());
                (observed.or_else(|| own.map(self::observed)), age)
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
            rule: if self.judgement.is_up && self.outcome.is_ejected() {
                Rule::Outcome
            } else {
                self.judgement.rule
            },
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

impl Context<'_> {
    /// Spreads the first checks of many backends over an interval: from 0 to 1.
    fn jitter(&self, key: &Key) -> f64 {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        (key, self.own).hash(&mut hasher);
        f64::from(u16::try_from(hasher.finish() & 0xffff).unwrap_or_default()) / 65_536.0
    }
}
