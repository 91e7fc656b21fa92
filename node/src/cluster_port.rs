//! The one port on which members speak with each other: accepts, does the TLS handshake, and hands the connection to
//! the services. What a request may do is each service's business.
//!
//! Whoever is no member costs no more than a connection, and not for long: a handshake has to end within
//! [`HANDSHAKE_TIMEOUT`], of too many at once the oldest is dropped, and a peer that is no member is cut off after
//! [`STRANGER_TIMEOUT`], which is plenty for a join. A member's connections end the moment it was removed.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use fleetbal_raft::transport::tls::{FleetStream, FleetTls, PeerIdentity};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::Connected;

/// How long a TLS handshake may take.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a peer that is no member may stay connected.
pub const STRANGER_TIMEOUT: Duration = Duration::from_secs(30);
/// Handshakes at the same time. An honest one takes milliseconds, so the oldest is the one to drop.
const HANDSHAKES: usize = 128;
/// Connections whose handshake is done and that the services have not taken over yet.
const ACCEPTED: usize = 64;
/// How long calls in flight may take once the port closes.
const CLOSING: Duration = Duration::from_millis(500);
/// How long to wait before accepting again where the system has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Header fields of one call; ours have a few hundred bytes.
const HEADERS_MAX: u32 = 8 * 1024;
/// Calls at the same time over one connection.
const CALLS: u32 = 256;
/// Calls that were given up before this node saw them: some a second for as long as its process stood still.
const CALLS_GIVEN_UP: usize = 10_000;
/// What one call and one connection may send before it is read, in bytes: entries of the log are large.
const CALL_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 2 * CALL_WINDOW;
/// A connection without traffic is asked for a sign of life this often, and closed when none comes.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Serves until `shutdown` is ready, then lets calls in flight end for half a second. Dropping the future closes the port
/// at once.
///
/// # Errors
/// When the server cannot run; a connection that fails is no error of the port.
pub async fn serve(
    listener: TcpListener,
    tls: FleetTls,
    routes: Routes,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), tonic::transport::Error> {
    // Whatever ends this future ends the connections too, which otherwise live on in tasks of the server.
    let open = CancellationToken::new();
    let _open = open.clone().drop_guard();
    let (sender, accepted) = mpsc::channel(ACCEPTED);
    let (closing, mut closed) = tokio::sync::watch::channel(false);
    let mut acceptor = JoinSet::new();
    let entry = Entry {
        tls,
        open,
        accepted: sender,
    };
    acceptor.spawn(accept_all(listener, entry));
    let shutdown = async {
        shutdown.await;
        acceptor.abort_all();
        closing.send_replace(true);
    };
    let connections = tokio_stream::StreamExt::map(ReceiverStream::new(accepted), Ok::<_, io::Error>);
    let server = Server::builder()
        .http2_max_header_list_size(HEADERS_MAX)
        .max_concurrent_streams(CALLS)
        // A member that did not run for a while finds as many calls given up by the others; that is no attack of theirs.
        .http2_max_pending_accept_reset_streams(Some(CALLS_GIVEN_UP))
        .initial_stream_window_size(CALL_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(HANDSHAKE_TIMEOUT))
        .add_routes(routes)
        .serve_with_incoming_shutdown(connections, shutdown);
    tokio::select! {
        result = server => result,
        () = async {
            // An error means that the sender, and with it the server, is gone.
            drop(closed.wait_for(|closed| *closed).await);
            sleep(CLOSING).await;
        } => Ok(()),
    }
}

/// Accepts for as long as it is polled; handshakes in progress end with it.
async fn accept_all(listener: TcpListener, entry: Entry) {
    let mut handshakes = Handshakes::default();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => handshakes.begin(stream, entry.clone()),
            Err(error) => {
                tracing::warn!(%error, "cluster port: cannot accept");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// What a connection goes through before the services have it.
#[derive(Clone)]
struct Entry {
    tls: FleetTls,
    open: CancellationToken,
    accepted: mpsc::Sender<MemberStream>,
}

/// Handshakes in progress, oldest first.
#[derive(Default)]
struct Handshakes {
    tasks: JoinSet<()>,
    order: VecDeque<AbortHandle>,
}

impl Handshakes {
    fn begin(&mut self, stream: TcpStream, entry: Entry) {
        while self.tasks.try_join_next().is_some() {}
        self.order.retain(|task| !task.is_finished());
        while self.order.len() >= HANDSHAKES
            && let Some(oldest) = self.order.pop_front()
        {
            oldest.abort();
        }
        self.order.push_back(self.tasks.spawn(handshake(stream, entry)));
    }
}

async fn handshake(stream: TcpStream, entry: Entry) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cluster port: no nodelay");
    }
    match timeout(HANDSHAKE_TIMEOUT, entry.tls.accept(stream)).await {
        Ok(Ok(stream)) => {
            if entry
                .accepted
                .send(MemberStream::new(stream, entry.open))
                .await
                .is_err()
            {
                tracing::debug!("cluster port: closed while a peer connected");
            }
        }
        Ok(Err(error)) => tracing::debug!(%error, "cluster port: handshake failed"),
        Err(_) => tracing::debug!("cluster port: handshake took too long"),
    }
}

/// A connection that ends by itself with the port, or where the peer is no member.
struct MemberStream {
    stream: FleetStream,
    peer: PeerIdentity,
    closed: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Ends when the peer has to go.
    leave: Pin<Box<dyn Future<Output = io::ErrorKind> + Send>>,
    left: Option<io::ErrorKind>,
}

impl MemberStream {
    fn new(stream: FleetStream, open: CancellationToken) -> Self {
        let peer = stream.connect_info();
        Self {
            stream,
            closed: Box::pin(open.cancelled_owned()),
            leave: Box::pin(leave(peer.clone())),
            left: None,
            peer,
        }
    }

    fn must_leave(&mut self, cx: &mut Context<'_>) -> Option<io::ErrorKind> {
        if self.left.is_none()
            && let Poll::Ready(kind) = self.leave.as_mut().poll(cx)
        {
            self.left = Some(kind);
        }
        self.left
    }
}

/// Waits until a peer that shows no key had its time, or a member was removed.
async fn leave(peer: PeerIdentity) -> io::ErrorKind {
    if peer.is_nameless() {
        sleep(STRANGER_TIMEOUT).await;
        return io::ErrorKind::TimedOut;
    }
    peer.dismissed().await;
    io::ErrorKind::ConnectionAborted
}

impl Connected for MemberStream {
    type ConnectInfo = PeerIdentity;

    fn connect_info(&self) -> PeerIdentity {
        self.peer.clone()
    }
}

impl AsyncRead for MemberStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.closed.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        if let Some(kind) = self.must_leave(cx) {
            return Poll::Ready(Err(kind.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for MemberStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[path = "cluster_port_tests.rs"]
mod tests;
