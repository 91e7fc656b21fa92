//! How many checks a backend gets from fleets of different sizes: real gossip over links in memory, real checks over
//! real sockets, counted where they arrive.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::Mutex;

use fleetbal_raft::model::{BackendAddress, Batch, Change, FleetConfig};
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::gossip::memory::Net;
use crate::gossip::{Gossip, OwnState};
use crate::snapshot::{NodeVariables, Publisher, Reports};

/// Between two checks by one node.
const INTERVAL: Duration = Duration::from_millis(200);

/// For how long they are counted.
const COUNTED: Duration = Duration::from_secs(3);

/// The checks that came, by the name of who made them.
#[derive(Default)]
struct Counted(Mutex<BTreeMap<String, u32>>);

impl Counted {
    fn take(&self) -> BTreeMap<String, u32> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    /// A backend that counts the checks that it answers.
    fn serve(self: &Arc<Self>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let counted = Arc::clone(self);
        // It ends with the process.
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                for line in lines.map_while(Result::ok).take_while(|line| !line.is_empty()) {
                    if let Some((_, node)) = line.split_once(" (") {
                        let node = node.trim_end_matches(')').to_owned();
                        *counted.0.lock().unwrap().entry(node).or_default() += 1;
                    }
                }
                drop(stream.write_all(b"HTTP/1.1 200 Fine\r\nContent-Length: 0\r\n\r\n"));
            }
        });
        address
    }
}

/// A node as the boot puts it together, without traffic.
struct Node {
    view: FleetView,
    _gossip: Gossip,
    _tasks: [AbortOnDropHandle<()>; 2],
    _settled: watch::Sender<Version>,
    _publisher: Publisher,
}

fn node(net: &Net, number: u16, config: &Arc<FleetConfig>) -> Node {
    let (seen, reports) = Reports::channel();
    let (publisher, view) = Publisher::new(NodeVariables::default());
    let mut publisher = publisher.reporting(seen);
    publisher.publish(config);
    let (gossip, fleet) = net.start(number, OwnState::default());
    let (told, mut backends) = watch::channel(Arc::default());
    let (settled, settled_view) = watch::channel(Version(1));
    let runner = Runner {
        health: Health::new(&format!("n{number}")),
        view,
        settled: settled_view,
        reports,
        fleet: fleet.clone(),
        told,
    };
    let speaker = gossip.clone();
    let say = async move {
        while backends.changed().await.is_ok() {
            speaker.set_own(OwnState {
                backends: Arc::clone(&backends.borrow_and_update()),
                ..OwnState::default()
            });
        }
    };
    Node {
        view: fleet,
        _gossip: gossip,
        _tasks: [
            AbortOnDropHandle::new(tokio::spawn(runner.run())),
            AbortOnDropHandle::new(tokio::spawn(say)),
        ],
        _settled: settled,
        _publisher: publisher,
    }
}

fn config(backend: SocketAddr) -> Arc<FleetConfig> {
    let pool = PoolName::parse("web").unwrap();
    let set = |key: &str, value: String| Change::Set {
        object: "web".to_owned(),
        key: key.to_owned(),
        value,
    };
    let changes = vec![
        Change::CreatePool(pool.clone()),
        set("health_path", "/ok".to_owned()),
        set("health_interval", INTERVAL.as_secs_f64().to_string()),
        Change::PoolAdd {
            pool,
            backend: BackendAddress::parse(&backend.to_string()).unwrap(),
            weight: 1,
        },
    ];
    Arc::new(FleetConfig::default().with_batch(&Batch::of(changes)).unwrap())
}

/// The checks that a backend gets from a fleet of so many nodes, by who makes them.
async fn checks_of(nodes: u16) -> BTreeMap<String, u32> {
    let counted = Arc::new(Counted::default());
    let config = config(counted.serve());
    let net = Net::of(nodes);
    let fleet: Vec<_> = (1..=nodes).map(|number| node(&net, number, &config)).collect();
    let is_whole =
        |node: &Node| node.view.voices().iter().filter(|voice| voice.is_alive).count() == usize::from(nodes);
    let start = Instant::now();
    while !fleet.iter().all(is_whole) {
        assert!(
            start.elapsed() < Duration::from_mins(1),
            "they do not find each other"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // What was begun before everybody knew everybody is through.
    tokio::time::sleep(INTERVAL * 3).await;
    counted.take();
    tokio::time::sleep(COUNTED).await;
    counted.take()
}

async fn check_as_often_as_three(nodes: u16) {
    let few = checks_of(3).await;
    let many = checks_of(nodes).await;
    println!("3 nodes: {few:?}, {nodes} nodes: {many:?}");
    let by_one = u32::try_from(COUNTED.as_millis() / INTERVAL.as_millis()).unwrap();
    let sum = |checks: &BTreeMap<String, u32>| checks.values().sum::<u32>();
    for checks in [&few, &many] {
        // Where a node falls silent for a moment, as on a busy machine, a third one may step in.
        assert!(checks.len() <= 3, "{checks:?}");
        assert!((by_one..=by_one * 3).contains(&sum(checks)), "{checks:?}");
    }
    assert!(sum(&few).abs_diff(sum(&many)) <= by_one, "{few:?} and {many:?}");
}

#[tokio::test]
async fn nine_nodes_check_a_backend_as_often_as_three() {
    check_as_often_as_three(9).await;
}

#[tokio::test]
#[ignore = "needs a quiet machine: see docs/CONTRIBUTING.md"]
async fn fifty_nodes_check_a_backend_as_often_as_three() {
    check_as_often_as_three(50).await;
}
