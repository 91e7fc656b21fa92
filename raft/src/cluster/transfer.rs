//! Leadership on purpose: `cluster transfer`, typed at any node and carried to the leader.

use std::time::Duration;

use fleetbal_proto::v1;
use fleetbal_proto::v1::hand_over_response::Result as Wire;
use openraft::async_runtime::WatchReceiver as _;
use tokio::time::{Instant, sleep, timeout};

use super::Inner;
use crate::error::ProposeError;
use crate::types::NodeId;

/// How long the chosen one may take to have the whole log, and to win.
const HAND_OVER: Duration = Duration::from_secs(1);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Why somebody cannot lead.
const NO_VOTE: &str = "it has no vote; `cluster promote` gives it one";

/// What came of asking once.
pub(crate) enum Asked {
    /// It leads.
    Done,
    /// Somebody else must be asked, or later.
    Elsewhere,
    /// It cannot.
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
                Asked::Refused(reason) if reason == NO_VOTE => return Err(ProposeError::Refused(reason)),
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
            Err(reason) => Asked::Refused(reason.to_owned()),
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
            Some(Wire::Refused(reason)) => Asked::Refused(reason),
            Some(Wire::NotLeader(_)) | None => Asked::Elsewhere,
        }
    }

    /// Gives the leadership of this node to a voter, as soon as that one has the whole log.
    pub(super) async fn hand_over_to(&self, to: NodeId) -> Result<(), &'static str> {
        if to == self.node_id {
            return Ok(());
        }
        if !self.voters().contains(&to) {
            return Err(NO_VOTE);
        }
        let begin = Instant::now();
        while !self.can_lead(to) {
            if begin.elapsed() >= HAND_OVER {
                return Err("it is away, or has not caught up");
            }
            sleep(PAUSE).await;
        }
        if self.raft.trigger().transfer_leader(to).await.is_err() {
            return Err("this node is going down");
        }
        timeout(HAND_OVER, self.led_by_another_than(self.node_id))
            .await
            .map_err(|_| "it did not take the leadership over in time")
    }

    /// Whether a voter was heard of lately and has all of the log: nobody else could take the leadership over.
    pub(super) fn can_lead(&self, node: NodeId) -> bool {
        let metrics = self.raft.metrics().borrow_watched().clone();
        let matched = metrics
            .replication
            .as_ref()
            .and_then(|replication| *replication.get(&node)?);
        self.acknowledged(&metrics, node) && matched.map(|id| id.index) == metrics.last_log_index
    }
}
