//! A network in memory, for tests: real gossip over links that count, record and replay what passes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use chitchat::transport::{Socket, Transport};
use chitchat::{ChitchatMessage, Deserializable, Serializable};
use tokio::sync::mpsc;
use tonic::transport::Channel;

use super::transport::{Inbox, MESSAGE_MAX};
use super::{FleetView, Gossip, GossipOptions, OwnState, Surroundings};

/// What HTTP/2, protobuf and TLS add to a message on the wire, about.
const OVERHEAD: u64 = 80;

/// One way through a data centre.
const LATENCY: Duration = Duration::from_millis(1);

type Letter = (SocketAddr, ChitchatMessage);

/// What passed: from where, to where, and the bytes.
pub(crate) type Passed = (SocketAddr, SocketAddr, Vec<u8>);

/// The links between nodes. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Net(Arc<Mutex<Links>>);

#[derive(Default)]
struct Links {
    ends: HashMap<SocketAddr, mpsc::Sender<Letter>>,
    members: Vec<(u64, String, String)>,
    cut: HashSet<(SocketAddr, SocketAddr)>,
    sent: BTreeMap<SocketAddr, u64>,
    record: Option<Vec<Passed>>,
}

impl Net {
    /// A net with so many members, n1, n2 …, none of which runs yet.
    pub(crate) fn of(members: u16) -> Self {
        let net = Self::default();
        net.lock().members = (1..=members)
            .map(|number| (number.into(), format!("n{number}"), address(number).to_string()))
            .collect();
        net
    }

    fn lock(&self) -> MutexGuard<'_, Links> {
        self.0.lock().unwrap()
    }

    /// Starts a member's gossip.
    pub(crate) fn start(&self, number: u16, own: OwnState) -> (Gossip, FleetView) {
        let options = GossipOptions {
            name: format!("n{number}"),
            node_id: number.into(),
            advertise: address(number),
            generation: 1,
            interval: None,
        };
        Gossip::over(
            Box::new(self.clone()),
            Inbox::default(),
            Arc::new(self.clone()),
            options,
            own,
        )
    }

    /// Nothing passes between these two any more.
    pub(crate) fn cut(&self, one: u16, other: u16) {
        let (one, other) = (address(one), address(other));
        self.lock().cut.extend([(one, other), (other, one)]);
    }

    /// Everything passes again.
    pub(crate) fn heal(&self) {
        self.lock().cut.clear();
    }

    /// Bytes that each node has sent since the last time.
    pub(crate) fn take_sent(&self) -> Vec<u64> {
        std::mem::take(&mut self.lock().sent).into_values().collect()
    }

    /// Writes down what passes from now on.
    pub(crate) fn record(&self) {
        self.lock().record = Some(Vec::new());
    }

    /// What passed since.
    pub(crate) fn recorded(&self) -> Vec<Passed> {
        self.lock().record.take().unwrap_or_default()
    }

    /// Lets it pass once more.
    pub(crate) fn replay(&self, (from, to, data): &Passed) {
        let message = ChitchatMessage::deserialize(&mut data.as_slice()).unwrap();
        let end = self.lock().ends.get(to).cloned();
        drop(end.map(|end| end.try_send((*from, message))));
    }

    fn pass(&self, from: SocketAddr, to: SocketAddr, message: &ChitchatMessage) {
        let data = message.serialize_to_vec();
        assert!(data.len() <= MESSAGE_MAX, "a message of {} bytes", data.len());
        let mut links = self.lock();
        *links.sent.entry(from).or_default() += data.len() as u64 + OVERHEAD;
        if links.cut.contains(&(from, to)) {
            return;
        }
        let Some(end) = links.ends.get(&to).cloned() else {
            return;
        };
        let letter = ChitchatMessage::deserialize(&mut data.as_slice()).unwrap();
        if let Some(record) = &mut links.record {
            record.push((from, to, data));
        }
        drop(links);
        tokio::spawn(async move {
            tokio::time::sleep(LATENCY).await;
            // As a datagram: what does not fit is lost.
            drop(end.try_send((from, letter)));
        });
    }
}

/// Where a member is.
fn address(number: u16) -> SocketAddr {
    let [high, low] = number.to_be_bytes();
    ([10, 0, high, low], 7400).into()
}

impl Surroundings for Net {
    fn members(&self) -> Vec<(u64, String, String)> {
        self.lock().members.clone()
    }

    fn term(&self) -> u64 {
        3
    }

    fn channel(&self, _to: SocketAddr) -> Option<Channel> {
        None
    }
}

#[async_trait::async_trait]
impl Transport for Net {
    async fn open(&self, own: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        let (end, incoming) = mpsc::channel(256);
        self.lock().ends.insert(own, end);
        Ok(Box::new(End {
            own,
            net: self.clone(),
            incoming,
        }))
    }
}

/// A node's end of its links.
struct End {
    own: SocketAddr,
    net: Net,
    incoming: mpsc::Receiver<Letter>,
}

#[async_trait::async_trait]
impl Socket for End {
    async fn send(&mut self, to: SocketAddr, message: ChitchatMessage) -> anyhow::Result<()> {
        self.net.pass(self.own, to, &message);
        Ok(())
    }

    async fn recv(&mut self) -> anyhow::Result<Letter> {
        match self.incoming.recv().await {
            Some(letter) => Ok(letter),
            None => anyhow::bail!("another gossip loop has taken over"),
        }
    }
}
