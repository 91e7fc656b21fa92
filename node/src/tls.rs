//! TLS towards clients: what a service speaks, with which certificates, and the connections that speak it.
//!
//! What a connection needs is built by `effects` and published here, one pointer for all services; workers read it at
//! each new connection, and a connection keeps what it began with. Nothing here opens a port or serves a request.

mod certificate;
mod fleet;
mod handshake;
mod names;
mod server;
mod settings;
mod stream;

pub use certificate::CertificateError;
pub use fleet::{Facts, Offer, OfferError, OpenError, pem};
pub(crate) use handshake::{Refused, accept};
pub use server::{LoadError, Server, Servers};
pub use settings::ServerSettings;
pub(crate) use settings::listed;
pub use stream::{Stream, TlsStream};
