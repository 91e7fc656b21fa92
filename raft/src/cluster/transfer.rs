//! Leadership on purpose: `cluster transfer`, typed at any node and carried to the leader.

use std::time::Duration;

use fleetbal_proto::v1;
use fleetbal_proto::v1::hand_over_response::Result as Wire;
use openraft::async_runtime::WatchReceiver as _;
use tokio::time::{Instant, sleep, timeout};

use super::Inner;
use super::past::matched;
use crate::error::ProposeError;
use crate::types::NodeId;

/// How long the chosen one may take to have the whole log, and to win.
const HAND_OVER: Duration = Duration::from_secs(1);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Why the leadership stays where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HandOverError {
    /// Whoever does not vote cannot lead; waiting does not help.
    #[error("it has no vote; `cluster promote` gives it one")]
    NoVote,
    /// It was not heard of lately, or lacks a part of the log.
    #[error("it is away, or has not caught up")]
    Behind,
    /// Consensus has ended here.
    #[error("this node is going down")]
    Stopping,
    /// It was asked to, and nothing came of it.
    #[error("it did not take the leadership over in time")]
    NotTaken,
}

/// What came of asking once.
pub(crate) enum Asked {
    /// It leads.
    Done,
    /// Somebody else must be asked, or later.
    Elsewhere,
    /// It never can, as it is.
    NoVote,
    /// It cannot for now, and why.
    Refused(String),
}

impl Inner {
    /// Lets a voter lead, whoever leads now.
    pub(super) async fn transfer(&self, to: NodeId, within: Duration) -> Result<(), ProposeError> {
        let deadline = Instant::now() + within;
        let mut last = "no leader answers".to_owned();
        while Instant::now() < deadline {
            match self.ask_to_hand_over(to).await {
                Asked::Done => return Ok(()),
                Asked::NoVote => return Err(ProposeError::Refused(HandOverError::NoVote.to_string())),
                Asked::Refused(reason) => last = reason,
                Asked::Elsewhere => {}
            }
            sleep(PAUSE).await;
        }
        Err(ProposeError::Refused(last))
    }

    async fn ask_to_hand_over(&self, to: NodeId) -> Asked {
        match self.leader() {
            Some(leader) if leader == to => Asked::Done,
            Some(leader) if leader == self.node_id => self.hand_over_here(to).await,
            Some(leader) => self.hand_over_there(leader, to).await,
            None => Asked::Elsewhere,
        }
    }

    /// On the leader.
    pub(crate) async fn hand_over_here(&self, to: NodeId) -> Asked {
        if self.leader() != Some(self.node_id) {
            return Asked::Elsewhere;
        }
        match self.hand_over_to(to).await {
            Ok(()) => Asked::Done,
            Err(HandOverError::NoVote) => Asked::NoVote,
            Err(error) => Asked::Refused(error.to_string()),
        }
    }

    async fn hand_over_there(&self, leader: NodeId, to: NodeId) -> Asked {
        let Some(mut client) = self.forward_client(leader) else {
            return Asked::Elsewhere;
        };
        let call = client.hand_over(v1::HandOverRequest { to });
        let answer = timeout(HAND_OVER * 3, call).await.ok().and_then(Result::ok);
        match answer.and_then(|answer| answer.into_inner().result) {
            Some(Wire::Done(_)) => Asked::Done,
            Some(Wire::NoVote(_)) => Asked::NoVote,
            Some(Wire::Refused(reason)) => Asked::Refused(reason),
            Some(Wire::NotLeader(_)) | None => Asked::Elsewhere,
        }
    }

    /// Gives the leadership of this node to a voter, as soon as that one has the whole log.
    pub(super) async fn hand_over_to(&self, to: NodeId) -> Result<(), HandOverError> {
        if to == self.node_id {
            return Ok(());
        }
        if !self.voters().contains(&to) {
            return Err(HandOverError::NoVote);
        }
        let begin = Instant::now();
        while !self.can_lead(to) {
            if begin.elapsed() >= HAND_OVER {
                return Err(HandOverError::Behind);
            }
            sleep(PAUSE).await;
        }
        if self.raft.trigger().transfer_leader(to).await.is_err() {
            return Err(HandOverError::Stopping);
        }
        timeout(HAND_OVER, self.led_by_another_than(self.node_id))
            .await
            .map_err(|_| HandOverError::NotTaken)
    }

    /// Whether a voter was heard of lately and has all of the log: nobody else could take the leadership over.
    pub(super) fn can_lead(&self, node: NodeId) -> bool {
        let metrics = self.raft.metrics().borrow_watched().clone();
        self.acknowledged(&metrics, node) && matched(&metrics, node) == metrics.last_log_index
    }
}
