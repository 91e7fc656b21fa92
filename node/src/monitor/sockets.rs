//! Sockets of this process as they are when somebody looks: plain values, without any part in what goes on.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fleetbal_raft::model::{BackendAddress, ServiceName};

/// A socket, or a connection that is on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Socket {
    /// Its descriptor; none while there is none yet.
    pub descriptor: Option<i32>,
    /// For how long it has been there.
    pub age: Duration,
    /// Whose it is; none: this node's own.
    pub service: Option<ServiceName>,
    /// What it is.
    pub kind: Kind,
}

/// What a socket is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Of somebody who sends requests.
    Client(Client),
    /// To a backend.
    Backend(Backend),
    /// Where connections are accepted.
    Listener(SocketAddr),
    /// Where messages of trackers of uploads come in.
    Tracker(SocketAddr),
    /// Of somebody who types commands.
    Management(SocketAddr),
}

/// A client's connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// What answers it.
    pub class: ClientClass,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// For whom a trusted peer says that it speaks.
    pub observed: Option<String>,
    /// The port that it came to.
    pub local_port: Option<u16>,
    /// Requests that were read from it.
    pub requests: u32,
    /// What it is doing.
    pub state: ClientState,
    /// `HOST/URI` of the request that it waits for.
    pub url: Option<String>,
    /// Who answers that.
    pub backend: Option<BackendAddress>,
    /// Bytes that it has not taken yet.
    pub held: usize,
    /// Whether its request goes before others.
    pub is_high_priority: bool,
}

/// What answers a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClientClass {
    /// A `reverse_proxy`.
    Proxy,
    /// A `web_server`.
    Web,
    /// Nobody yet: a `selector` decides with each request.
    Undecided,
}

/// What a client's connection is doing (Perlbal's names).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClientState {
    /// A request is awaited for the first time, or is coming.
    ReadingHeaders,
    /// Its body is collected.
    BufferingRequest,
    /// It waits for a connection to a backend.
    WaitBackend,
    /// It was sent, and the answer has not begun.
    WaitRes,
    /// The answer is coming.
    XferRes,
    /// A file is sent.
    XferDisk,
    /// What another host answers is sent.
    XferResp,
    /// Another request is awaited.
    PersistWait,
}

/// A connection to a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// The backend.
    pub address: BackendAddress,
    /// This node's end; none while it is being opened.
    pub local_port: Option<u16>,
    /// The descriptor of the client that it serves.
    pub client: Option<i32>,
    /// Requests that it served.
    pub uses: u64,
    /// What it is doing.
    pub state: BackendState,
    /// Whether connections of its service are verified.
    pub is_verified: bool,
}

/// What a connection to a backend is doing (Perlbal's names).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BackendState {
    /// It is being opened.
    Connecting,
    /// It is open, and must prove itself.
    Verifying,
    /// Nothing.
    Bored,
    /// A request was sent.
    WaitRes,
    /// Its answer is coming.
    XferRes,
}

/// Sockets of the control plane, for as long as they are open.
#[derive(Debug, Clone, Default)]
pub struct Endpoints(Arc<Mutex<Open>>);

#[derive(Debug, Default)]
struct Open {
    last: u64,
    all: std::collections::BTreeMap<u64, Endpoint>,
}

#[derive(Debug, Clone)]
struct Endpoint {
    descriptor: i32,
    since: Instant,
    service: Option<ServiceName>,
    kind: Kind,
}

/// An endpoint that is open until this is dropped.
#[derive(Debug)]
pub struct OpenEndpoint {
    endpoints: Endpoints,
    number: u64,
}

impl Endpoints {
    /// One more is open, of a service or of this node's own.
    pub fn add(&self, descriptor: i32, service: Option<ServiceName>, kind: Kind) -> OpenEndpoint {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.last += 1;
        let number = open.last;
        let endpoint = Endpoint {
            descriptor,
            since: Instant::now(),
            service,
            kind,
        };
        open.all.insert(number, endpoint);
        OpenEndpoint {
            endpoints: self.clone(),
            number,
        }
    }

    /// Those that are open now.
    pub fn all(&self) -> Vec<Socket> {
        let open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let socket = |endpoint: &Endpoint| Socket {
            descriptor: Some(endpoint.descriptor),
            age: endpoint.since.elapsed(),
            service: endpoint.service.clone(),
            kind: endpoint.kind.clone(),
        };
        open.all.values().map(socket).collect()
    }
}

impl Drop for OpenEndpoint {
    fn drop(&mut self) {
        let open = &self.endpoints.0;
        open.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .all
            .remove(&self.number);
    }
}
