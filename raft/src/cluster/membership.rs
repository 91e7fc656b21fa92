//! Who is a member, where it is, and who votes.
//!
//! Every node follows the membership: whom it trusts, its channels, and the file that tells the next start. The leader
//! keeps it: whoever joined becomes a learner, and learners become voters as there is room. From one voter it goes to
//! three at once, because two survive no failure. Nobody loses a vote here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fleetbal_proto::v1;
use openraft::async_runtime::WatchReceiver as _;
use openraft::{ChangeMembers, RaftMetrics};
use tokio::time::{sleep, timeout};

use super::{Home, Inner};
use crate::identity::KnownMembers;
use crate::types::{ClusterMember, NodeId, TypeConfig};

/// How soon an unfinished piece of work is looked at again.
const SOON: Duration = Duration::from_millis(50);

/// How long one change of the membership may take before it is tried again.
const CHANGE: Duration = Duration::from_secs(5);

/// How often a node that does not lead asks the voters whether they are there, where all of them were and where not.
const ASK_VOTERS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_millis(500));

/// How often a node that moved says so until it was heard.
const ANNOUNCE: Duration = Duration::from_millis(250);

impl Inner {
    /// Starts everything that goes on beside the consensus itself.
    pub(super) fn begin_to_follow(self: &Arc<Self>) {
        let node = Arc::clone(self);
        self.keep(async move { node.follow_membership().await });
        let node = Arc::clone(self);
        self.keep(async move { node.keep_membership().await });
        let node = Arc::clone(self);
        self.keep(async move { node.ask_voters().await });
        let node = Arc::clone(self);
        self.keep(async move { node.announce().await });
    }

    async fn follow_membership(&self) {
        let Some(home) = &self.home else { return };
        let mut metrics = self.raft.server_metrics();
        let mut last = None;
        loop {
            let stored = metrics.borrow_and_update().membership_config.clone();
            let index = stored.log_id().map(|id| id.index);
            if last != Some(index) {
                last = Some(index);
                let members = stored.nodes().map(|(id, node)| (*id, node.clone())).collect();
                self.take_in(home, index, members).await;
            }
            if metrics.changed().await.is_err() {
                return;
            }
        }
    }

    /// Trusts and dials the members of now, and keeps them for the next start. While the log is still read from an
    /// older place than the one that was known before, those from before count too.
    async fn take_in(&self, home: &Home, index: Option<u64>, mut members: BTreeMap<NodeId, ClusterMember>) {
        let is_newest = index.is_some_and(|index| index >= home.known.log_index);
        if !is_newest {
            for (node, member) in &home.known.members {
                members.entry(*node).or_insert_with(|| member.clone());
            }
        }
        home.tls
            .trust(members.iter().map(|(id, member)| (*id, member.key_hash)));
        self.channels.follow(&members);
        if let Some(log_index) = index
            && is_newest
        {
            let (dir, known) = (home.dir.clone(), KnownMembers { log_index, members });
            let saved = tokio::task::spawn_blocking(move || dir.save_known_members(&known)).await;
            if let Ok(Err(error)) = saved {
                tracing::warn!(%error, "cannot keep the members for the next start");
            }
        }
    }

    async fn keep_membership(&self) {
        let (mut metrics, mut feed) = (self.raft.server_metrics(), self.feed.clone());
        let mut caught_up = None;
        loop {
            let leads = self.leader() == Some(self.node_id);
            let unfinished = leads && self.improve_membership(&mut caught_up).await;
            if unfinished {
                sleep(SOON).await;
                continue;
            }
            tokio::select! {
                ended = metrics.changed() => if ended.is_err() { return },
                goes_on = feed.changed() => if !goes_on { return },
                () = self.keeper.notified() => {}
            }
        }
    }

    /// One step towards the membership that should be; says whether there is more to do. `caught_up` is the commit
    /// index of the step before: who has all up to there is not far behind.
    async fn improve_membership(&self, caught_up: &mut Option<u64>) -> bool {
        let metrics = self.raft.metrics().borrow_watched().clone();
        let applied = self.feed.latest();
        let nodes: BTreeSet<NodeId> = metrics.membership_config.nodes().map(|(id, _)| *id).collect();
        let missing = applied
            .state
            .members()
            .find(|(_, member)| !nodes.contains(&member.node_id));
        if let Some((name, member)) = missing {
            let member_of = ClusterMember {
                name: name.to_string(),
                address: member.address.clone(),
                key_hash: member.key_hash,
            };
            tracing::info!(node = %name, id = member.node_id, "taking up a new member");
            self.change(ChangeMembers::AddNodes(BTreeMap::from([(
                member.node_id,
                member_of,
            )])))
            .await;
            return true;
        }
        let wanted = applied.state.config.voters() as usize;
        let step = caught_up.map_or(Step::Wait, |index| {
            next_voters(&metrics, wanted, |node| {
                self.acknowledged(&metrics, node) && has(&metrics, node, index)
            })
        });
        *caught_up = Some(metrics.local_committed.map_or(0, |id| id.index));
        match step {
            Step::Done => false,
            Step::Wait => room(&metrics, wanted) > 0,
            Step::Promote(learners) => {
                tracing::info!(?learners, "making learners voters");
                self.change(ChangeMembers::AddVoterIds(learners)).await;
                true
            }
        }
    }

    /// Makes one change of the membership; whether it was made shows in the membership.
    async fn change(&self, change: ChangeMembers<NodeId, ClusterMember>) -> bool {
        match timeout(CHANGE, self.raft.change_membership(change, true)).await {
            Ok(Ok(_)) => true,
            Ok(Err(error)) => {
                tracing::debug!(%error, "the membership was not changed");
                false
            }
            Err(_) => false,
        }
    }

    /// On the leader: a member is at another address from now on.
    pub(crate) async fn take_over_address(&self, node: NodeId, address: String) -> bool {
        if self.leader() != Some(self.node_id) {
            return false;
        }
        let metrics = self.raft.metrics().borrow_watched().clone();
        let Some(member) = metrics.membership_config.membership().get_node(&node) else {
            return false;
        };
        if member.address == address {
            return true;
        }
        tracing::info!(node = %member.name, from = %member.address, to = %address, "a member moved");
        let moved = ClusterMember {
            address,
            ..member.clone()
        };
        self.change(ChangeMembers::SetNodes(BTreeMap::from([(node, moved)])))
            .await
    }

    /// Says until it was heard that this node came back at another address.
    async fn announce(&self) {
        let Some(home) = &self.home else { return };
        let own = home.advertise.to_string();
        let mut metrics = self.raft.server_metrics();
        loop {
            let stored = metrics.borrow_and_update().membership_config.clone();
            let address = stored
                .membership()
                .get_node(&self.node_id)
                .map(|member| member.address.clone());
            match address {
                // A joiner is taken up at the address that it asked with.
                None => {
                    if metrics.changed().await.is_err() {
                        return;
                    }
                }
                Some(address) if address == own => return,
                Some(_) => {
                    self.announce_to_all(&own).await;
                    sleep(ANNOUNCE).await;
                }
            }
        }
    }

    async fn announce_to_all(&self, address: &str) {
        if self.take_over_address(self.node_id, address.to_owned()).await {
            return;
        }
        let stored = self.raft.metrics().borrow_watched().membership_config.clone();
        for (node, _) in stored.nodes() {
            let Some(mut client) = self.forward_client(*node).filter(|_| *node != self.node_id) else {
                continue;
            };
            let request = v1::AnnounceRequest {
                node_id: self.node_id,
                address: address.to_owned(),
            };
            if let Ok(Ok(answer)) = timeout(CHANGE, client.announce(request)).await
                && answer.get_ref().accepted
            {
                return;
            }
        }
    }

    /// A leader sees the voters' answers; the others ask, so that they can say who is there when nobody leads.
    async fn ask_voters(&self) {
        loop {
            let mut pause = ASK_VOTERS.0;
            if self.leader() != Some(self.node_id) {
                let (there, voters) = self.probe().await;
                self.answering.store(there, Ordering::Relaxed);
                if there < voters {
                    pause = ASK_VOTERS.1;
                }
            }
            sleep(pause).await;
        }
    }
}

enum Step {
    Done,
    /// Not yet: whoever should vote is behind or away.
    Wait,
    Promote(BTreeSet<NodeId>),
}

/// How many votes are to be given: the largest odd number up to the members and up to what is wanted, less those that
/// are.
fn room(metrics: &RaftMetrics<TypeConfig>, wanted: usize) -> usize {
    let members = metrics.membership_config.nodes().count();
    let voters = metrics.membership_config.voter_ids().count();
    largest_odd(members.min(wanted)).saturating_sub(voters)
}

fn largest_odd(number: usize) -> usize {
    if number.is_multiple_of(2) {
        number.saturating_sub(1)
    } else {
        number
    }
}

fn next_voters(metrics: &RaftMetrics<TypeConfig>, wanted: usize, fit: impl Fn(NodeId) -> bool) -> Step {
    let room = room(metrics, wanted);
    if room == 0 {
        return Step::Done;
    }
    let voters = metrics.membership_config.voter_ids().count();
    let fit: Vec<NodeId> = metrics
        .membership_config
        .membership()
        .learner_ids()
        .filter(|learner| fit(*learner))
        .take(room)
        .collect();
    let count = largest_odd(voters + fit.len()).saturating_sub(voters);
    if count == 0 {
        return Step::Wait;
    }
    Step::Promote(fit.into_iter().take(count).collect())
}

/// Whether a node has the log up to an index.
fn has(metrics: &RaftMetrics<TypeConfig>, node: NodeId, index: u64) -> bool {
    let matched = metrics
        .replication
        .as_ref()
        .and_then(|replication| *replication.get(&node)?);
    matched.is_some_and(|matched| matched.index >= index)
}
