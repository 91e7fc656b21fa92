//! Whole fleets of gossip in one process, over links in memory and by a clock of their own: how fast and at what cost
//! news travels, and what old or repeated messages change.

use fleetbal_raft::model::{BackendAddress, PoolName};

use super::fixture::own;
use super::memory::Net;
use super::*;
use crate::health::{Key, Observation, Told};

const SECOND: Duration = Duration::from_secs(1);

fn key(number: u16) -> Key {
    let [high, low] = number.to_be_bytes();
    Key {
        pool: PoolName::parse("web").unwrap(),
        backend: BackendAddress::parse(&format!("10.9.{high}.{low}:80")).unwrap(),
    }
}

fn down(numbers: impl IntoIterator<Item = u16>) -> Arc<Told> {
    let down = Observation::Down("Connection refused".to_owned());
    Arc::new(
        numbers
            .into_iter()
            .map(|number| (key(number), down.clone()))
            .collect(),
    )
}

/// A fleet that runs, each node under traffic: its counters are others every half second, as the boot has them.
struct Fleet {
    net: Net,
    nodes: Vec<(Gossip, FleetView)>,
    own: Vec<OwnState>,
}

impl Fleet {
    async fn start(size: u16) -> Self {
        let net = Net::of(size);
        let nodes = (1..=size).map(|number| net.start(number, own(1))).collect();
        let mut fleet = Self {
            net,
            nodes,
            own: vec![own(1); size.into()],
        };
        let mut waited = Duration::ZERO;
        while !fleet.all_alive() {
            fleet.pass(SECOND).await;
            waited += SECOND;
            assert!(waited < SECOND * 60, "they do not find each other");
        }
        fleet.pass(SECOND * 5).await;
        fleet
    }

    fn all_alive(&self) -> bool {
        self.nodes.iter().all(|(_, view)| {
            let nodes = view.nodes();
            nodes.len() == self.nodes.len() && nodes.iter().all(|node| node.state == NodeState::Alive)
        })
    }

    /// Lets time pass under traffic.
    async fn pass(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            for ((gossip, _), own) in self.nodes.iter().zip(&mut self.own) {
                own.requests_total += 1_234;
                gossip.set_own(own.clone());
            }
            tokio::time::sleep_until(end.min(Instant::now() + SECOND / 2)).await;
        }
    }

    fn tell(&mut self, node: usize, told: Arc<Told>) {
        self.own[node].backends = told;
        self.nodes[node].0.set_own(self.own[node].clone());
    }

    fn all_know(&self, node: usize, told: &Told) -> bool {
        let name = format!("n{}", node + 1);
        self.nodes.iter().all(|(_, view)| {
            let voices = view.voices();
            voices
                .iter()
                .any(|voice| *voice.name == *name && *voice.told == *told)
        })
    }

    /// How long it takes until all know what one of them has seen, so many times; sorted.
    async fn spread(&mut self, times: u16) -> Vec<Duration> {
        let mut took = Vec::new();
        for round in 0..times {
            let node = usize::from(round) * 7 % self.nodes.len();
            let told = down([round]);
            self.tell(node, Arc::clone(&told));
            let start = Instant::now();
            while !self.all_know(node, &told) {
                tokio::time::sleep(Duration::from_millis(10)).await;
                assert!(start.elapsed() < SECOND * 30, "n{node} is not heard by all");
            }
            took.push(start.elapsed());
            // The next one comes at another moment of the rounds.
            self.pass(Duration::from_millis(u64::from(round) * 137 % 1_000))
                .await;
            self.tell(node, Arc::default());
            self.pass(SECOND * 2).await;
        }
        took.sort_unstable();
        took
    }

    /// KiB a second that a node sends: the mean, and the most of any.
    async fn bytes(&mut self) -> (u64, u64) {
        const SECONDS: u32 = 10;
        self.net.take_sent();
        self.pass(SECOND * SECONDS).await;
        let sent = self.net.take_sent();
        assert_eq!(sent.len(), self.nodes.len());
        let rate = |bytes: u64| bytes / 1024 / u64::from(SECONDS);
        let mean = sent.iter().sum::<u64>() / sent.len() as u64;
        (rate(mean), rate(sent.into_iter().max().unwrap()))
    }
}

/// What gossip costs and how fast it is in a fleet of that size; it must stay below so many KiB a second and node.
async fn news_spreads(size: u16, limit: u64, times: u16) {
    let mut fleet = Fleet::start(size).await;
    let (mean, most) = fleet.bytes().await;
    let took = fleet.spread(times).await;
    let (median, worst) = (took[took.len() / 2], took[took.len() - 1]);
    println!(
        "{size} nodes: {mean} KiB/s a node, at most {most}; all know after {median:?}, at most {worst:?}"
    );
    assert!(most < limit, "{size} nodes: {most} KiB/s");
    assert!(
        size > 64 || median <= SECOND && worst <= SECOND * 4,
        "{size} nodes: {took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn news_spreads_soon_and_cheaply() {
    news_spreads(16, 80, 5).await;
}

#[tokio::test(start_paused = true)]
#[ignore = "takes minutes: see docs/CONTRIBUTING.md"]
async fn news_reaches_sixty_four_nodes_soon_and_cheaply() {
    news_spreads(64, 80, 9).await;
}

#[tokio::test(start_paused = true)]
#[ignore = "takes minutes: see docs/CONTRIBUTING.md"]
async fn gossip_stays_within_bounds_as_the_fleet_grows() {
    for size in [3, 16, 50] {
        news_spreads(size, 80, 5).await;
    }
    news_spreads(128, 150, 5).await;
}

#[tokio::test(start_paused = true)]
#[ignore = "takes minutes: see docs/CONTRIBUTING.md"]
async fn gossip_of_a_very_large_fleet_stays_within_bounds() {
    news_spreads(256, 150, 5).await;
}

#[tokio::test(start_paused = true)]
async fn trouble_is_what_gossip_grows_with() {
    let mut fleet = Fleet::start(8).await;
    let (calm, _) = fleet.bytes().await;
    // Of ten thousand backends a hundred fail: two checkers each tell it.
    let told: Vec<_> = (0..8_u16)
        .map(|node| down((0..100).filter(|number| number % 8 == node || (number + 1) % 8 == node)))
        .collect();
    for (node, told) in told.iter().enumerate() {
        fleet.tell(node, Arc::clone(told));
    }
    let (turning, _) = fleet.bytes().await;
    assert!((0..8).all(|node| fleet.all_know(node, &told[node])));
    let (steady, _) = fleet.bytes().await;
    println!("8 nodes: {calm} KiB/s a node, {turning} while 100 backends fail, {steady} from then on");
    assert!(steady <= calm + 2, "what does not change does not travel");
    assert!(turning <= calm + 20, "{turning} KiB/s");
}

#[tokio::test(start_paused = true)]
async fn what_is_old_or_told_twice_changes_nothing() {
    let mut fleet = Fleet::start(4).await;
    fleet.tell(0, down([1]));
    fleet.net.record();
    fleet.pass(SECOND * 5).await;
    let old = fleet.net.recorded();
    assert!(old.len() > 50 && fleet.all_know(0, &down([1])));
    // Twice, and out of order.
    for passed in old.iter().rev().chain(&old) {
        fleet.net.replay(passed);
        tokio::task::yield_now().await;
    }
    fleet.pass(SECOND).await;
    assert!(fleet.all_know(0, &down([1])));
    fleet.tell(0, down([2]));
    fleet.pass(SECOND * 3).await;
    // What is not said any more is not said again by a message of yesterday.
    for round in 0..3 {
        for passed in old.iter().skip(round).step_by(3) {
            fleet.net.replay(passed);
        }
        fleet.pass(SECOND).await;
        assert!(fleet.all_know(0, &down([2])), "round {round}");
    }
    // Nor does it bring a dead node to life.
    drop(fleet.nodes.remove(0));
    fleet.own.remove(0);
    fleet.pass(SECOND * 5).await;
    let state = |fleet: &Fleet| -> Vec<NodeState> {
        let views = fleet.nodes.iter().map(|(_, view)| view.nodes());
        let found = views.map(|nodes| nodes.into_iter().find(|node| node.name == "n1").unwrap());
        found.map(|node| node.state).collect()
    };
    assert_eq!(state(&fleet), [NodeState::Dead; 3]);
    for passed in &old {
        fleet.net.replay(passed);
        tokio::task::yield_now().await;
    }
    for _ in 0..20 {
        assert_eq!(state(&fleet), [NodeState::Dead; 3]);
        fleet.pass(SECOND / 4).await;
    }
}

#[tokio::test(start_paused = true)]
async fn sides_that_are_cut_off_hear_their_own_alone() {
    let mut fleet = Fleet::start(4).await;
    for (one, other) in [(1, 3), (1, 4), (2, 3), (2, 4)] {
        fleet.net.cut(one, other);
    }
    fleet.tell(0, down([1]));
    fleet.tell(2, down([2]));
    fleet.pass(SECOND * 5).await;
    let living = |fleet: &Fleet, node: usize| -> Vec<String> {
        let voices = fleet.nodes[node].1.voices().into_iter();
        voices
            .filter(|voice| voice.is_alive)
            .map(|voice| format!("{} {}", voice.name, voice.told.len()))
            .collect()
    };
    assert_eq!(living(&fleet, 1), ["n1 1", "n2 0"]);
    assert_eq!(living(&fleet, 3), ["n3 1", "n4 0"]);
    fleet.net.heal();
    fleet.pass(SECOND * 10).await;
    assert!(fleet.all_alive());
    assert!(fleet.all_know(0, &down([1])) && fleet.all_know(2, &down([2])));
}
