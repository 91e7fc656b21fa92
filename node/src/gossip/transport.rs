//! Carries gossip messages over the cluster port: one long call to each peer, on the connections of the consensus. A
//! call for each message would cost twice the processor time.
//!
//! Sending never waits: each peer has a short queue, and what does not fit is dropped, as a datagram would be. Gossip
//! says it again, and fresher.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chitchat::transport::{Socket, Transport};
use chitchat::{ChitchatMessage, Deserializable, Serializable};
use fleetbal_proto::v1::gossip_client::GossipClient;
use fleetbal_proto::v1::gossip_server::{Gossip as GossipRpc, GossipServer};
use fleetbal_proto::v1::{GossipAck, GossipMessage};
use fleetbal_raft::transport::tls::PeerIdentity;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::Surroundings;

/// The largest message either way. The library keeps to 64 KiB for changes; the rest is for its digest, some 60 bytes
/// a node.
pub(super) const MESSAGE_MAX: usize = 256 * 1024;
/// What the wire adds to a message.
const CALL_OVERHEAD: usize = 1024;
/// Messages waiting for one peer: more than two rounds' worth would be old news.
const QUEUE: usize = 8;
/// Messages received and not handled yet.
const INBOX: usize = 256;
/// A peer to whom nothing was sent for so long gets its queue anew.
const IDLE: Duration = Duration::from_mins(1);

type Letter = (SocketAddr, ChitchatMessage);

/// Bytes of gossip messages since the start.
#[derive(Debug, Default)]
pub struct Traffic {
    sent: AtomicU64,
    received: AtomicU64,
}

impl Traffic {
    /// Sent by this node, lost on their way or not.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Received by this node.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

/// Where received messages go: to whichever gossip loop runs now. And how much of them there was.
#[derive(Clone, Default)]
pub(super) struct Inbox {
    open: Arc<Mutex<Option<mpsc::Sender<Letter>>>>,
    pub(super) traffic: Arc<Traffic>,
}

impl Inbox {
    fn open(&self) -> mpsc::Receiver<Letter> {
        let (sender, receiver) = mpsc::channel(INBOX);
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        receiver
    }

    /// Dropped when nobody reads or too much waits.
    fn deliver(&self, letter: Letter) {
        let inbox = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let delivered = inbox.as_ref().map(|sender| sender.try_send(letter));
        if !matches!(delivered, Some(Ok(()))) {
            tracing::trace!("gossip message dropped on arrival");
        }
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inbox")
    }
}

/// The service on the cluster port. Members only.
#[derive(Debug, Clone)]
pub struct GossipService(Inbox);

impl GossipService {
    pub(super) fn server(inbox: Inbox) -> GossipServer<Self> {
        GossipServer::new(Self(inbox)).max_decoding_message_size(MESSAGE_MAX + CALL_OVERHEAD)
    }
}

#[tonic::async_trait]
impl GossipRpc for GossipService {
    async fn push(&self, request: Request<Streaming<GossipMessage>>) -> Result<Response<GossipAck>, Status> {
        PeerIdentity::member(&request)?;
        let peer = request.extensions().get::<PeerIdentity>().cloned();
        let mut messages = request.into_inner();
        while let Some(message) = messages.message().await? {
            // Who was removed since the call began is heard no more.
            if peer.as_ref().and_then(PeerIdentity::node).is_none() {
                return Err(Status::permission_denied("members of the fleet only"));
            }
            let bytes = message.data.len() as u64;
            self.0.traffic.received.fetch_add(bytes, Ordering::Relaxed);
            self.0.deliver(read(&message)?);
        }
        Ok(Response::new(GossipAck {}))
    }
}

fn read(message: &GossipMessage) -> Result<Letter, Status> {
    let from = message
        .from
        .parse()
        .map_err(|_| Status::invalid_argument("the sender's address must be ip:port"))?;
    let letter = ChitchatMessage::deserialize(&mut message.data.as_slice())
        .map_err(|error| Status::invalid_argument(format!("not a gossip message: {error}")))?;
    Ok((from, letter))
}

/// Opens the one socket of a gossip loop.
pub(super) struct CallTransport {
    pub(super) fleet: Arc<dyn Surroundings>,
    pub(super) inbox: Inbox,
}

#[async_trait::async_trait]
impl Transport for CallTransport {
    async fn open(&self, own: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        Ok(Box::new(CallSocket {
            own,
            fleet: Arc::clone(&self.fleet),
            incoming: self.inbox.open(),
            traffic: Arc::clone(&self.inbox.traffic),
            queues: HashMap::new(),
            senders: JoinSet::new(),
        }))
    }
}

/// Its senders end with it.
struct CallSocket {
    own: SocketAddr,
    fleet: Arc<dyn Surroundings>,
    incoming: mpsc::Receiver<Letter>,
    traffic: Arc<Traffic>,
    queues: HashMap<SocketAddr, mpsc::Sender<Vec<u8>>>,
    senders: JoinSet<()>,
}

impl CallSocket {
    fn queue(&mut self, to: SocketAddr) -> &mpsc::Sender<Vec<u8>> {
        while self.senders.try_join_next().is_some() {}
        self.queues.retain(|_, queue| !queue.is_closed());
        let Self {
            own, fleet, senders, ..
        } = self;
        self.queues.entry(to).or_insert_with(|| {
            let (queue, letters) = mpsc::channel(QUEUE);
            senders.spawn(send_all(*own, to, Arc::clone(fleet), letters));
            queue
        })
    }
}

#[async_trait::async_trait]
impl Socket for CallSocket {
    async fn send(&mut self, to: SocketAddr, message: ChitchatMessage) -> anyhow::Result<()> {
        let data = message.serialize_to_vec();
        self.traffic.sent.fetch_add(data.len() as u64, Ordering::Relaxed);
        if data.len() > MESSAGE_MAX {
            tracing::warn!(%to, bytes = data.len(), "gossip message too large, dropped");
        } else if self.queue(to).try_send(data).is_err() {
            tracing::trace!(%to, "gossip message dropped: the peer is slow");
        }
        Ok(())
    }

    async fn recv(&mut self) -> anyhow::Result<Letter> {
        match self.incoming.recv().await {
            Some(letter) => Ok(letter),
            None => anyhow::bail!("another gossip loop has taken over"),
        }
    }
}

/// Sends to one peer, in order, until there was nothing to send for a while. A call that broke is made anew with the
/// next message.
async fn send_all(
    own: SocketAddr,
    to: SocketAddr,
    fleet: Arc<dyn Surroundings>,
    mut letters: mpsc::Receiver<Vec<u8>>,
) {
    let from = own.to_string();
    while let Ok(Some(first)) = timeout(IDLE, letters.recv()).await {
        let Some(channel) = fleet.channel(to) else {
            continue;
        };
        let (queue, messages) = mpsc::channel(QUEUE);
        let mut client = GossipClient::new(channel);
        let call = client.push(ReceiverStream::new(messages));
        let feed = feed(&from, first, &mut letters, &queue);
        tokio::select! {
            ended = call => if let Err(status) = ended {
                tracing::trace!(%to, %status, "gossip call ended");
            },
            () = feed => {}
        }
    }
}

/// Feeds a call until there was nothing to send for a while.
async fn feed(
    from: &str,
    first: Vec<u8>,
    letters: &mut mpsc::Receiver<Vec<u8>>,
    queue: &mpsc::Sender<GossipMessage>,
) {
    let mut next = Some(first);
    while let Some(data) = next {
        let from = from.to_owned();
        if queue.try_send(GossipMessage { from, data }).is_err() {
            tracing::trace!("gossip message dropped: the peer is slow");
        }
        next = timeout(IDLE, letters.recv()).await.ok().flatten();
    }
}
