//! The connections of a management listener: lines, or HTTP where the first bytes say so.

use std::future::Future;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::access::Access;
use super::http;
use super::in_parts::InParts;
use super::line::MAX_LINE;
use super::render::{Reply, render};
use super::session::{Outcome, Session};
use super::{Context, Secured};
use crate::monitor::sockets::{Kind, OpenEndpoint};
use crate::tls::{self, Refused, Stream};

/// What a listener serves.
#[derive(Debug, Clone)]
pub(super) enum Port {
    /// Lines and HTTP, to whom the rules of this node, and those of the services that listen there, allow it.
    Management(Arc<Access>, Option<Secured>),
    /// The read-only endpoints, to everybody.
    Metrics,
}

impl Port {
    fn is_management(&self) -> bool {
        matches!(self, Self::Management(..))
    }

    /// Shows a listener among the sockets of this node; that of the metrics is no part of what Perlbal has.
    fn endpoint(
        &self,
        listener: &TcpListener,
        address: SocketAddr,
        context: &Context,
    ) -> Option<OpenEndpoint> {
        match self {
            Self::Management(_, secured) => {
                let service = secured.as_ref().map(|secured| secured.service.clone());
                let kind = Kind::Listener(address);
                Some(context.open.endpoints.add(listener.as_raw_fd(), service, kind))
            }
            Self::Metrics => None,
        }
    }
}

/// How much a listener takes on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Connections from this machine; as many again from elsewhere, so that neither shuts the other out.
    pub(super) connections: usize,
    /// How long a stranger may take to show a secret.
    pub(super) introduction: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1000,
            introduction: Duration::from_secs(10),
        }
    }
}

/// The pause after a failed accept: descriptors may come back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts until `stop`, then waits for the last connection.
pub(super) async fn serve(
    listener: TcpListener,
    context: Arc<Context>,
    port: Port,
    limits: Limits,
    stop: CancellationToken,
) {
    let near = Arc::new(Semaphore::new(limits.connections));
    let far = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    let address = listener.local_addr().ok();
    let shown = address.and_then(|address| port.endpoint(&listener, address, &context));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a management connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let room = if peer.ip().to_canonical().is_loopback() {
            &near
        } else {
            &far
        };
        // Where there is no room the stream is dropped, which closes it.
        if let Ok(permit) = Arc::clone(room).try_acquire_owned() {
            let connection = connection(stream, peer, address, Arc::clone(&context), port.clone(), limits);
            connections.spawn(async move {
                connection.await;
                drop(permit);
            });
        }
    }
    drop((listener, shown));
    while connections.join_next().await.is_some() {}
}

async fn connection(
    io: TcpStream,
    peer: SocketAddr,
    listener: Option<SocketAddr>,
    context: Arc<Context>,
    port: Port,
    limits: Limits,
) {
    let shown = port.is_management().then(|| {
        let kind = Kind::Management(peer);
        context.open.endpoints.add(io.as_raw_fd(), None, kind)
    });
    // Answers are small and awaited; a failure to say so costs only time.
    drop(io.set_nodelay(true));
    let (access, secured) = match port {
        Port::Management(access, secured) => match listener {
            Some(address) => {
                let access = access.as_ref().clone().with_services_at(address, &context);
                (Arc::new(access), secured)
            }
            None => (access, secured),
        },
        Port::Metrics => return http::serve(InParts(io), http::Door::metrics(context, peer)).await,
    };
    let tls = secured.and_then(|secured| secured.servers.config(&secured.service));
    let stream = match tls {
        None => Stream::Plain(io),
        Some(config) => match tls::accept(io, config, limits.introduction).await {
            Ok(stream) => stream,
            Err(Refused::Plain(mut io)) => {
                let told = io.write_all(b"ERROR: this port speaks TLS\r\n").await;
                return drop((told, io.shutdown().await));
            }
            Err(Refused::Failed(_)) => return,
        },
    };
    let (reader, writer) = tokio::io::split(InParts(stream));
    let mut incoming = Incoming::new(reader);
    let known = access.of_peer(peer.ip()).is_some();
    match within(known, limits.introduction, incoming.opening()).await {
        Some(Ok(Opening::Http)) => {
            let door = http::Door::management(context, peer, access);
            http::serve(tokio::io::join(incoming.into_reader(), writer), door).await;
        }
        Some(Ok(Opening::Lines)) => {
            let rights = access.of_peer(peer.ip());
            let talk = Talk {
                incoming,
                writer,
                context: &context,
                session: Session::new(access, peer.to_string().into(), rights),
                introduction: limits.introduction,
            };
            // A connection that broke is over; there is nobody to tell.
            drop(talk.run().await);
        }
        Some(Err(_)) | None => {}
    }
    drop(shown);
}

/// Gives a stranger so long, and others all the time they want; none: too late.
async fn within<T>(known: bool, time: Duration, future: impl Future<Output = T>) -> Option<T> {
    if known {
        Some(future.await)
    } else {
        tokio::time::timeout(time, future).await.ok()
    }
}

/// What a connection begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opening {
    Http,
    Lines,
}

/// Methods that begin a request; none of them is a command.
const METHODS: [&[u8]; 9] = [
    b"GET ",
    b"HEAD ",
    b"POST ",
    b"PUT ",
    b"DELETE ",
    b"OPTIONS ",
    b"PATCH ",
    b"TRACE ",
    b"CONNECT ",
];

/// What comes next on a connection that speaks lines.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// A line, without its LF.
    Line(BytesMut),
    /// A line that was longer than any may be; what it said is gone.
    TooLong,
    /// Nothing more. What came after the last LF was no line: its end may have got lost on the way.
    End,
}

/// Bytes that came in, as far as they were not used up.
struct Incoming<R> {
    reader: R,
    buffer: BytesMut,
    searched: usize,
    skipping: bool,
}

impl<R: AsyncRead + Unpin> Incoming<R> {
    fn new(reader: R) -> Self {
        Self {
            reader,
            buffer: BytesMut::new(),
            searched: 0,
            skipping: false,
        }
    }

    /// Looks at the first bytes until they tell lines from HTTP; uses none of them up.
    async fn opening(&mut self) -> std::io::Result<Opening> {
        loop {
            if METHODS.iter().any(|method| self.buffer.starts_with(method)) {
                return Ok(Opening::Http);
            }
            let undecided = METHODS.iter().any(|method| method.starts_with(&self.buffer));
            if !undecided || self.reader.read_buf(&mut self.buffer).await? == 0 {
                return Ok(Opening::Lines);
            }
        }
    }

    /// Everything from the first unused byte on.
    fn into_reader(self) -> impl AsyncRead + Unpin {
        std::io::Cursor::new(self.buffer).chain(self.reader)
    }

    /// The next line. Dropping the future loses nothing.
    async fn next(&mut self) -> std::io::Result<Next> {
        loop {
            let fresh = self.buffer.get(self.searched..).unwrap_or_default();
            if let Some(at) = memchr::memchr(b'\n', fresh) {
                let mut line = self.buffer.split_to(self.searched + at + 1);
                line.truncate(self.searched + at);
                self.searched = 0;
                if std::mem::take(&mut self.skipping) {
                    continue;
                }
                return Ok(Next::Line(line));
            }
            self.searched = self.buffer.len();
            // A CR may follow the longest line.
            if self.skipping || self.buffer.len() > MAX_LINE + 1 {
                self.buffer.clear();
                self.searched = 0;
                if !std::mem::replace(&mut self.skipping, true) {
                    return Ok(Next::TooLong);
                }
            }
            if self.reader.read_buf(&mut self.buffer).await? == 0 {
                return Ok(Next::End);
            }
        }
    }
}

/// A connection that speaks lines.
struct Talk<'a, R, W> {
    incoming: Incoming<R>,
    writer: W,
    context: &'a Context,
    session: Session,
    introduction: Duration,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Talk<'_, R, W> {
    /// Answers each line in turn, until the other side has said all or an answer ends it.
    async fn run(mut self) -> std::io::Result<()> {
        loop {
            let known = self.session.is_known();
            let Some(next) = within(known, self.introduction, self.incoming.next()).await else {
                return Ok(());
            };
            let outcome = match next? {
                Next::Line(line) if is_request_line(&line) => stray_request(),
                Next::Line(line) => self.session.run(&line, self.context).await,
                Next::TooLong => self.session.too_long(),
                Next::End => return Ok(()),
            };
            let mut out = Vec::new();
            render(&outcome.reply, self.session.is_verbose(), &mut out);
            self.writer.write_all(&out).await?;
            if outcome.ends {
                return self.writer.shutdown().await;
            }
        }
    }
}

/// Whether a line looks like the first of an HTTP request. What follows it may be a stranger's, sent by a browser
/// that was made to, and is never read as commands.
fn is_request_line(line: &[u8]) -> bool {
    let words = line.trim_ascii_end().rsplit(|byte| *byte == b' ');
    let last = words.take(1).next().unwrap_or_default().to_ascii_uppercase();
    matches!(last.as_slice(), [b'H', b'T', b'T', b'P', b'/', major, ..] if major.is_ascii_digit())
}

fn stray_request() -> Outcome {
    Outcome {
        reply: Reply::Refused("not a command: this looks like an HTTP request".to_owned()),
        ends: true,
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
