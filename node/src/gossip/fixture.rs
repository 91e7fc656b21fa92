//! Nodes for tests: real sockets and real TLS, a membership that the test sets.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fleetbal_proto::v1::GossipMessage;
use fleetbal_proto::v1::gossip_client::GossipClient;
use fleetbal_raft::identity::{DataDir, found};
use fleetbal_raft::model::{KeyHash, NodeName, UnixMillis, Version};
use fleetbal_raft::transport::tls::FleetTls;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::{FleetView, Gossip, GossipOptions, NodeState, NodeView, OwnState, Surroundings};

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// One node's keys and place, whether it runs or not.
pub(crate) struct Place {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    pub(crate) tls: FleetTls,
    pub(crate) key_hash: KeyHash,
    world: Arc<World>,
    listener: Mutex<Option<TcpListener>>,
}

/// The membership as one node has it.
pub(crate) struct World {
    tls: FleetTls,
    members: Mutex<Vec<(u64, String, SocketAddr)>>,
    channels: Mutex<BTreeMap<SocketAddr, Channel>>,
}

impl Surroundings for World {
    fn members(&self) -> Vec<(u64, String, String)> {
        let members = self.members.lock().unwrap();
        let member =
            |(id, name, address): &(u64, String, SocketAddr)| (*id, name.clone(), address.to_string());
        members.iter().map(member).collect()
    }

    fn term(&self) -> u64 {
        3
    }

    fn channel(&self, to: SocketAddr) -> Option<Channel> {
        let id = self
            .members
            .lock()
            .unwrap()
            .iter()
            .find(|member| member.2 == to)?
            .0;
        let mut channels = self.channels.lock().unwrap();
        let channel = channels.entry(to).or_insert_with(|| connect(&self.tls, id, to));
        Some(channel.clone())
    }
}

/// A lazy channel to the member with this id.
pub(crate) fn connect(tls: &FleetTls, id: u64, to: SocketAddr) -> Channel {
    let connector = TlsConnector::from(tls.client_config(id).unwrap());
    let dial = tower::service_fn(move |_| {
        let connector = connector.clone();
        async move {
            let stream = TcpStream::connect(to).await?;
            stream.set_nodelay(true)?;
            let name = "member.fleetbal.internal".try_into().unwrap();
            connector.connect(name, stream).await.map(TokioIo::new)
        }
    });
    Endpoint::from_shared(format!("http://{to}"))
        .unwrap()
        .connect_timeout(Duration::from_millis(250))
        .connect_with_connector_lazy(dial)
}

impl Place {
    pub(crate) async fn new(id: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let name = NodeName::parse(&format!("n{id}")).unwrap();
        let dir = DataDir::open(dir.path()).unwrap();
        let identity = found(&dir, "acme", name.clone(), address).unwrap();
        let tls = FleetTls::new(&identity.keys).unwrap();
        let world = World {
            tls: tls.clone(),
            members: Mutex::default(),
            channels: Mutex::default(),
        };
        Self {
            id,
            name: name.to_string(),
            address,
            key_hash: identity.keys.key_hash().unwrap(),
            tls,
            world: Arc::new(world),
            listener: Mutex::new(Some(listener)),
        }
    }

    /// Makes these the members as this node has them.
    pub(crate) fn trust(&self, members: &[&Self]) {
        self.tls
            .trust(members.iter().map(|member| (member.id, member.key_hash)));
        *self.world.members.lock().unwrap() = members
            .iter()
            .map(|member| (member.id, member.name.clone(), member.address))
            .collect();
    }

    pub(crate) fn surroundings(&self) -> Arc<World> {
        Arc::clone(&self.world)
    }

    /// Starts the node, which gossips every 100 ms.
    pub(crate) async fn start(&self, generation: u64, own: OwnState) -> Running {
        let listener = self.listener.lock().unwrap().take();
        let listener = match listener {
            Some(listener) => listener,
            None => TcpListener::bind(self.address).await.unwrap(),
        };
        let options = GossipOptions {
            name: self.name.clone(),
            node_id: self.id,
            advertise: self.address,
            generation,
            interval: None,
        };
        let world: Arc<World> = Arc::clone(&self.world);
        let (gossip, view) = Gossip::start(world, options, own);
        let routes = Routes::new(gossip.service());
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let port = crate::cluster_port::serve(listener, self.tls.clone(), routes, async {
            drop(stopped.await);
        });
        let port = AbortOnDropHandle::new(tokio::spawn(port));
        Running {
            gossip,
            view,
            stop,
            port,
        }
    }
}

/// A node that runs; dropped, it is killed.
pub(crate) struct Running {
    pub(crate) gossip: Gossip,
    pub(crate) view: FleetView,
    pub(crate) stop: tokio::sync::oneshot::Sender<()>,
    pub(crate) port: AbortOnDropHandle<Result<(), tonic::transport::Error>>,
}

impl Running {
    pub(crate) fn node(&self, name: &str) -> Option<NodeView> {
        self.view.nodes().into_iter().find(|node| node.name == name)
    }

    pub(crate) fn state(&self, name: &str) -> Option<NodeState> {
        self.node(name).map(|node| node.state)
    }

    /// Kills the node and waits until its port is free.
    pub(crate) async fn kill(self) {
        let Self { gossip, port, .. } = self;
        drop(gossip);
        port.abort();
        drop(port.await);
    }
}

/// What a node of version `version` says.
pub(crate) fn own(version: u64) -> OwnState {
    OwnState {
        version: Version(version),
        log_index: version + 10,
        ready: true,
        started: UnixMillis(1),
        ..OwnState::default()
    }
}

/// This many nodes, each of which has all of them as members.
pub(crate) async fn places(count: u64) -> Vec<Place> {
    let mut places = Vec::new();
    for id in 1..=count {
        places.push(Place::new(id).await);
    }
    let all: Vec<&Place> = places.iter().collect();
    for place in &places {
        place.trust(&all);
    }
    places
}

/// Waits until a condition holds and says how long that took.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    start.elapsed()
}

/// Pushes bytes as gossip.
pub(crate) async fn push(channel: Channel, data: &[u8]) -> Result<(), Code> {
    let message = GossipMessage {
        from: "127.0.0.1:1".to_owned(),
        data: data.to_vec(),
    };
    let pushed = GossipClient::new(channel)
        .push(tokio_stream::iter([message]))
        .await;
    pushed.map(drop).map_err(|status: Status| status.code())
}
