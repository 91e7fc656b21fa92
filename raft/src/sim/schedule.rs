//! One run: a fleet, its clients, what is broken and mended, and what must be true then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver as _;
use openraft::{ChangeMembers, ServerState};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::client::{Acknowledged, Client};
use super::links::Links;
use super::node::Node;
use super::runtime;
use crate::feed::Applied;
use crate::model::Version;
use crate::types::{ClusterMember, NodeId};

/// Three voters at first, and two learners.
const NODES: u64 = 5;
const CLIENTS: u8 = 3;

/// How many faults there are.
const FAULTS: usize = 6;

/// How soon all must agree once nothing is broken, by the clock of the schedule.
const AGREE: Duration = Duration::from_secs(30);

/// What tells two schedules apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    last_index: u64,
    term: u64,
    acknowledged: usize,
    took: Duration,
}

pub(super) fn run(seed: u64) -> Outcome {
    runtime::sow(seed);
    let mut builder = tokio::runtime::Builder::new_current_thread();
    #[cfg(tokio_unstable)]
    builder.rng_seed(tokio::runtime::RngSeed::from_bytes(&seed.to_be_bytes()));
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut fleet = Fleet::found(seed).await;
        let mut clients = JoinSet::new();
        for number in 1..=CLIENTS {
            let client = Client::new(number, NODES, seed, &fleet.links, &fleet.acknowledged);
            clients.spawn(client.go_on());
        }
        for _ in 0..FAULTS {
            fleet.one_fault().await;
            fleet.rest(50..400).await;
            assert!(
                clients.try_join_next().is_none(),
                "a client found a broken promise"
            );
        }
        clients.shutdown().await;
        fleet.mend().await;
        fleet.judge().await
    })
}

struct Fleet {
    rng: StdRng,
    links: Links,
    nodes: Vec<Node>,
    acknowledged: Acknowledged,
    /// What each entry that was seen to be a node's last one had made of the state.
    applied: BTreeMap<u64, Arc<Applied>>,
    begin: Instant,
}

impl Fleet {
    async fn found(seed: u64) -> Self {
        let links = Links::new(seed.wrapping_mul(3));
        let snapshots = seed.is_multiple_of(2);
        let mut nodes: Vec<Node> = (1..=NODES).map(|id| Node::new(id, snapshots)).collect();
        for node in &mut nodes {
            node.start(&links).await;
        }
        let mut fleet = Self {
            rng: StdRng::seed_from_u64(seed),
            links,
            nodes,
            acknowledged: Acknowledged::default(),
            applied: BTreeMap::new(),
            begin: Instant::now(),
        };
        let voters = (1..=3).map(|id| (id, ClusterMember::default()));
        let first = fleet.links.raft(1).unwrap();
        first
            .initialize(voters.collect::<BTreeMap<_, _>>())
            .await
            .unwrap();
        let learners: BTreeMap<NodeId, ClusterMember> =
            (4..=NODES).map(|id| (id, ClusterMember::default())).collect();
        while first.metrics().borrow_watched().membership_config.nodes().count() < learners.len() + 3 {
            fleet.change(ChangeMembers::AddNodes(learners.clone())).await;
            sleep(Duration::from_millis(10)).await;
        }
        fleet
    }

    async fn one_fault(&mut self) {
        let victim = self.anybody();
        match self.rng.random_range(0..9) {
            0..4 => {
                self.break_network(victim);
                self.rest(100..1_500).await;
            }
            4 | 5 => {
                self.crash(victim).await;
                self.rest(50..900).await;
                self.restart(victim).await;
            }
            6 => self.transfer(victim).await,
            7 => self.move_votes().await,
            _ => self.restart_all().await,
        }
        if self.rng.random_bool(0.7) {
            self.links.heal();
        }
    }

    fn break_network(&mut self, victim: NodeId) {
        match self.rng.random_range(0..4) {
            0 => {
                for node in 1..=NODES {
                    self.links.cut_one_way(node, victim);
                    self.links.cut_one_way(victim, node);
                }
            }
            1 => {
                let other = self.anybody();
                self.links.cut_one_way(victim, other);
            }
            2 => self.links.lose(self.rng.random_range(5..40)),
            _ => {
                let slowest = self.rng.random_range(10..250);
                self.links.slow_down(Duration::from_millis(slowest));
            }
        }
    }

    async fn transfer(&mut self, heir: NodeId) {
        if let Some(leader) = self.leader() {
            // It may refuse, and be right.
            drop(leader.trigger().transfer_leader(heir).await);
        }
    }

    async fn move_votes(&mut self) {
        let count = if self.rng.random_bool(0.5) { 3 } else { 5 };
        let all: Vec<NodeId> = (1..=NODES).collect();
        let voters: BTreeSet<NodeId> = all.choose_multiple(&mut self.rng, count).copied().collect();
        self.change(ChangeMembers::ReplaceAllVoters(voters)).await;
    }

    async fn restart_all(&mut self) {
        for node in 1..=NODES {
            self.crash(node).await;
        }
        for node in 1..=NODES {
            self.restart(node).await;
        }
    }

    async fn mend(&mut self) {
        self.links.heal();
        let begin = Instant::now();
        loop {
            self.finish_joint().await;
            let last: BTreeSet<u64> = self
                .nodes
                .iter()
                .map(|node| node.feed.latest().log_index)
                .collect();
            if last.len() == 1 && self.leader().is_some() {
                return;
            }
            assert!(begin.elapsed() < AGREE, "they do not agree: {}", self.standing());
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// A change of the voters that stopped half way is finished, as `cluster::membership` does it.
    async fn finish_joint(&mut self) {
        let Some(leader) = self.leader() else { return };
        let membership = leader.metrics().borrow_watched().membership_config.clone();
        if membership.membership().get_joint_config().len() > 1 {
            self.change(ChangeMembers::AddVoterIds(BTreeSet::new())).await;
        }
    }

    async fn judge(mut self) -> Outcome {
        self.look();
        let acknowledged = self.acknowledged.lock().unwrap().clone();
        let first = self.nodes.first().unwrap().feed.latest();
        for node in &self.nodes {
            let latest = node.feed.latest();
            assert_eq!(latest.state, first.state, "node {} is another one", node.id);
            for (pool, (request, answer)) in &acknowledged {
                assert!(
                    latest.state.config.pool(pool).is_some(),
                    "{pool} is lost at node {}",
                    node.id
                );
                assert_eq!(
                    node.machine.answer(*request).as_ref(),
                    Some(answer),
                    "{pool} at node {}",
                    node.id
                );
            }
        }
        let config = &first.state.config;
        let pools = u64::try_from(config.pools().len()).unwrap();
        assert_eq!(config.version, Version(pools), "each was applied once");
        let term = self
            .leader()
            .map_or(0, |raft| raft.metrics().borrow_watched().current_term);
        let outcome = Outcome {
            last_index: first.log_index,
            term,
            acknowledged: acknowledged.len(),
            took: self.begin.elapsed(),
        };
        for node in &self.nodes {
            node.crash(&self.links).await;
        }
        outcome
    }

    /// After the same entry all nodes that ever had it last have the same, those that do not run as well.
    ///
    /// Who leads is no promise: a leader is known by its term and its node, in this order, and one with a larger id may
    /// follow another within a term (Paxos does so; it spares an election after a split vote). Both may take themselves
    /// for the leader for a while; only the later one gets a majority to take in anything.
    fn look(&mut self) {
        for node in &self.nodes {
            let latest = node.feed.latest();
            let known = self
                .applied
                .entry(latest.log_index)
                .or_insert_with(|| Arc::clone(&latest));
            assert!(
                known.term == latest.term && known.state == latest.state && known.members == latest.members,
                "node {} has another entry {} than others",
                node.id,
                latest.log_index
            );
        }
    }

    fn leader(&mut self) -> Option<crate::cluster::Raft> {
        self.look();
        let running = (1..=NODES).filter_map(|node| self.links.raft(node));
        running
            .filter(|raft| raft.metrics().borrow_watched().state == ServerState::Leader)
            .max_by_key(|raft| raft.metrics().borrow_watched().vote.leader_id)
    }

    /// Changes the membership where somebody leads; whether that comes through is another matter.
    async fn change(&mut self, change: ChangeMembers<NodeId, ClusterMember>) {
        if let Some(leader) = self.leader() {
            drop(timeout(Duration::from_secs(1), leader.change_membership(change, true)).await);
        }
    }

    /// What each node says of itself, for whoever looks for a mistake.
    fn standing(&self) -> String {
        let running = (1..=NODES).filter_map(|node| self.links.raft(node));
        let told = running.map(|raft| raft.metrics().borrow_watched().to_string());
        told.collect::<Vec<_>>().join(
            "
",
        )
    }

    async fn crash(&mut self, id: NodeId) {
        self.look();
        for node in &self.nodes {
            if node.id == id {
                node.crash(&self.links).await;
            }
        }
    }

    async fn restart(&mut self, id: NodeId) {
        for node in &mut self.nodes {
            if node.id == id {
                node.start(&self.links).await;
            }
        }
    }

    fn anybody(&mut self) -> NodeId {
        self.rng.random_range(1..=NODES)
    }

    async fn rest(&mut self, millis: std::ops::Range<u64>) {
        let end = Instant::now() + Duration::from_millis(self.rng.random_range(millis));
        while Instant::now() < end {
            self.look();
            sleep(Duration::from_millis(50)).await;
        }
    }
}
