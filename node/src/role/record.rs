//! What a worker knows of a client's connection besides its task. It is written where something happens, into cells of
//! this worker alone, and read only when somebody asks what goes on (`states`, `socks`), or when a time is over.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;

use fleetbal_raft::model::Role;

use super::deadline::{Deadline, Timed};
use super::local::{Local, Served};
use crate::http::Head;
use crate::monitor::sockets::{Backend, BackendState, Client, ClientClass, ClientState, Kind, Socket};
use crate::upstream::Used;

/// A head of more than this is not kept for the next request's copy.
const HEAD_KEPT: usize = 4096;

/// One client's connection.
#[derive(Debug)]
pub(crate) struct Record {
    deadline: Deadline,
    /// The connection's service.
    served: Rc<Served>,
    descriptor: i32,
    peer: SocketAddr,
    /// The tick of its beginning.
    since: u64,
    base: ClientClass,
    class: Cell<ClientClass>,
    state: Cell<ClientState>,
    requests: Cell<u32>,
    is_high_priority: Cell<bool>,
    /// Bytes that the client has not taken yet.
    held: Cell<usize>,
    /// The connection that its request is on.
    used: Cell<Option<Used>>,
    /// The head of the request in flight as backends get it. It keeps its memory between requests.
    head: RefCell<Vec<u8>>,
}

impl Timed for Record {
    fn deadline(&self) -> &Deadline {
        &self.deadline
    }
}

impl Record {
    /// Of a connection that begins now, at that tick.
    pub(super) fn new(
        served: &Rc<Served>,
        role: Option<Role>,
        descriptor: i32,
        peer: SocketAddr,
        since: u64,
    ) -> Self {
        let base = class(role);
        Self {
            deadline: Deadline::default(),
            served: Rc::clone(served),
            descriptor,
            peer,
            since,
            base,
            class: Cell::new(base),
            state: Cell::new(ClientState::ReadingHeaders),
            requests: Cell::new(0),
            is_high_priority: Cell::new(false),
            held: Cell::new(0),
            used: Cell::new(None),
            head: RefCell::default(),
        }
    }

    /// Another request is awaited.
    #[inline]
    pub(super) fn rest(&self) {
        if self.requests.get() > 0 {
            self.state.set(ClientState::PersistWait);
            self.class.set(self.base);
        }
    }

    /// A request was read, which a service of this role answers.
    #[inline]
    pub(super) fn begin(&self, role: Option<Role>, is_high_priority: bool) {
        self.requests.set(self.requests.get().wrapping_add(1));
        self.class.set(class(role));
        self.is_high_priority.set(is_high_priority);
    }

    /// The connection does that now.
    #[inline]
    pub(super) fn enter(&self, state: ClientState) {
        self.state.set(state);
    }

    /// The request is on that connection now, or on none.
    #[inline]
    pub(super) fn uses(&self, used: Option<Used>) {
        self.state.set(match used {
            Some(_) => ClientState::WaitRes,
            None => ClientState::WaitBackend,
        });
        self.used.set(used);
    }

    /// The request is through.
    #[inline]
    pub(super) fn end(&self) {
        self.used.set(None);
        self.held.set(0);
        if self.head.borrow().capacity() > HEAD_KEPT {
            self.head.take();
        }
    }

    /// So many bytes wait for the client.
    #[inline]
    pub(super) fn hold(&self, bytes: usize) {
        self.held.set(bytes);
    }

    /// Keeps the head of the request in flight.
    #[inline]
    pub(super) fn keep_head(&self, head: &[u8]) {
        let mut kept = self.head.borrow_mut();
        kept.clear();
        kept.extend_from_slice(head);
    }

    /// The head of the request in flight.
    pub(super) fn head(&self) -> Vec<u8> {
        self.head.borrow().clone()
    }

    /// The client's socket, and that of the backend which serves it.
    pub(super) fn sockets(&self, local: &Local) -> impl Iterator<Item = Socket> {
        let current = self.served.current(local);
        let view = current.as_deref().map(|current| &current.view);
        let head = self.head.borrow();
        let is_waiting = !matches!(
            self.state.get(),
            ClientState::ReadingHeaders | ClientState::PersistWait
        );
        let head = Some(Head::new(&head)).filter(|_| is_waiting && !head.is_empty());
        let trusts = |peer| view.is_some_and(|view| view.settings.trust.trusts(peer));
        let used = self.used.get();
        let client = Client {
            class: self.class.get(),
            peer: self.peer,
            observed: head
                .filter(|_| trusts(self.peer.ip().to_canonical()))
                .and_then(observed),
            local_port: view
                .and_then(|view| view.listen.as_ref().ok().copied().flatten())
                .map(|address| address.port()),
            requests: self.requests.get(),
            state: self.state.get(),
            url: head.map(url),
            backend: used.map(|used| used.address),
            held: self.held.get(),
            is_high_priority: is_waiting && self.is_high_priority.get(),
        };
        let backend = used.map(|used| {
            let state = if self.state.get() == ClientState::XferRes {
                BackendState::XferRes
            } else {
                BackendState::WaitRes
            };
            let is_verified = view.is_some_and(|view| view.settings.verify_request.is_some());
            used.socket(&self.served, state, Some(self.descriptor), is_verified)
        });
        let ticks = local.deadlines.now().saturating_sub(self.since);
        let client = Socket {
            descriptor: Some(self.descriptor),
            age: super::TICK * u32::try_from(ticks).unwrap_or(u32::MAX),
            service: Some(self.served.name().clone()),
            kind: Kind::Client(client),
        };
        std::iter::once(client).chain(backend)
    }
}

impl Used {
    /// The socket as others see it.
    pub(super) fn socket(
        &self,
        served: &Served,
        state: BackendState,
        client: Option<i32>,
        is_verified: bool,
    ) -> Socket {
        Socket {
            descriptor: Some(self.descriptor),
            age: self.since.elapsed(),
            service: Some(served.name().clone()),
            kind: Kind::Backend(Backend {
                address: self.address,
                local_port: Some(self.local_port),
                client,
                uses: self.uses,
                state,
                is_verified,
            }),
        }
    }
}

fn class(role: Option<Role>) -> ClientClass {
    match role {
        Some(Role::ReverseProxy) => ClientClass::Proxy,
        Some(Role::WebServer) => ClientClass::Web,
        Some(Role::Echo | Role::Selector | Role::Management | Role::UploadTracker) | None => {
            ClientClass::Undecided
        }
    }
}

/// For whom the peer says that it speaks.
fn observed(head: Head<'_>) -> Option<String> {
    let value = head.field("X-Forwarded-For")?;
    let first = value.split(|byte| *byte == b',').next()?;
    Some(String::from_utf8_lossy(first).trim().to_owned()).filter(|first| !first.is_empty())
}

fn url(head: Head<'_>) -> String {
    let host = head.field("Host").unwrap_or(b"unknown");
    let text = [host, head.target()].concat();
    String::from_utf8_lossy(&text).into_owned()
}
