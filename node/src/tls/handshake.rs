//! The first bytes of a connection to a service that speaks TLS.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::stream::{Stream, TlsStream};

/// How much is read at once, bytes: what most clients say in one go.
const BUFFER: usize = 4096;

/// Why there is no connection that speaks TLS.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The client speaks HTTP without it; it should be told so.
    Plain(TcpStream),
    /// There was no agreement, or none in time.
    Failed(io::Error),
}

/// Agrees with a client on keys, within so long. Dropping the future closes the connection.
///
/// # Errors
/// When there is no agreement.
pub(crate) async fn accept(
    io: TcpStream,
    config: Arc<ServerConfig>,
    within: Duration,
) -> Result<Stream, Refused> {
    let tls = ServerConnection::new(config).map_err(|error| Refused::Failed(io::Error::other(error)))?;
    let mut stream = Box::new(TlsStream::new(io, tls.into()));
    let mut buffer = vec![0; BUFFER];
    let mut opening = Opening::Unknown;
    let agreed = poll_fn(|cx| stream.poll_handshake(cx, &mut buffer, |read| opening.look(read)));
    match timeout(within, agreed).await {
        Ok(Ok(())) => Ok(Stream::Tls(stream)),
        Ok(Err(_)) if opening == Opening::Plain => Err(Refused::Plain(stream.into_plain())),
        Ok(Err(error)) => Err(Refused::Failed(error)),
        Err(_) => Err(Refused::Failed(io::ErrorKind::TimedOut.into())),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Opening {
    Unknown,
    Tls,
    Plain,
}

impl Opening {
    /// No message of TLS begins with a letter, and every request of HTTP does.
    fn look(&mut self, read: &[u8]) -> io::Result<()> {
        if *self == Self::Unknown {
            *self = match read.first() {
                Some(first) if first.is_ascii_alphabetic() => Self::Plain,
                Some(_) => Self::Tls,
                None => Self::Unknown,
            };
        }
        match self {
            Self::Plain => Err(io::ErrorKind::InvalidData.into()),
            Self::Unknown | Self::Tls => Ok(()),
        }
    }
}
