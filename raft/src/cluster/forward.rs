//! Proposals and fresh reads: done here on the leader, else forwarded over one hop, and tried until the deadline.
//!
//! Every attempt carries the same request id, and the state machine answers a repeated one without applying it again.
//! So a lost answer is asked for again; only where the deadline comes first is the outcome left open.

use std::time::Duration;

use fleetbal_proto::v1;
use fleetbal_proto::v1::forward_client::ForwardClient;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use openraft::ReadPolicy;
use openraft::errors::{ClientWriteError, ForwardReason, ForwardToLeader, LinearizableReadError, RaftError};
use tokio::time::{Instant, timeout, timeout_at};
use tonic::transport::Channel;

use super::{Inner, Proposed};
use crate::error::ProposeError;
use crate::model::{Answer, RequestId};
use crate::transport::client::{MAX_MESSAGE, never_sent};
use crate::types::{LogCommand, NodeId, TypeConfig};
use crate::wire::decode_answer;

/// Between two attempts where nothing else tells when to try again.
const PAUSE: Duration = Duration::from_millis(20);

/// How long a voter is given to say that it is there.
const PROBE: Duration = Duration::from_millis(600);

/// For how long nobody is given up: a machine that is busy for a moment is not away.
const PATIENCE: Duration = Duration::from_secs(2);

/// What came of one attempt to propose.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// It is in the log and applied.
    Applied {
        /// What it was answered.
        answer: Answer,
        /// Where it is.
        log_index: u64,
    },
    /// It was not taken: another node leads, this one perhaps.
    Elsewhere(Option<NodeId>),
    /// It was not taken: a majority is away.
    NoQuorum {
        /// Voters that answer, the leader included.
        reachable: u32,
        /// All voters.
        voters: u32,
    },
    /// It was not taken, and no retry would be: this is why.
    Refused(String),
    /// It may be in the log, and it may be applied.
    Perhaps,
}

/// What came of one attempt to learn up to where a fresh read must wait.
#[derive(Debug)]
pub(crate) enum ReadAttempt {
    /// Up to here.
    Index(u64),
    /// Another node leads.
    Elsewhere(Option<NodeId>),
    /// A majority is away.
    NoQuorum {
        /// Voters that answer, the leader included.
        reachable: u32,
        /// All voters.
        voters: u32,
    },
}

impl Inner {
    /// Proposes an encoded entry until it is answered or the time is over.
    pub(super) async fn propose(
        &self,
        request_id: RequestId,
        entry: &[u8],
        within: Duration,
    ) -> Result<Proposed, ProposeError> {
        let clock = Patience::new(within);
        let mut perhaps = false;
        while !clock.is_over() {
            if self.is_stopping() {
                return Err(if perhaps {
                    ProposeError::Unknown { request_id }
                } else {
                    ProposeError::Stopped
                });
            }
            match self.attempt(entry, clock.last_attempt).await {
                Attempt::Applied { answer, log_index } => return Ok(proposed(answer, log_index, request_id)),
                Attempt::Perhaps => perhaps = true,
                Attempt::Refused(_) if perhaps => {}
                Attempt::Refused(why) => return Err(ProposeError::Refused(why)),
                Attempt::Elsewhere(_) | Attempt::NoQuorum { .. } if perhaps || !clock.is_strained() => {}
                Attempt::NoQuorum { reachable, voters } => {
                    return Err(ProposeError::NoQuorum { reachable, voters });
                }
                Attempt::Elsewhere(_) => self.fail_without_majority().await?,
            }
            if let Some(answer) = self.machine.answer(request_id) {
                return Ok(proposed(answer, self.feed.latest().log_index, request_id));
            }
            self.leader_changes_from(self.leader(), PAUSE).await;
        }
        if perhaps {
            return Err(ProposeError::Unknown { request_id });
        }
        Err(self.no_quorum().await)
    }

    async fn attempt(&self, entry: &[u8], deadline: Instant) -> Attempt {
        match self.leader() {
            Some(leader) if leader == self.node_id => self.propose_here(entry.to_vec(), deadline).await,
            Some(leader) => self.propose_there(leader, entry.to_vec(), deadline).await,
            None => Attempt::Elsewhere(None),
        }
    }

    /// Proposes on this node, which must be the leader.
    pub(crate) async fn propose_here(&self, entry: Vec<u8>, deadline: Instant) -> Attempt {
        let Ok(written) = timeout_at(deadline, self.raft.client_write(LogCommand(entry))).await else {
            return Attempt::Perhaps;
        };
        match written {
            Ok(response) => match response.data {
                Some(answer) => Attempt::Applied {
                    answer,
                    log_index: response.log_id.index,
                },
                None => Attempt::Perhaps,
            },
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
                self.not_taken(forward).await
            }
            Err(RaftError::APIError(
                ClientWriteError::LogEntryDiscarded(_)
                | ClientWriteError::ChangeMembershipError(_)
                | ClientWriteError::PreconditionFailed(_),
            )) => Attempt::Perhaps,
            Err(RaftError::Fatal(error)) => {
                tracing::error!(%error, "the replicated log has stopped on this node");
                Attempt::Perhaps
            }
        }
    }

    async fn not_taken(&self, forward: ForwardToLeader<TypeConfig>) -> Attempt {
        match forward.reason {
            ForwardReason::NotLeader | ForwardReason::LeadershipTransfer => {
                Attempt::Elsewhere(forward.leader_id)
            }
            ForwardReason::LeaseExpired => match self.minority().await {
                Some((reachable, voters)) => Attempt::NoQuorum { reachable, voters },
                // They are there, and slow, or the leader is new: it will do in a moment.
                None => Attempt::Elsewhere(None),
            },
        }
    }

    async fn propose_there(&self, leader: NodeId, entry: Vec<u8>, deadline: Instant) -> Attempt {
        let Some(mut client) = self.forward_client(leader) else {
            return Attempt::Elsewhere(None);
        };
        let ttl_ms = millis_until(deadline);
        let call = client.propose(v1::ProposeRequest { entry, ttl_ms });
        let answer = tokio::select! {
            answer = timeout_at(deadline, call) => answer,
            () = self.led_by_another_than(leader) => return Attempt::Perhaps,
        };
        match answer {
            Ok(Ok(answer)) => read_answer(answer.into_inner()),
            Ok(Err(status)) if never_sent(&status) => Attempt::Elsewhere(None),
            Ok(Err(_)) | Err(_) => Attempt::Perhaps,
        }
    }

    /// Up to where a read must wait to see all that was committed by now.
    pub(super) async fn read_index(&self, within: Duration) -> Result<u64, ProposeError> {
        let clock = Patience::new(within);
        while !clock.is_over() {
            if self.is_stopping() {
                return Err(ProposeError::Stopped);
            }
            let attempt = match self.leader() {
                Some(leader) if leader == self.node_id => self.read_index_here(clock.last_attempt).await,
                Some(leader) => self.read_index_there(leader, clock.last_attempt).await,
                None => ReadAttempt::Elsewhere(None),
            };
            match attempt {
                ReadAttempt::Index(index) => return Ok(index),
                ReadAttempt::Elsewhere(_) | ReadAttempt::NoQuorum { .. } if !clock.is_strained() => {}
                ReadAttempt::NoQuorum { reachable, voters } => {
                    return Err(ProposeError::NoQuorum { reachable, voters });
                }
                ReadAttempt::Elsewhere(_) => self.fail_without_majority().await?,
            }
            self.leader_changes_from(self.leader(), PAUSE).await;
        }
        Err(self.no_quorum().await)
    }

    /// The same on this node, which must be the leader.
    pub(crate) async fn read_index_here(&self, deadline: Instant) -> ReadAttempt {
        let reading = self.raft.get_read_linearizer(ReadPolicy::ReadIndex);
        match timeout_at(deadline, reading).await {
            Ok(Ok(linearizer)) => ReadAttempt::Index(linearizer.read_log_id().index()),
            Ok(Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward)))) => {
                ReadAttempt::Elsewhere(forward.leader_id)
            }
            Ok(Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)))) => {
                match self.minority().await {
                    Some((reachable, voters)) => ReadAttempt::NoQuorum { reachable, voters },
                    None => ReadAttempt::Elsewhere(None),
                }
            }
            Ok(Err(RaftError::Fatal(_))) | Err(_) => ReadAttempt::Elsewhere(None),
        }
    }

    async fn read_index_there(&self, leader: NodeId, deadline: Instant) -> ReadAttempt {
        use v1::read_index_response::Result as Wire;
        let Some(mut client) = self.forward_client(leader) else {
            return ReadAttempt::Elsewhere(None);
        };
        let ttl_ms = millis_until(deadline);
        let call = client.read_index(v1::ReadIndexRequest { ttl_ms });
        let answer = tokio::select! {
            answer = timeout_at(deadline, call) => answer,
            () = self.led_by_another_than(leader) => return ReadAttempt::Elsewhere(None),
        };
        match answer
            .ok()
            .and_then(Result::ok)
            .and_then(|answer| answer.into_inner().result)
        {
            Some(Wire::LogIndex(index)) => ReadAttempt::Index(index),
            Some(Wire::NotLeader(other)) => ReadAttempt::Elsewhere(known(other.leader)),
            Some(Wire::NoQuorum(no)) => ReadAttempt::NoQuorum {
                reachable: no.reachable,
                voters: no.voters,
            },
            None => ReadAttempt::Elsewhere(None),
        }
    }

    /// Asks every voter whether it is there: how many are, this node included, and how many there are.
    pub(crate) async fn probe(&self) -> (u32, u32) {
        let voters = self.voters();
        let asked = voters.iter().map(|voter| self.is_there(*voter));
        let there = futures::future::join_all(asked).await;
        let count = there.into_iter().filter(|there| *there).count();
        (small(count), small(voters.len()))
    }

    /// How many voters are there, where they are no majority. Where they are, it takes no longer than to see that.
    async fn minority(&self) -> Option<(u32, u32)> {
        let voters = self.voters();
        let mut asked: FuturesUnordered<_> = voters.iter().map(|voter| self.is_there(*voter)).collect();
        let mut there = 0;
        while let Some(is_there) = asked.next().await {
            there += usize::from(is_there);
            if there * 2 > voters.len() {
                return None;
            }
        }
        Some((small(there), small(voters.len())))
    }

    async fn fail_without_majority(&self) -> Result<(), ProposeError> {
        match self.minority().await {
            Some((reachable, voters)) => Err(ProposeError::NoQuorum { reachable, voters }),
            None => Ok(()),
        }
    }

    async fn no_quorum(&self) -> ProposeError {
        let (reachable, voters) = self.probe().await;
        ProposeError::NoQuorum { reachable, voters }
    }

    async fn is_there(&self, node: NodeId) -> bool {
        if node == self.node_id {
            return true;
        }
        let Some(mut client) = self.forward_client(node) else {
            return false;
        };
        let asked = client.read_index(v1::ReadIndexRequest { ttl_ms: 0 });
        matches!(timeout(PROBE, asked).await, Ok(Ok(_)))
    }

    pub(super) fn forward_client(&self, node: NodeId) -> Option<ForwardClient<Channel>> {
        let channel = self.channels.get(node)?;
        Some(
            ForwardClient::new(channel)
                .max_decoding_message_size(MAX_MESSAGE)
                .max_encoding_message_size(MAX_MESSAGE),
        )
    }
}

/// How the time of one call is used.
struct Patience {
    begin: Instant,
    within: Duration,
    last_attempt: Instant,
}

impl Patience {
    fn new(within: Duration) -> Self {
        let begin = Instant::now();
        Self {
            begin,
            within,
            // What is left then tells how many voters are there.
            last_attempt: begin + within - PROBE.min(within / 4),
        }
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.last_attempt
    }

    /// Whether a majority that does not answer may be called away.
    fn is_strained(&self) -> bool {
        self.begin.elapsed() >= PATIENCE.min(self.within / 2)
    }
}

fn proposed(answer: Answer, log_index: u64, request_id: RequestId) -> Proposed {
    Proposed {
        answer,
        log_index,
        request_id,
    }
}

fn read_answer(answer: v1::ProposeResponse) -> Attempt {
    use v1::propose_response::Result as Wire;
    match answer.result {
        Some(Wire::Applied(applied)) => match applied.answer.map(decode_answer) {
            Some(Ok(answer)) => Attempt::Applied {
                answer,
                log_index: applied.log_index,
            },
            Some(Err(_)) | None => Attempt::Perhaps,
        },
        Some(Wire::NotLeader(other)) => Attempt::Elsewhere(known(other.leader)),
        Some(Wire::NoQuorum(no)) => Attempt::NoQuorum {
            reachable: no.reachable,
            voters: no.voters,
        },
        Some(Wire::Refused(why)) => Attempt::Refused(why),
        Some(Wire::Unknown(_) | Wire::TooLarge(_)) | None => Attempt::Perhaps,
    }
}

/// On the wire nobody is 0.
fn known(leader: NodeId) -> Option<NodeId> {
    Some(leader).filter(|leader| *leader != 0)
}

fn millis_until(deadline: Instant) -> u64 {
    let left = deadline.saturating_duration_since(Instant::now());
    u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1)
}

pub(super) fn small(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
