//! A connection that may speak TLS. The plain one comes first and has nothing to look up; the other is apart, so that
//! a plain connection has no room for it.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::Connection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// So many bytes are read from the network at once: a record of the largest kind.
const RECORD: usize = 18 * 1024;

/// With more plaintext than this rustls takes no more in, bytes.
const PLAINTEXT: usize = 16 * 1024;

/// A client's connection.
#[derive(Debug)]
pub enum Stream {
    /// Plain TCP.
    Plain(TcpStream),
    /// TLS.
    Tls(Box<TlsStream>),
}

/// A connection that speaks TLS.
///
/// A write takes plaintext only once all that was taken before is with the system. What is encrypted and not yet
/// there goes out with the next read, write or flush, so whoever ends an answer flushes.
#[derive(Debug)]
pub struct TlsStream {
    io: TcpStream,
    tls: Connection,
    /// Read from the network, but not taken in yet.
    unread: Vec<u8>,
    /// Whether the other side was told that nothing more comes, or must not be.
    is_ended: bool,
}

impl Stream {
    /// Whether it speaks TLS.
    #[inline]
    pub(crate) fn is_tls(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(_) => true,
        }
    }

    /// This end of the connection, if the system tells.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        let io = match self {
            Self::Plain(io) => io,
            Self::Tls(stream) => &stream.io,
        };
        io.local_addr().ok()
    }

    /// Whether all that was written is with the system.
    #[inline]
    pub(crate) fn is_flushed(&self) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Tls(stream) => !stream.tls.wants_write(),
        }
    }

    /// Makes the system reset the connection when it is closed. The other side must not take it for a proper end.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn reset_on_close(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(io) => io.set_zero_linger(),
            Self::Tls(stream) => {
                stream.is_ended = true;
                stream.io.set_zero_linger()
            }
        }
    }

    /// Says that nothing more comes, as far as that can be said without waiting: what is about to be closed has no
    /// other chance.
    pub(crate) fn say_goodbye(&mut self) {
        if let Self::Tls(stream) = self {
            stream.say_goodbye();
        }
    }
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Plain(io) => io.as_raw_fd(),
            Self::Tls(stream) => stream.io.as_raw_fd(),
        }
    }
}

impl AsyncRead for Stream {
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_read(cx, buffer),
            Self::Tls(stream) => stream.poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_write(cx, bytes),
            Self::Tls(stream) => stream.poll_write(cx, &[IoSlice::new(bytes)]),
        }
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_write_vectored(cx, parts),
            Self::Tls(stream) => stream.poll_write(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => stream.poll_send(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Self::Tls(stream) => stream.poll_shutdown(cx),
        }
    }
}

impl TlsStream {
    pub(super) fn new(io: TcpStream, tls: Connection) -> Self {
        Self {
            io,
            tls,
            unread: Vec::new(),
            is_ended: false,
        }
    }

    /// The connection below.
    pub(super) fn into_plain(self) -> TcpStream {
        self.io
    }

    /// Reads and writes until both sides know their keys. `look` sees what is read before it is taken in; nothing is
    /// once it says no.
    pub(super) fn poll_handshake(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
        mut look: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Poll<io::Result<()>> {
        loop {
            if !self.tls.is_handshaking() {
                // Session tickets go out with the first answer, or before the first wait.
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_send(cx))?;
            let length = ready!(self.poll_network(cx, buffer))?;
            let read = buffer.get(..length).unwrap_or_default();
            look(read)?;
            self.take_in(read, cx)?;
            if length == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let space = buffer.initialize_unfilled();
        loop {
            match io::Read::read(&mut self.tls.reader(), space) {
                Ok(length) => {
                    buffer.advance(length);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
            if self.unread.is_empty() {
                if let Poll::Ready(Err(error)) = self.poll_send(cx) {
                    return Poll::Ready(Err(error));
                }
                // The plaintext takes the place of what it was read from.
                let length = ready!(self.poll_network(cx, space))?;
                self.take_in(space.get(..length).unwrap_or_default(), cx)?;
            } else {
                let unread = std::mem::take(&mut self.unread);
                self.take_in(&unread, cx)?;
            }
        }
    }

    /// Reads what the network has.
    fn poll_network(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let length = buffer.len().min(RECORD);
        let mut window = ReadBuf::new(buffer.get_mut(..length).unwrap_or_default());
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut window))?;
        Poll::Ready(Ok(window.filled().len()))
    }

    /// Takes in what was read; nothing is the end.
    fn take_in(&mut self, mut read: &[u8], cx: &mut Context<'_>) -> io::Result<()> {
        loop {
            let used = self.tls.read_tls(&mut read)?;
            let state = self.tls.process_new_packets().map_err(|error| {
                // The other side is told what was wrong, if it can be told at once.
                let _told = self.poll_send(cx);
                io::Error::new(io::ErrorKind::InvalidData, error)
            })?;
            // What follows the other side's goodbye is not looked at.
            if read.is_empty() || used == 0 {
                return Ok(());
            }
            if state.plaintext_bytes_to_read() > PLAINTEXT {
                self.unread = read.to_vec();
                return Ok(());
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        ready!(self.poll_send(cx))?;
        let taken = io::Write::write_vectored(&mut self.tls.writer(), parts)?;
        match self.poll_send(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(taken)),
        }
    }

    /// Sends what is encrypted. Ready when nothing is left.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.tls.wants_write() {
            let mut network = Network { io: &mut self.io, cx };
            match self.tls.write_tls(&mut network) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.is_ended, true) {
            self.tls.send_close_notify();
        }
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn say_goodbye(&mut self) {
        if !std::mem::replace(&mut self.is_ended, true) && !self.tls.is_handshaking() {
            self.tls.send_close_notify();
            let mut context = Context::from_waker(std::task::Waker::noop());
            let _said = self.poll_send(&mut context);
        }
    }
}

/// The network as rustls writes to it.
struct Network<'a, 'b> {
    io: &'a mut TcpStream,
    cx: &'a mut Context<'b>,
}

impl io::Write for Network<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match Pin::new(&mut *self.io).poll_write_vectored(self.cx, parts) {
            Poll::Ready(result) => result,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
