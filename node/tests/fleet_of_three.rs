//! Three nodes in one process: the replicated log, gossip and readiness over real cluster ports with real TLS.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends where something is wrong; lints know that of test functions alone"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fleetbal::cluster_port;
use fleetbal::gossip::{ConfigHash, FleetView, Gossip, NodeState, OwnState};
use fleetbal::manage::query::cluster::{FleetStatus, MembersStatus};
use fleetbal::monitor::readiness::{NotReady, Readiness};
use fleetbal_raft::cluster::{Cluster, JoinToken, Joiner, StartOptions, join};
use fleetbal_raft::identity::{DataDir, found};
use fleetbal_raft::model::{Batch, Change, Command, NodeName, PoolName};
use fleetbal_raft::timing::Timing;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

const PATIENCE: Duration = Duration::from_secs(30);

struct Node {
    cluster: Cluster,
    gossip: Gossip,
    view: FleetView,
    readiness: Readiness,
    stop: oneshot::Sender<()>,
    tasks: Vec<JoinHandle<()>>,
    dir: TempDir,
    address: SocketAddr,
}

/// What a node says of itself after each entry.
fn own(cluster: &Cluster, readiness: &Readiness) -> OwnState {
    let applied = cluster.feed().latest();
    let config = &applied.state.config;
    let reason = readiness.not_ready();
    OwnState {
        version: config.version,
        log_index: applied.log_index,
        hash: ConfigHash::of(config),
        ready: reason.is_none(),
        not_ready_because: reason.map(|reason| reason.to_string()),
        requests_total: 0,
        load: fleetbal::gossip::Load::default(),
        troubles: Vec::new(),
        hindrances: std::collections::BTreeSet::new(),
        backends: std::sync::Arc::default(),
        started: fleetbal::clock::now(),
    }
}

impl Node {
    async fn found(name: &str) -> Self {
        let (dir, data, listener, address) = place().await;
        found(&data, "acme", NodeName::parse(name).unwrap(), address).unwrap();
        Self::start(dir, data, listener).await
    }

    async fn join(name: &str, peer: SocketAddr, token: &JoinToken) -> Self {
        let (dir, data, listener, address) = place().await;
        let joiner = Joiner {
            peers: &[peer.to_string().parse().unwrap()],
            token,
            node: NodeName::parse(name).unwrap(),
            advertise: address,
            feature_level: fleetbal_raft::model::FEATURE_LEVEL,
            clock: Arc::new(fleetbal::clock::now),
        };
        join(&data, &joiner).await.unwrap();
        Self::start(dir, data, listener).await
    }

    async fn start(dir: TempDir, data: DataDir, listener: TcpListener) -> Self {
        let address = listener.local_addr().unwrap();
        let options = StartOptions {
            identity: data.identity().unwrap().unwrap(),
            dir: data,
            advertise: address,
            timing: Timing::default(),
            clock: Arc::new(fleetbal::clock::now),
            feature_level: fleetbal_raft::model::FEATURE_LEVEL,
            rekey_after: fleetbal_raft::cluster::REKEY_AFTER,
        };
        let cluster = Cluster::start(options).await.unwrap();
        let readiness = Readiness::default();
        let (gossip, view) = Gossip::of(&cluster, address, own(&cluster, &readiness));
        let routes = cluster.services().add_service(gossip.service());
        let (stop, stopped) = oneshot::channel::<()>();
        let port = cluster_port::serve(listener, cluster.tls().unwrap(), routes, async {
            drop(stopped.await);
        });
        let tasks = vec![
            tokio::spawn(async { port.await.unwrap() }),
            tokio::spawn(tell(cluster.clone(), gossip.clone(), readiness.clone())),
            tokio::spawn({
                let (cluster, readiness) = (cluster.clone(), readiness.clone());
                async move { readiness.catch_up(&cluster).await }
            }),
        ];
        readiness.start_finished();
        Self {
            cluster,
            gossip,
            view,
            readiness,
            stop,
            tasks,
            dir,
            address,
        }
    }

    fn status(&self) -> FleetStatus {
        let applied = self.cluster.feed().latest();
        let (raft, now) = (self.cluster.status(), fleetbal::clock::now());
        FleetStatus::assemble(&raft, &applied.state, &self.view.nodes(), now)
    }

    /// Ends as a killed process would: nobody is told.
    async fn kill(self) -> TempDir {
        for task in &self.tasks {
            task.abort();
        }
        drop((self.gossip, self.view, self.stop));
        for task in self.tasks {
            drop(task.await);
        }
        // Its data directory cannot be opened again before it is let go.
        self.cluster.shutdown().await;
        self.dir
    }
}

async fn place() -> (TempDir, DataDir, TcpListener, SocketAddr) {
    let dir = tempfile::tempdir().unwrap();
    let data = DataDir::open(dir.path()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (dir, data, listener, address)
}

/// Starts a node that was killed, once the last of its old tasks has let its directory go.
async fn restart(address: SocketAddr, dir: TempDir) -> Node {
    let mut data = None;
    until("the directory is free", || {
        data = DataDir::open(dir.path()).ok();
        data.is_some()
    })
    .await;
    let listener = TcpListener::bind(address).await.unwrap();
    Node::start(dir, data.unwrap(), listener).await
}

async fn tell(cluster: Cluster, gossip: Gossip, readiness: Readiness) {
    let (mut feed, mut reports) = (cluster.feed(), readiness.subscribe());
    loop {
        gossip.set_own(own(&cluster, &readiness));
        tokio::select! {
            more = feed.changed() => if !more { return },
            Ok(()) = reports.changed() => {}
        }
    }
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    start.elapsed()
}

async fn fleet() -> Vec<Node> {
    let mut nodes = vec![Node::found("n1").await];
    let token = nodes[0]
        .cluster
        .issue_token(PATIENCE, None, "test")
        .await
        .unwrap();
    for name in ["n2", "n3"] {
        let node = Node::join(name, nodes[0].address, &token).await;
        nodes.push(node);
    }
    until("three vote and all are in sync", || all_well(&nodes, 0)).await;
    nodes
}

async fn create_pool(node: &Node, pool: &str) -> u64 {
    let batch = Batch::of(vec![Change::CreatePool(PoolName::parse(pool).unwrap())]);
    let command = Command::Batch(batch);
    node.cluster.propose(command, "test", PATIENCE).await.unwrap();
    node.status().version
}

/// True when every node says that all is well, at this version.
fn all_well(nodes: &[Node], version: u64) -> bool {
    nodes.iter().all(|node| {
        let status = node.status();
        status.in_sync && status.version == version && status.quorum.voters == 3 && !status.is_degraded()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_follows_a_fleet_through_a_death_and_a_return() {
    let mut nodes = fleet().await;
    let before = nodes[0].status();
    assert_eq!(before.cluster.as_deref(), Some("acme"));
    assert_eq!(
        (before.quorum.reachable, before.quorum.tolerates, before.quorum.ok),
        (3, 1, true)
    );
    let members = MembersStatus::assemble(&nodes[2].cluster.status());
    let names: Vec<_> = members
        .members
        .iter()
        .map(|member| (member.name.as_str(), member.id))
        .collect();
    assert_eq!(names, [("n1", 1), ("n2", 2), ("n3", 3)]);

    create_pool(&nodes[1], "web").await;
    let deadline = Instant::now() + PATIENCE;
    assert_eq!(nodes[0].view.wait_version(1, deadline).await, Ok(()));
    until("all agree on version 1", || {
        nodes
            .iter()
            .all(|node| node.status().in_sync && node.status().version == 1)
    })
    .await;

    let dead = nodes.pop().unwrap();
    let address = dead.address;
    let dir = dead.kill().await;
    let took = until("n3 is missed", || {
        nodes
            .iter()
            .all(|node| node.view.nodes()[2].state != NodeState::Alive)
    })
    .await;
    println!("kill seen after {took:?}");
    until("the quorum is two of three", || {
        nodes.iter().all(|node| {
            let quorum = node.status().quorum;
            (quorum.reachable, quorum.tolerates, quorum.ok) == (2, 0, true)
        })
    })
    .await;
    create_pool(&nodes[0], "api").await;
    until("n3 is dead and behind", || {
        let status = nodes[0].status();
        let n3 = &status.nodes[2];
        n3.state == "dead"
            && n3.version == Some(1)
            && n3.lag.is_some_and(|lag| lag > 0)
            && n3.ready == Some(false)
    })
    .await;
    assert!(nodes[0].status().is_degraded());
    println!("{}", nodes[0].status().lines().join("\n"));

    nodes.push(restart(address, dir).await);
    until("all are in sync again", || all_well(&nodes, 2)).await;
    println!(
        "{}\n{}",
        nodes[2].status().lines().join("\n"),
        nodes[2].status().json()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_ready_once_it_has_caught_up_or_no_leader_answers() {
    let mut nodes = fleet().await;
    assert!(nodes.iter().all(|node| node.readiness.not_ready().is_none()));
    let mut dirs = Vec::new();
    for node in nodes.drain(..) {
        dirs.push((node.address, node.kill().await));
    }
    let (address, dir) = dirs.pop().unwrap();
    let start = Instant::now();
    let alone = restart(address, dir).await;
    assert_eq!(alone.readiness.not_ready(), Some(NotReady::CatchingUp));
    until("it goes by what it has", || alone.readiness.not_ready().is_none()).await;
    assert!(start.elapsed() >= Duration::from_millis(4_900));
    let status = alone.status();
    assert_eq!(
        (status.leader, status.quorum.ok, status.quorum.reachable),
        (None, false, 1)
    );
    assert_eq!((status.nodes.len(), status.nodes[0].role.is_some()), (3, true));
}
