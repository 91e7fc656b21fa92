//! A node for tests: a fleet of one in memory, whose effects are to publish.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use fleetbal_raft::cluster::Cluster;
use fleetbal_raft::model::{NodeName, Version};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::access::Access;
use super::connection::{self, Limits, Port};
use super::{Context, Started};
use crate::clock;
use crate::gossip::{Gossip, OwnState};
use crate::lifecycle::Lifecycle;
use crate::monitor::readiness::Readiness;
use crate::monitor::stats::Stats;
use crate::snapshot::{NodeVariables, Publisher};

/// The node, and what keeps it going.
pub(super) struct TestNode {
    pub(super) context: Arc<Context>,
    tasks: Vec<AbortOnDropHandle<()>>,
}

impl TestNode {
    pub(super) async fn start() -> Self {
        let name = NodeName::parse("n1").unwrap();
        let cluster = Cluster::standalone(name, Arc::new(clock::now), None)
            .await
            .unwrap();
        let variables = NodeVariables {
            name: "n1".to_owned(),
            ip: Some("127.0.0.1".parse().unwrap()),
            labels: BTreeMap::from([("rack".to_owned(), "7".to_owned())]),
        };
        let (mut publisher, view) = Publisher::new(variables.clone());
        let (gossip, fleet) = Gossip::standalone(Arc::new(cluster.clone()), 1, "n1", OwnState::default());
        let (settle, settled) = watch::channel(Version::default());
        let mut feed = cluster.feed();
        let effects = async move {
            loop {
                let config = feed.latest().state.config.clone();
                publisher.publish(&config);
                gossip.set_own(OwnState {
                    version: config.version,
                    ..OwnState::default()
                });
                settle.send_replace(config.version);
                if !feed.changed().await {
                    return;
                }
            }
        };
        let context = Context {
            cluster,
            view,
            events: Arc::default(),
            stats: Arc::new(Stats::new()),
            queues: Arc::new(crate::role::Queues::new(1)),
            reproxy: Arc::default(),
            open: super::OpenSockets::new(crate::workers::Census::default()),
            last_proc: super::query::node::LastProc::default(),
            fleet,
            health: crate::checks::Health::new("n1"),
            readiness: Readiness::default(),
            settled,
            lifecycle: Lifecycle::default(),
            variables,
            may_start_programs: false,
            started: Started::now(),
            own_listener: None,
            sockets: crate::sockets::Sockets::default(),
        };
        let context = Arc::new(context);
        let events = super::events::run(Arc::clone(&context));
        let tasks = vec![
            AbortOnDropHandle::new(tokio::spawn(effects)),
            AbortOnDropHandle::new(tokio::spawn(events)),
        ];
        Self { context, tasks }
    }

    /// Opens a management listener on loopback.
    pub(super) async fn listen(&mut self, access: Access, limits: Limits) -> SocketAddr {
        self.open(Port::Management(Arc::new(access), None), limits).await
    }

    /// Opens a listener of whatever kind.
    pub(super) async fn open(&mut self, port: Port, limits: Limits) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let serving = connection::serve(listener, Arc::clone(&self.context), port, limits, stop);
        self.tasks.push(AbortOnDropHandle::new(tokio::spawn(serving)));
        address
    }
}

/// Sends bytes, ends the sending side, and reads all that comes back.
pub(super) async fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let sending = async {
        // The other side may have ended the connection before it has read everything.
        drop(writer.write_all(bytes).await);
        drop(writer.shutdown().await);
    };
    let mut answer = Vec::new();
    let (read, ()) = tokio::join!(reader.read_to_end(&mut answer), sending);
    drop(read);
    String::from_utf8(answer).unwrap()
}
