//! Whether this node should get traffic, and if not, why.
//!
//! A node is not ready while it ends or drains, before its start is finished, until it has caught up with what the
//! fleet had committed when it started, and while something keeps it from serving that does not keep others from it.
//! Catching up needs a leader; a node that finds none goes by its last configuration after [`LEADER_PATIENCE`], for
//! traffic does not wait for a quorum.

use std::fmt;
use std::time::Duration;

use fleetbal_raft::cluster::Cluster;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long a node that has not caught up waits for a leader to answer before it takes traffic all the same.
pub const LEADER_PATIENCE: Duration = Duration::from_secs(5);

/// How long one question to the leader may take, and how long until the next one.
const QUESTION: Duration = Duration::from_millis(500);
const QUESTION_GAP: Duration = Duration::from_millis(50);

/// Why a node should get no traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotReady {
    /// The process was asked to end.
    Stopping,
    /// An operator drains the node.
    Draining,
    /// Its start is not finished.
    Starting,
    /// It has not applied all that was committed when it started.
    CatchingUp,
    /// Something keeps it from serving, which is said here, and another node is better off.
    Hindered(String),
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stopping => "stopping",
            Self::Draining => "draining",
            Self::Starting => "starting",
            Self::CatchingUp => "catching up with the fleet",
            Self::Hindered(by) => by,
        })
    }
}

/// What readiness depends on. Pure: it is told the time.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each reported by another part of the node"
)]
pub struct State {
    start_finished: bool,
    caught_up: bool,
    draining: bool,
    stopping: bool,
    hindered: Option<String>,
    leader_last_answered: Instant,
}

impl State {
    /// Of a node whose start begins now.
    pub fn starting(now: Instant) -> Self {
        Self {
            start_finished: false,
            caught_up: false,
            draining: false,
            stopping: false,
            hindered: None,
            leader_last_answered: now,
        }
    }

    /// The first reason against traffic at this time, if there is one.
    pub fn not_ready(&self, now: Instant) -> Option<NotReady> {
        if self.stopping {
            Some(NotReady::Stopping)
        } else if self.draining {
            Some(NotReady::Draining)
        } else if !self.start_finished {
            Some(NotReady::Starting)
        } else if let Some(by) = &self.hindered {
            Some(NotReady::Hindered(by.clone()))
        } else if !self.caught_up && !self.is_without_leader(now) {
            Some(NotReady::CatchingUp)
        } else {
            None
        }
    }

    fn is_without_leader(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.leader_last_answered) >= LEADER_PATIENCE
    }
}

/// The node's readiness, shared: parts of the node report to it, probes and gossip read it.
#[derive(Debug, Clone)]
pub struct Readiness {
    state: watch::Sender<State>,
}

impl Default for Readiness {
    fn default() -> Self {
        Self {
            state: watch::Sender::new(State::starting(Instant::now())),
        }
    }
}

impl Readiness {
    /// Why this node should get no traffic now; none: it should.
    pub fn not_ready(&self) -> Option<NotReady> {
        self.state.borrow().not_ready(Instant::now())
    }

    /// The start is finished: everything listens that has to.
    pub fn start_finished(&self) {
        self.state.send_modify(|state| state.start_finished = true);
    }

    /// All that was committed when this node started is applied.
    pub fn caught_up(&self) {
        self.state.send_modify(|state| state.caught_up = true);
    }

    /// A leader answered, so it is worth waiting for its log.
    pub fn leader_answered(&self) {
        self.state
            .send_modify(|state| state.leader_last_answered = Instant::now());
    }

    /// An operator begins or ends draining this node.
    pub fn set_draining(&self, draining: bool) {
        self.state.send_modify(|state| state.draining = draining);
    }

    /// Whether an operator drains this node.
    pub fn is_draining(&self) -> bool {
        self.state.borrow().draining
    }

    /// Something keeps this node from serving while another one is better off; none: nothing does.
    pub fn set_hindered(&self, by: Option<String>) {
        self.state.send_if_modified(|state| {
            let changed = state.hindered != by;
            state.hindered = by;
            changed
        });
    }

    /// The process was asked to end.
    pub fn stopping(&self) {
        self.state.send_modify(|state| state.stopping = true);
    }

    /// Told of every report; a leader that stays away changes readiness without one.
    pub fn subscribe(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Asks for the fleet's last committed entry until it is applied here, and reports so. Ends when that is done;
    /// dropping the future only stops asking.
    pub async fn catch_up(&self, cluster: &Cluster) {
        let feed = cluster.feed();
        loop {
            if let Ok(index) = cluster.read_index(QUESTION).await {
                self.leader_answered();
                if feed.wait_index(index, Instant::now() + QUESTION).await {
                    self.caught_up();
                    return;
                }
            }
            tokio::time::sleep(QUESTION_GAP).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(change: impl FnOnce(&mut State)) -> (State, Instant) {
        let start = Instant::now();
        let mut state = State::starting(start);
        change(&mut state);
        (state, start)
    }

    #[test]
    fn a_start_waits_for_its_end_and_for_the_log() {
        let readiness = Readiness::default();
        assert_eq!(readiness.not_ready(), Some(NotReady::Starting));
        readiness.start_finished();
        assert_eq!(readiness.not_ready(), Some(NotReady::CatchingUp));
        readiness.caught_up();
        assert_eq!(readiness.not_ready(), None);
    }

    #[test]
    fn without_a_leader_the_last_configuration_serves_after_five_seconds() {
        let (state, start) = state(|state| state.start_finished = true);
        let at = |millis| state.not_ready(start + Duration::from_millis(millis));
        assert_eq!(at(4_999), Some(NotReady::CatchingUp));
        assert_eq!(at(5_000), None);
    }

    #[test]
    fn patience_does_not_replace_the_start() {
        let (state, start) = state(|_| {});
        assert_eq!(
            state.not_ready(start + Duration::from_mins(1)),
            Some(NotReady::Starting)
        );
    }

    #[test]
    fn a_leader_that_answers_is_waited_for() {
        let (mut state, start) = state(|state| state.start_finished = true);
        state.leader_last_answered = start + Duration::from_secs(4);
        let at = |seconds| state.not_ready(start + Duration::from_secs(seconds));
        assert_eq!(at(8), Some(NotReady::CatchingUp));
        assert_eq!(at(9), None);
    }

    #[test]
    fn draining_can_be_undone_and_stopping_cannot() {
        let readiness = Readiness::default();
        let mut reports = readiness.subscribe();
        readiness.start_finished();
        readiness.caught_up();
        readiness.set_draining(true);
        assert!(readiness.is_draining());
        assert_eq!(readiness.not_ready(), Some(NotReady::Draining));
        readiness.set_draining(false);
        assert_eq!(readiness.not_ready(), None);
        assert!(reports.has_changed().unwrap());
        reports.mark_unchanged();
        readiness.stopping();
        assert!(reports.has_changed().unwrap());
        readiness.set_draining(true);
        assert_eq!(readiness.not_ready().unwrap().to_string(), "stopping");
    }
}
