//! Nodes of a fleet in one process, each with a runtime of its own, so that one can be killed in the middle of
//! anything.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;

use crate::cluster::{Clock, Cluster, JoinToken, Joiner, Peer, REKEY_AFTER, StartOptions, join};
use crate::error::JoinError;
use crate::identity::{DataDir, Identity, found};
use crate::model::{Batch, Change, Command, FEATURE_LEVEL, NodeName, PoolName, UnixMillis};
use crate::timing::Timing;
use crate::types::NodeId;

pub(super) const WITHIN: Duration = Duration::from_secs(5);

/// A fleet's nodes, and what they leave on disk.
pub(super) struct Fleet {
    temp: tempfile::TempDir,
    pub(super) nodes: Vec<Node>,
    net: u8,
    /// Where those run that join from now on, where they have no runtime each.
    shared: Option<Runtime>,
    _alone: MutexGuard<'static, ()>,
}

/// One fleet at a time: these tests look at how long things take.
static ALONE: Mutex<()> = Mutex::new(());

pub(super) struct Node {
    pub(super) cluster: Cluster,
    pub(super) address: SocketAddr,
    pub(super) name: String,
    runtime: Option<Runtime>,
}

#[expect(clippy::disallowed_methods, reason = "tests have no clock of their own")]
pub(super) fn clock() -> Clock {
    Arc::new(|| {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        UnixMillis(u64::try_from(since.as_millis()).unwrap())
    })
}

pub(super) fn name(text: &str) -> NodeName {
    NodeName::parse(text).unwrap()
}

pub(super) fn batch(change: Change) -> Command {
    Command::Batch(Batch::of(vec![change]))
}

pub(super) fn create(pool: &str) -> Command {
    batch(Change::CreatePool(PoolName::parse(pool).unwrap()))
}

/// A node of this release, with the right clock.
pub(super) fn joiner<'a>(
    peers: &'a [Peer],
    token: &'a JoinToken,
    node: &str,
    advertise: SocketAddr,
) -> Joiner<'a> {
    Joiner {
        peers,
        token,
        node: name(node),
        advertise,
        feature_level: FEATURE_LEVEL,
        clock: clock(),
    }
}

/// Waits for a condition, and says which one never came.
pub(super) fn until(what: &str, within: Duration, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < within, "not within {within:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs something of the test's own.
pub(super) fn run<T>(future: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap().block_on(future)
}

impl Fleet {
    /// A fleet of one.
    pub(super) fn found() -> Self {
        static NETS: AtomicU8 = AtomicU8::new(1);
        let mut fleet = Self {
            temp: tempfile::tempdir().unwrap(),
            nodes: Vec::new(),
            net: NETS.fetch_add(1, Ordering::Relaxed),
            shared: None,
            _alone: ALONE.lock().unwrap_or_else(PoisonError::into_inner),
        };
        let (listener, address) = fleet.listen();
        let dir = DataDir::open(fleet.path("n1")).unwrap();
        let identity = found(&dir, "acme", name("n1"), address).unwrap();
        let node = Node::start(dir, identity, listener, FEATURE_LEVEL, None);
        fleet.nodes.push(node);
        fleet
    }

    /// Three nodes, all voters.
    pub(super) fn of_three() -> Self {
        let mut fleet = Self::found();
        let token = fleet.token(None);
        for name in ["n2", "n3"] {
            fleet.join(name, &token).unwrap();
        }
        fleet.wait_for_voters(3);
        fleet
    }

    pub(super) fn token(&self, uses: Option<u32>) -> JoinToken {
        run(self.nodes[0]
            .cluster
            .issue_token(Duration::from_mins(1), uses, "test"))
        .unwrap()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    /// Joins through the node that joined last.
    pub(super) fn join(&mut self, node: &str, token: &JoinToken) -> Result<NodeId, JoinError> {
        self.join_from(node, node, token)
    }

    /// The same, with a data directory of another name.
    pub(super) fn join_from(
        &mut self,
        path: &str,
        node: &str,
        token: &JoinToken,
    ) -> Result<NodeId, JoinError> {
        let joined = self.join_with(path, node, token, |_| {})?;
        let id = joined.cluster.node_id();
        self.nodes.push(joined);
        Ok(id)
    }

    /// The same with what else it says of itself; the node is not among the fleet's yet.
    pub(super) fn join_with(
        &self,
        path: &str,
        node: &str,
        token: &JoinToken,
        alter: impl FnOnce(&mut Joiner<'_>),
    ) -> Result<Node, JoinError> {
        let peers = [self.nodes.last().unwrap().address.to_string().parse().unwrap()];
        let (listener, address) = self.listen();
        let dir = DataDir::open(self.path(path)).unwrap();
        let mut joiner = joiner(&peers, token, node, address);
        alter(&mut joiner);
        let identity = run(join(&dir, &joiner))?;
        let shared = self.shared.as_ref();
        Ok(Node::start(dir, identity, listener, joiner.feature_level, shared))
    }

    /// Has those who join from now on run together on a few threads: hundreds of threads that want to run would leave
    /// each node, those that vote among them, less of a small machine than an election takes.
    pub(super) fn share_threads(&mut self) {
        self.shared = Some(runtime("shared"));
    }

    pub(super) fn wait_for_voters(&self, count: usize) {
        until("voters", Duration::from_secs(15), || {
            self.nodes.iter().all(|node| {
                let status = node.cluster.status();
                status.voters.len() == count && status.leader.is_some()
            })
        });
    }

    /// The place of the leader among the nodes.
    pub(super) fn leader(&self) -> usize {
        let mut place = None;
        until("one leader", Duration::from_secs(10), || {
            place = self.nodes.iter().position(|node| {
                let status = node.cluster.status();
                status.leader == Some(node.cluster.node_id()) && status.has_quorum
            });
            place.is_some()
        });
        place.unwrap()
    }

    /// Ends a node in the middle of whatever it does.
    pub(super) fn kill(&mut self, place: usize) -> (String, SocketAddr) {
        let node = self.nodes.remove(place);
        let runtime = node.runtime.expect("one of its own, which ends with it");
        runtime.shutdown_background();
        (node.name, node.address)
    }

    /// Starts a node that was killed from what it left.
    pub(super) fn restart(&mut self, node: &str, address: SocketAddr) {
        self.restart_as(node, address, FEATURE_LEVEL);
    }

    /// The same, as a release of that feature level.
    pub(super) fn restart_as(&mut self, node: &str, address: SocketAddr, level: u32) {
        self.restart_with(node, address, level, REKEY_AFTER);
    }

    /// The same, where keys may become so old.
    pub(super) fn restart_with(
        &mut self,
        node: &str,
        address: SocketAddr,
        level: u32,
        rekey_after: Duration,
    ) {
        let path = self.path(node);
        let mut dir = None;
        until("the lock of the killed node", Duration::from_secs(5), || {
            dir = DataDir::open(&path).ok();
            dir.is_some()
        });
        let dir = dir.unwrap();
        let identity = dir.identity().unwrap().unwrap();
        let mut listener = None;
        until("the port of the killed node", Duration::from_secs(5), || {
            listener = std::net::TcpListener::bind(address).ok();
            listener.is_some()
        });
        let listener = listener.unwrap();
        self.nodes.push(Node::start_with(
            dir,
            identity,
            listener,
            level,
            rekey_after,
            None,
        ));
    }

    /// An address that nothing uses; each fleet has a net of its own.
    pub(super) fn listen(&self) -> (std::net::TcpListener, SocketAddr) {
        let process = std::process::id().to_be_bytes();
        let ip = IpAddr::V4(Ipv4Addr::new(127, 64 | (process[2] & 63), process[3], self.net));
        let listener = std::net::TcpListener::bind((ip, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let runtimes = self.nodes.drain(..).filter_map(|node| node.runtime);
        for runtime in runtimes.chain(self.shared.take()) {
            runtime.shutdown_background();
        }
    }
}

impl Node {
    fn start(
        dir: DataDir,
        identity: Identity,
        listener: std::net::TcpListener,
        feature_level: u32,
        shared: Option<&Runtime>,
    ) -> Self {
        Self::start_with(dir, identity, listener, feature_level, REKEY_AFTER, shared)
    }

    fn start_with(
        dir: DataDir,
        identity: Identity,
        listener: std::net::TcpListener,
        feature_level: u32,
        rekey_after: Duration,
        shared: Option<&Runtime>,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let name = identity.name.to_string();
        let own = shared.is_none().then(|| runtime(&name));
        let on = shared.or(own.as_ref()).expect("one of both");
        let options = StartOptions {
            dir,
            identity,
            advertise: address,
            timing: Timing::default(),
            clock: clock(),
            feature_level,
            rekey_after,
        };
        let cluster = on.block_on(Cluster::start(options)).unwrap();
        on.spawn(serve(listener, cluster.clone()));
        Self {
            cluster,
            address,
            name,
            runtime: own,
        }
    }

    /// Creates a pool through this node.
    pub(super) fn create(&self, pool: &str) -> Result<super::super::Proposed, crate::error::ProposeError> {
        run(self.cluster.propose(create(pool), "test", WITHIN))
    }

    pub(super) fn has_pool(&self, pool: &str) -> bool {
        self.cluster.feed().latest().state.config.pool(pool).is_some()
    }
}

fn runtime(name: &str) -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder
        .worker_threads(2)
        .thread_name(name)
        .enable_all()
        .build()
        .unwrap()
}

/// A cluster port as a node has it.
async fn serve(listener: std::net::TcpListener, cluster: Cluster) {
    listener.set_nonblocking(true).unwrap();
    let listener = TcpListener::from_std(listener).unwrap();
    let tls = cluster.tls().unwrap();
    let (sender, streams) = tokio::sync::mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (tls, sender) = (tls.clone(), sender.clone());
            tokio::spawn(async move {
                if let Ok(stream) = tls.accept(stream).await {
                    drop(sender.send(Ok::<_, std::io::Error>(stream)).await);
                }
            });
        }
    });
    let server = Server::builder().add_routes(cluster.services());
    server
        .serve_with_incoming(ReceiverStream::new(streams))
        .await
        .unwrap();
}
