//! Who has, opens and waits for which connection. Does no I/O but to ask whether an idle connection is still good;
//! whom to tell is handed back, because those who are told may have left, and then come back here.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use tokio::sync::oneshot;

use super::Grant;
use crate::reproxy::url::Target;

/// Somebody in line.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) sender: oneshot::Sender<Grant>,
    /// The client's descriptor.
    pub(super) client: i32,
}

/// What somebody in line gets; the number is the connection's.
#[derive(Debug)]
pub(super) enum Granted {
    Open(u64),
    Kept(u64, TcpStream),
    Unreachable,
}

/// Somebody to be told.
pub(super) type Told = (oneshot::Sender<Grant>, Granted);

/// All targets that there is anything to say about.
#[derive(Debug, Default)]
pub(super) struct Table {
    targets: BTreeMap<Target, Entry>,
    last_id: u64,
}

/// What holds: somebody waits only while a connection is being opened, or as many are open as may be.
#[derive(Debug, Default)]
struct Entry {
    /// The most connections; none: any number. As the last request had it.
    limit: Option<usize>,
    open: BTreeMap<u64, TargetConnection>,
    idle: Vec<Idle>,
    waiting: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Idle {
    id: u64,
    io: TcpStream,
    until: Instant,
}

/// What a connection to a target is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It is being opened.
    Connecting,
    /// A request was sent, or is about to be.
    Sent,
    /// The answer is coming.
    Receiving,
    /// Nothing.
    Idle,
}

/// A connection to a target, to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetConnection {
    /// What it is doing.
    pub stage: Stage,
    /// Its two ends, this node's first; none while it is being opened.
    pub ends: Option<(SocketAddr, SocketAddr)>,
    /// The descriptor of the client that it serves, or served last.
    pub client: i32,
    /// How many requests it has served.
    pub uses: u64,
}

/// What there is of one target, to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetFigures {
    /// The target.
    pub target: Target,
    /// How many clients wait for a connection.
    pub waiting: usize,
    /// Its connections, oldest first.
    pub connections: Vec<TargetConnection>,
}

impl Table {
    /// Somebody wants a connection: the idle one that was used last and is still good, or else a place in line.
    pub(super) fn ask(
        &mut self,
        target: &Target,
        limit: Option<usize>,
        waiter: Waiter,
        now: Instant,
    ) -> Vec<Told> {
        let entry = self.targets.entry(target.clone()).or_default();
        entry.limit = limit;
        while let Some(idle) = entry.idle.pop() {
            if now < idle.until && is_quiet(&idle.io) {
                entry.serve(idle.id, waiter.client);
                return vec![(waiter.sender, Granted::Kept(idle.id, idle.io))];
            }
            entry.open.remove(&idle.id);
        }
        entry.waiting.push_back(waiter);
        entry.next(&mut self.last_id)
    }

    /// A connection was opened.
    pub(super) fn opened(
        &mut self,
        target: &Target,
        id: u64,
        ends: Option<(SocketAddr, SocketAddr)>,
    ) -> Vec<Told> {
        let Some(entry) = self.targets.get_mut(target) else {
            return Vec::new();
        };
        if let Some(connection) = entry.open.get_mut(&id) {
            connection.stage = Stage::Sent;
            connection.ends = ends;
        }
        entry.next(&mut self.last_id)
    }

    /// A connection could not be opened. If that is true of all, whoever waits would only wait for the same.
    pub(super) fn failed(&mut self, target: &Target, id: u64) -> Vec<Told> {
        let Some(entry) = self.targets.get_mut(target) else {
            return Vec::new();
        };
        if entry.open.keys().any(|other| *other != id) {
            return Vec::new();
        }
        let waiting = entry.waiting.drain(..);
        waiting
            .map(|waiter| (waiter.sender, Granted::Unreachable))
            .collect()
    }

    /// A connection is doing something else.
    pub(super) fn enter(&mut self, target: &Target, id: u64, stage: Stage) {
        let connection = self
            .targets
            .get_mut(target)
            .and_then(|entry| entry.open.get_mut(&id));
        if let Some(connection) = connection {
            connection.stage = stage;
        }
    }

    /// A connection has served its request, and is good for another.
    pub(super) fn release(&mut self, target: &Target, id: u64, io: TcpStream, until: Instant) -> Vec<Told> {
        let Some(entry) = self.targets.get_mut(target) else {
            return Vec::new();
        };
        if let Some(connection) = entry.open.get_mut(&id) {
            connection.uses += 1;
            connection.stage = Stage::Idle;
        }
        if entry.limit.is_some_and(|limit| entry.open.len() > limit) {
            entry.open.remove(&id);
            return entry.next(&mut self.last_id);
        }
        let Some(waiter) = entry.first() else {
            entry.idle.push(Idle { id, io, until });
            return Vec::new();
        };
        entry.serve(id, waiter.client);
        vec![(waiter.sender, Granted::Kept(id, io))]
    }

    /// A connection is no more.
    pub(super) fn closed(&mut self, target: &Target, id: u64) -> Vec<Told> {
        let Some(entry) = self.targets.get_mut(target) else {
            return Vec::new();
        };
        entry.open.remove(&id);
        let told = entry.next(&mut self.last_id);
        if entry.is_empty() {
            self.targets.remove(target);
        }
        told
    }

    /// Takes out what is idle for too long, or was closed by the target, and who left.
    pub(super) fn sweep(&mut self, now: Instant) -> Vec<TcpStream> {
        let mut closed = Vec::new();
        self.targets.retain(|_, entry| {
            entry.waiting.retain(|waiter| !waiter.sender.is_closed());
            for idle in std::mem::take(&mut entry.idle) {
                if now < idle.until && is_quiet(&idle.io) {
                    entry.idle.push(idle);
                } else {
                    entry.open.remove(&idle.id);
                    closed.push(idle.io);
                }
            }
            !entry.is_empty()
        });
        closed
    }

    pub(super) fn figures(&self) -> Vec<TargetFigures> {
        let figures = |(target, entry): (&Target, &Entry)| TargetFigures {
            target: target.clone(),
            waiting: entry.waiting.len(),
            connections: entry.open.values().copied().collect(),
        };
        self.targets.iter().map(figures).collect()
    }
}

impl Entry {
    /// Lets the first in line open a connection, if one may be opened.
    fn next(&mut self, last_id: &mut u64) -> Vec<Told> {
        let is_connecting = self.open.values().any(|open| open.stage == Stage::Connecting);
        if is_connecting || self.limit.is_some_and(|limit| self.open.len() >= limit) {
            return Vec::new();
        }
        let Some(waiter) = self.first() else {
            return Vec::new();
        };
        *last_id += 1;
        let connection = TargetConnection {
            stage: Stage::Connecting,
            ends: None,
            client: waiter.client,
            uses: 0,
        };
        self.open.insert(*last_id, connection);
        vec![(waiter.sender, Granted::Open(*last_id))]
    }

    /// The first in line who is still there.
    fn first(&mut self) -> Option<Waiter> {
        while let Some(waiter) = self.waiting.pop_front() {
            if !waiter.sender.is_closed() {
                return Some(waiter);
            }
        }
        None
    }

    fn serve(&mut self, id: u64, client: i32) {
        if let Some(connection) = self.open.get_mut(&id) {
            connection.stage = Stage::Sent;
            connection.client = client;
        }
    }

    fn is_empty(&self) -> bool {
        self.open.is_empty() && self.waiting.is_empty()
    }
}

/// Whether nothing was heard on a connection since its last answer.
fn is_quiet(io: &TcpStream) -> bool {
    let peeked = io.peek(&mut [0]);
    peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}
