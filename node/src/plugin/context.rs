//! A request as plugins see it.

use std::any::Any;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use fleetbal_raft::model::{BackendAddress, ServiceName};

use super::fetch::Fetched;
use crate::http::edit::{self, FirstLineError};
use crate::http::special::{HeaderRuleError, HeaderRules};
use crate::http::{Head, RequestHead};

/// Where a request came from, and who answers it.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The service that answers it.
    pub service: Option<ServiceName>,
    /// The other end of the connection.
    pub peer: IpAddr,
    /// The client's address where a trusted peer tells it (Perlbal's observed IP, reference section 4.2).
    pub observed: Option<IpAddr>,
    /// This end of the connection, where it is known.
    pub local: Option<SocketAddr>,
    /// Whether the client speaks TLS.
    pub secure: bool,
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            service: None,
            peer: Ipv4Addr::UNSPECIFIED.into(),
            observed: None,
            local: None,
            secure: false,
        }
    }
}

/// How urgent a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Before all others.
    High,
    /// After all others.
    Low,
}

/// How many requests of the service wait, and for how many seconds the first of them has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Waiting {
    /// Those of normal priority.
    pub normal: (u64, u64),
    /// Those of high priority.
    pub high: (u64, u64),
}

/// The head of the answer that the client is about to get.
#[derive(Debug)]
struct Response {
    status: u16,
    head: Vec<u8>,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ended {
    /// The status of the answer; 0 where there was none.
    pub status: u16,
    /// The length of its body as announced; none: it was not.
    pub length: Option<u64>,
    /// Whether the client was sent all of it.
    pub whole: bool,
}

/// A request, from its head to its end. It is read and changed by hooks alone.
#[derive(Debug)]
pub struct RequestContext {
    facts: Facts,
    /// The head that is read and changed now, in canonical form: the client's; while the backend's is about to be sent,
    /// that one.
    head: Vec<u8>,
    is_edited: bool,
    said: Option<RequestHead>,
    body: Option<Vec<u8>>,
    priority: Option<Priority>,
    backend: Option<BackendAddress>,
    waiting: Waiting,
    path: Option<Vec<u8>>,
    modified: Option<i64>,
    response: Option<Response>,
    prefix: Vec<u8>,
    ended: Ended,
    attached: Vec<Box<dyn Any>>,
    /// The call of a hook that waits for what it has asked for.
    suspended: Option<Box<dyn Any>>,
    /// What that came to.
    fetched: Option<Result<Fetched, String>>,
    began: Instant,
    /// Which point and which hook is next, where one has asked to wait.
    pub(super) progress: (usize, usize),
}

impl Default for RequestContext {
    fn default() -> Self {
        Self::new(Facts::default(), b"", None)
    }
}

impl RequestContext {
    /// A request whose head, as it was sent, was read once.
    pub fn new(facts: Facts, sent: &[u8], said: Option<RequestHead>) -> Self {
        Self {
            facts,
            head: HeaderRules::default().edit(sent),
            is_edited: false,
            said,
            body: None,
            priority: None,
            backend: None,
            waiting: Waiting::default(),
            path: None,
            modified: None,
            response: None,
            prefix: Vec::new(),
            ended: Ended::default(),
            attached: Vec::new(),
            suspended: None,
            fetched: None,
            began: Instant::now(),
            progress: (0, 0),
        }
    }

    /// Where it came from.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// What its head says about framing and connection, where it was read.
    pub fn said(&self) -> Option<&RequestHead> {
        self.said.as_ref()
    }

    /// How long it has lived.
    pub fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// The head of the request: as the client sent it and plugins have changed it, in canonical form. While a backend is
    /// assigned it is the one that the backend gets.
    pub fn head(&self) -> Head<'_> {
        Head::new(&self.head)
    }

    /// Its bytes.
    pub fn head_bytes(&self) -> &[u8] {
        &self.head
    }

    /// Sets a field of the request, in place of all of that name.
    ///
    /// # Errors
    /// When there can be no such field, or it says where the message ends.
    pub fn set_field(&mut self, name: &str, value: &[u8]) -> Result<(), HeaderRuleError> {
        self.is_edited = true;
        edit::set(&mut self.head, name, value)
    }

    /// Removes all fields of that name from the request.
    ///
    /// # Errors
    /// When the message needs it.
    pub fn remove_field(&mut self, name: &str) -> Result<(), HeaderRuleError> {
        self.is_edited = true;
        edit::remove(&mut self.head, name)
    }

    /// Sets the target: path and query.
    ///
    /// # Errors
    /// When it is none.
    pub fn set_target(&mut self, target: &[u8]) -> Result<(), FirstLineError> {
        self.is_edited = true;
        edit::set_target(&mut self.head, target)
    }

    /// The body, if all of it is in memory: at [`ProxyReadRequest`](super::Point::ProxyReadRequest). One in chunks that was
    /// not collected is as it came.
    pub fn body(&self) -> Option<&[u8]> {
        self.body.as_deref()
    }

    /// Before or behind all others in the queue. Until a backend was found.
    pub fn set_priority(&mut self, priority: Priority) {
        self.priority = Some(priority);
    }

    /// What was set.
    pub fn priority(&self) -> Option<Priority> {
        self.priority
    }

    /// The backend that is to answer, if it is one of the service's pool; where it cannot be reached, another one does.
    /// Until one was found.
    pub fn set_backend(&mut self, backend: BackendAddress) {
        self.backend = Some(backend);
    }

    /// The backend that was found, or set.
    pub fn backend(&self) -> Option<BackendAddress> {
        self.backend
    }

    /// Who waited when the backend was found: from [`BackendClientAssigned`](super::Point::BackendClientAssigned) on.
    pub fn waiting(&self) -> Waiting {
        self.waiting
    }

    /// The path that is looked for below the docroot, decoded: from
    /// [`StartServeRequest`](super::Point::StartServeRequest) on.
    pub fn path(&self) -> Option<&[u8]> {
        self.path.as_deref()
    }

    /// Changes it, at that point.
    pub fn set_path(&mut self, path: &[u8]) {
        self.path = Some(path.to_vec());
    }

    /// When the file was changed, in seconds since the epoch: at
    /// [`StaticGetPoststatPreSend`](super::Point::StaticGetPoststatPreSend).
    pub fn modified(&self) -> Option<i64> {
        self.modified
    }

    /// The head of the answer, where there is one.
    pub fn response(&self) -> Option<Head<'_>> {
        self.response.as_ref().map(|response| Head::new(&response.head))
    }

    /// The status of the answer, once there is one.
    pub fn status(&self) -> Option<u16> {
        let ended = Some(self.ended.status).filter(|status| *status > 0);
        self.response.as_ref().map(|response| response.status).or(ended)
    }

    /// Changes the status of the answer.
    ///
    /// # Errors
    /// When it may not be that one.
    pub fn set_status(&mut self, status: u16, reason: &str) -> Result<(), FirstLineError> {
        let Some(response) = &mut self.response else {
            return Err(FirstLineError::Status);
        };
        edit::set_status(&mut response.head, response.status, status, reason)?;
        response.status = status;
        Ok(())
    }

    /// The head of the answer, to be changed with [`edit`]; none where there is none.
    pub fn response_mut(&mut self) -> Option<&mut Vec<u8>> {
        self.response.as_mut().map(|response| &mut response.head)
    }

    /// Puts bytes ahead of the answer's body, behind what others put there: at
    /// [`PrependBody`](super::Point::PrependBody). The announced length follows.
    pub fn prepend(&mut self, bytes: &[u8]) {
        self.prefix.extend_from_slice(bytes);
    }

    /// Keeps something until the request is over, however it ends.
    pub fn attach(&mut self, thing: Box<dyn Any>) {
        self.attached.push(thing);
    }

    /// What was attached of that type, the first of it.
    pub fn attached<T: Any>(&mut self) -> Option<&mut T> {
        self.attached.iter_mut().find_map(|thing| thing.downcast_mut())
    }

    /// What became of it so far; at its end, altogether.
    pub fn ended(&self) -> Ended {
        self.ended
    }
}

/// What the core does with it.
impl RequestContext {
    /// Whether plugins have changed the head.
    pub(crate) fn is_edited(&self) -> bool {
        self.is_edited
    }

    /// The body is there, or is not any more.
    pub(crate) fn put_body(&mut self, body: Option<Vec<u8>>) {
        self.body = body;
    }

    /// A backend was found.
    pub(crate) fn assign(&mut self, backend: BackendAddress) {
        self.backend = Some(backend);
    }

    /// So many wait then.
    pub(crate) fn put_waiting(&mut self, waiting: Waiting) {
        self.waiting = waiting;
    }

    /// The call of a hook waits.
    pub(super) fn suspend(&mut self, call: Box<dyn Any>) {
        self.suspended = Some(call);
    }

    /// The call that waits, if one does.
    pub(super) fn take_suspended<T: Any>(&mut self) -> Option<Box<T>> {
        self.suspended.take()?.downcast().ok()
    }

    /// What a call waits for is there, or is not to be had.
    pub(crate) fn put_fetched(&mut self, fetched: Result<Fetched, String>) {
        self.fetched = Some(fetched);
    }

    /// The same.
    pub(super) fn take_fetched(&mut self) -> Option<Result<Fetched, String>> {
        self.fetched.take()
    }

    /// Where it came from, for tests.
    #[cfg(test)]
    pub(crate) fn facts_mut(&mut self) -> &mut Facts {
        &mut self.facts
    }

    /// Another head is the one that is read and changed; the one before comes out.
    pub(crate) fn swap_head(&mut self, head: Vec<u8>) -> Vec<u8> {
        std::mem::replace(&mut self.head, head)
    }

    /// The file is there.
    pub(crate) fn put_modified(&mut self, seconds: Option<i64>) {
        self.modified = seconds;
    }

    /// The head of an answer is there.
    pub(crate) fn put_response(&mut self, status: u16, head: Vec<u8>) {
        self.response = Some(Response { status, head });
        self.prefix.clear();
    }

    /// It is to be sent now, with what stands ahead of its body.
    pub(crate) fn take_response(&mut self) -> Option<(u16, Vec<u8>, Vec<u8>)> {
        let Response { status, head } = self.response.take()?;
        Some((status, head, std::mem::take(&mut self.prefix)))
    }

    /// An answer was begun with.
    pub(crate) fn answered(&mut self, status: u16, length: Option<u64>) {
        self.ended = Ended {
            status,
            length,
            whole: false,
        };
    }

    /// All of the answer was sent.
    pub(crate) fn is_whole(&mut self) {
        self.ended.whole = true;
    }
}
