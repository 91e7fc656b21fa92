//! Who is a member, where it is, and who votes.
//!
//! Every node follows the membership: whom it trusts, its channels, and the file that tells the next start. The leader
//! keeps it: whoever joined becomes a learner, and learners become voters as there is room. From one voter it goes to
//! three at once, because two survive no failure; a voter that is away for long makes room for a learner. Who should vote
//! is decided in `votes`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fleetbal_proto::v1;
use openraft::async_runtime::WatchReceiver as _;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::{ChangeMembers, RaftMetrics};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::votes::{Standing, Step, next_step};
use super::vouched::members_of;
use super::{Home, Inner};
use crate::feed::Applied;
use crate::identity::KnownMembers;
use crate::model::VoteWish;
use crate::transport::tls::keys_of;
use crate::types::{ClusterMember, NodeId, TypeConfig};

/// How soon an unfinished piece of work is looked at again.
const SOON: Duration = Duration::from_millis(50);

/// How often the leader looks at the members where all is as it should be: somebody may have been away for too long.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How long a removed member is still sent the log, so that it reads of its removal.
const FAREWELL: Duration = Duration::from_millis(300);

/// How long one change of the membership may take before it is tried again.
const CHANGE: Duration = Duration::from_secs(5);

/// How soon a change of the membership is tried again that another one is in the way of.
const TURN: Duration = Duration::from_millis(10);

/// How often a node that does not lead asks the voters whether they are there, where all of them were and where not.
const ASK_VOTERS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_millis(500));

/// How often a node that moved says so until it was heard.
const ANNOUNCE: Duration = Duration::from_millis(250);

/// How often a node says so whose address is known, and what it can apply is not.
const ANNOUNCE_LEVEL: Duration = Duration::from_secs(1);

/// What a leader was told, and the membership does not have yet.
#[derive(Debug, Default)]
pub(super) struct Described {
    /// Where members are, and their feature levels; whoever has the next turn takes it in.
    members: Mutex<BTreeMap<NodeId, (String, Option<u32>)>>,
    /// The feature levels of those who joined here, until they are taken up.
    joining: Mutex<BTreeMap<NodeId, u32>>,
}

impl Inner {
    /// Starts everything that goes on beside the consensus itself.
    pub(super) fn begin_to_follow(self: &Arc<Self>) {
        let node = Arc::clone(self);
        self.keep(async move { node.follow_membership().await });
        let node = Arc::clone(self);
        self.keep(async move { node.keep_known().await });
        let node = Arc::clone(self);
        self.keep(async move { node.keep_membership().await });
        let node = Arc::clone(self);
        self.keep(async move { node.ask_voters().await });
        let node = Arc::clone(self);
        self.keep(async move { node.announce().await });
        let node = Arc::clone(self);
        self.keep(async move { node.watch_own_standing().await });
        let node = Arc::clone(self);
        self.keep(async move { node.keep_key_young().await });
    }

    async fn follow_membership(&self) {
        let Some(home) = &self.home else { return };
        let (mut metrics, mut feed) = (self.raft.server_metrics(), self.feed.clone());
        let mut last = None;
        loop {
            let stored = metrics.borrow_and_update().membership_config.clone();
            let index = stored.log_id().map(|id| id.index);
            let removed = self.no_longer_heard(stored.nodes().map(|(id, _)| *id).chain(home.known.ids()));
            if last.as_ref() != Some(&(index, removed.clone())) {
                last = Some((index, removed.clone()));
                self.channels.know_voters(stored.voter_ids().collect());
                self.take_in(home, index, members_of(&stored), &removed);
            }
            tokio::select! {
                ended = metrics.changed() => if ended.is_err() { return },
                goes_on = feed.changed() => if !goes_on { return },
            }
        }
    }

    /// Who was removed, by what is applied here. A leader is heard until it has handed over: nobody else could end its
    /// leadership without a gap.
    pub(super) fn no_longer_heard(&self, nodes: impl Iterator<Item = NodeId>) -> BTreeSet<NodeId> {
        let mut removed = self.feed.latest().state.removed_among(nodes);
        if let Some(leader) = self.leader() {
            removed.remove(&leader);
        }
        removed
    }

    /// Trusts and dials the members of now, and keeps them for the next start. While the log is still read from an
    /// older place than the one that was known before, those from before count too.
    pub(super) fn take_in(
        &self,
        home: &Home,
        index: Option<u64>,
        mut members: BTreeMap<NodeId, ClusterMember>,
        removed: &BTreeSet<NodeId>,
    ) {
        let is_newest = index.is_some_and(|index| index >= home.known.log_index);
        if !is_newest {
            for (node, member) in &home.known.members {
                members.entry(*node).or_insert_with(|| member.clone());
            }
        }
        members.extend(home.vouched_after(index));
        home.tls.trust_but(keys_of(&members), removed);
        self.channels.follow(&members);
        if let Some(log_index) = index
            && is_newest
        {
            home.vouched
                .to_keep
                .send_replace(KnownMembers { log_index, members });
        }
    }

    async fn keep_membership(&self) {
        let (mut metrics, mut feed) = (self.raft.server_metrics(), self.feed.clone());
        let mut memory = Memory::default();
        loop {
            let pause = if self.leader() == Some(self.node_id) {
                self.improve_membership(&mut memory).await
            } else {
                memory = Memory::default();
                None
            };
            let look_again = sleep(pause.unwrap_or(LOOK_AGAIN));
            tokio::select! {
                ended = metrics.changed() => if ended.is_err() { return },
                goes_on = feed.changed() => if !goes_on { return },
                () = self.keeper.notified() => {}
                () = look_again => {}
            }
        }
    }

    /// One step towards the membership that should be; says how soon to look again where it is not that yet.
    async fn improve_membership(&self, memory: &mut Memory) -> Option<Duration> {
        let metrics = self.raft.metrics().borrow_watched().clone();
        let applied = self.feed.latest();
        if self.finish_joint(&metrics).await || self.take_up_missing(&metrics, &applied).await {
            return Some(SOON);
        }
        let standings = self.standings(&metrics, &applied, memory);
        memory.caught_up = Some(metrics.local_committed.map_or(0, |id| id.index));
        match next_step(&standings, applied.state.config.voters() as usize) {
            Step::Done => return None,
            Step::Wait => {}
            Step::Vote(voters) => {
                tracing::info!(?voters, "changing who votes");
                self.change(ChangeMembers::ReplaceAllVoters(voters)).await;
            }
            Step::HandOver(heir) => {
                if let Err(error) = self.hand_over_to(heir).await {
                    tracing::debug!(%error, "the leadership stays here for now");
                }
            }
            Step::Drop(nodes) => self.drop_removed(nodes, &metrics, memory).await,
        }
        Some(SOON)
    }

    /// A change of voters has two steps. Where a leadership ended between them, both sets of voters would have to agree
    /// to everything for ever: the second step is made up for.
    async fn finish_joint(&self, metrics: &RaftMetrics<TypeConfig>) -> bool {
        if metrics.membership_config.membership().get_joint_config().len() < 2 {
            return false;
        }
        tracing::info!("finishing a change of the voters");
        self.change(ChangeMembers::AddVoterIds(BTreeSet::new())).await;
        true
    }

    /// Who joined and is no part of the membership yet: all of them at once, since many may join together.
    async fn take_up_missing(&self, metrics: &RaftMetrics<TypeConfig>, applied: &Applied) -> bool {
        let membership = metrics.membership_config.membership();
        let missing = applied
            .state
            .members()
            .filter(|(_, member)| membership.get_node(&member.node_id).is_none());
        let mut newcomers = BTreeMap::new();
        let mut told = self.joining().clone();
        for (name, member) in missing {
            tracing::info!(node = %name, id = member.node_id, "taking up a new member");
            let newcomer = ClusterMember {
                name: name.to_string(),
                address: member.address.clone(),
                key_hash: member.key_hash,
                next_key_hash: None,
                feature_level: told.remove(&member.node_id),
            };
            newcomers.insert(member.node_id, newcomer);
        }
        if newcomers.is_empty() {
            self.joining()
                .retain(|node, _| membership.get_node(node).is_none());
            return false;
        }
        self.change(ChangeMembers::AddNodes(newcomers)).await;
        true
    }

    fn standings(
        &self,
        metrics: &RaftMetrics<TypeConfig>,
        applied: &Applied,
        memory: &mut Memory,
    ) -> Vec<Standing> {
        let voters: BTreeSet<NodeId> = metrics.membership_config.voter_ids().collect();
        let patience = applied.state.config.dead_voter_after();
        let wishes: BTreeMap<NodeId, VoteWish> = applied
            .state
            .members()
            .map(|(_, member)| (member.node_id, member.wish))
            .collect();
        let standing = |id: NodeId| {
            let alive = self.acknowledged(metrics, id);
            let leads = id == self.node_id;
            let caught_up = memory.caught_up.is_some_and(|index| has(metrics, id, index));
            Standing {
                id,
                votes: voters.contains(&id),
                alive,
                caught_up: leads || (alive && caught_up),
                given_up: memory.away(id, alive) >= patience,
                wish: wishes.get(&id).copied().unwrap_or_default(),
                removed: applied.state.was_removed(id),
                leads,
            }
        };
        metrics
            .membership_config
            .nodes()
            .map(|(id, _)| *id)
            .map(standing)
            .collect()
    }

    /// A removed member is given a moment to read of it in the log; then nobody speaks with it any more.
    async fn drop_removed(
        &self,
        nodes: BTreeSet<NodeId>,
        metrics: &RaftMetrics<TypeConfig>,
        memory: &mut Memory,
    ) {
        let mut gone = BTreeSet::new();
        for node in nodes {
            let since = *memory.removed.entry(node).or_insert_with(Instant::now);
            if since.elapsed() >= FAREWELL || !self.acknowledged(metrics, node) {
                gone.insert(node);
            }
        }
        if !gone.is_empty() {
            tracing::info!(nodes = ?gone, "removed");
            self.change(ChangeMembers::RemoveNodes(gone)).await;
        }
    }

    /// Makes one change of the membership; whether it was made shows in the membership. Where another one is on its way, it
    /// waits for its turn.
    pub(super) async fn change(&self, change: ChangeMembers<NodeId, ClusterMember>) -> bool {
        let deadline = Instant::now() + CHANGE;
        loop {
            let changing = self.raft.change_membership(change.clone(), true);
            match timeout_at(deadline, changing).await {
                Ok(Ok(_)) => return true,
                Ok(Err(error)) if is_in_progress(&error) && Instant::now() + TURN < deadline => {
                    sleep(TURN).await;
                }
                Ok(Err(error)) => {
                    tracing::debug!(%error, "the membership was not changed");
                    return false;
                }
                Err(_) => return false,
            }
        }
    }

    /// On the leader: a member is at this address and of this feature level from now on. What others told meanwhile is taken
    /// in by the same change: where hundreds start together, each change in its turn would take too long.
    pub(crate) async fn take_over(&self, node: NodeId, address: String, feature_level: Option<u32>) -> bool {
        if self.leader() != Some(self.node_id) {
            return false;
        }
        let told = (address, feature_level);
        self.described().insert(node, told.clone());
        let _one_at_a_time = self.describing.lock().await;
        let all = std::mem::take(&mut *self.described());
        let metrics = self.raft.metrics().borrow_watched().clone();
        let membership = metrics.membership_config.membership();
        let mut moved = BTreeMap::new();
        for (id, (address, feature_level)) in all {
            let Some(member) = membership.get_node(&id) else {
                continue;
            };
            let now = ClusterMember {
                address,
                feature_level,
                ..member.clone()
            };
            if now != *member {
                tracing::info!(node = %member.name, from = %member.address, to = %now.address, ?feature_level, "a member told of itself");
                moved.insert(id, now);
            }
        }
        let is_among_them = moved.contains_key(&node);
        let is_taken_in = moved.is_empty() || self.change(ChangeMembers::SetNodes(moved)).await;
        if is_among_them {
            return is_taken_in;
        }
        // It was so, or who had the turn before took it along.
        let member = membership.get_node(&node);
        member.is_some_and(|member| (&member.address, member.feature_level) == (&told.0, told.1))
    }

    pub(super) fn joining(&self) -> MutexGuard<'_, BTreeMap<NodeId, u32>> {
        self.described
            .joining
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn described(&self) -> MutexGuard<'_, BTreeMap<NodeId, (String, Option<u32>)>> {
        self.described
            .members
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Says until it was heard where this node is and what it can apply, where the fleet knows otherwise.
    async fn announce(&self) {
        let Some(home) = &self.home else { return };
        let own = home.advertise.to_string();
        let mut metrics = self.raft.server_metrics();
        loop {
            let stored = metrics.borrow_and_update().membership_config.clone();
            match stored.membership().get_node(&self.node_id) {
                // A joiner is taken up at the address that it asked with.
                None => {
                    if metrics.changed().await.is_err() {
                        return;
                    }
                }
                Some(member) => {
                    let at_home = member.address == own;
                    if at_home && member.feature_level == Some(home.feature_level) {
                        return;
                    }
                    let is_heard = self.announce_to_all(&own, home.feature_level).await;
                    // A leader of the first release does not keep the level.
                    let pause = if at_home && is_heard {
                        ANNOUNCE_LEVEL
                    } else {
                        ANNOUNCE
                    };
                    sleep(pause).await;
                }
            }
        }
    }

    /// Whether a leader has taken it in: while the membership changes it cannot.
    async fn announce_to_all(&self, address: &str, feature_level: u32) -> bool {
        let feature_level = Some(feature_level);
        if self
            .take_over(self.node_id, address.to_owned(), feature_level)
            .await
        {
            return true;
        }
        let stored = self.raft.metrics().borrow_watched().membership_config.clone();
        let voters: BTreeSet<NodeId> = stored.voter_ids().collect();
        let mut others = voters
            .iter()
            .copied()
            .chain(stored.nodes().map(|(node, _)| *node));
        let (mut asked, mut leader) = (BTreeSet::from([self.node_id]), self.leader());
        let mut has_refused = false;
        while let Some(node) = leader.take().or_else(|| others.next()) {
            // Where the leader does not take it in now, nobody does who cannot lead.
            if !asked.insert(node) || (has_refused && !voters.contains(&node)) {
                continue;
            }
            let Some(mut client) = self.forward_client(node) else {
                continue;
            };
            let request = v1::AnnounceRequest {
                node_id: self.node_id,
                address: address.to_owned(),
                feature_level,
            };
            if let Ok(Ok(answer)) = timeout(CHANGE, client.announce(request)).await {
                let answer = answer.into_inner();
                if answer.accepted {
                    return true;
                }
                has_refused |= answer.leader == node;
                leader = Some(answer.leader);
            }
        }
        false
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
            sleep(pause * self.patience()).await;
        }
    }
}

/// What a leader remembers from one look at the members to the next.
#[derive(Debug, Default)]
struct Memory {
    /// The commit index of the look before: who has all up to there is not far behind.
    caught_up: Option<u64>,
    /// When each member was last there, or first looked for.
    seen: BTreeMap<NodeId, Instant>,
    /// When each removed member was to go.
    removed: BTreeMap<NodeId, Instant>,
}

impl Memory {
    /// How long a member is away by now.
    fn away(&mut self, node: NodeId, alive: bool) -> Duration {
        let now = Instant::now();
        let seen = self.seen.entry(node).or_insert(now);
        if alive {
            *seen = now;
        }
        seen.elapsed()
    }
}

/// Whether nothing but another change of the membership is in the way.
fn is_in_progress(error: &RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> bool {
    matches!(
        error.api_error(),
        Some(ClientWriteError::ChangeMembershipError(
            ChangeMembershipError::InProgress(_)
        ))
    )
}

/// Whether a node has the log up to an index.
pub(super) fn has(metrics: &RaftMetrics<TypeConfig>, node: NodeId, index: u64) -> bool {
    let matched = metrics
        .replication
        .as_ref()
        .and_then(|replication| *replication.get(&node)?);
    matched.is_some_and(|matched| matched.index >= index)
}
