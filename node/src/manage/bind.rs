//! Whether this machine lets a service listen, in Perlbal's words.

use std::io;
use std::net::SocketAddr;

use fleetbal_raft::model::{Role, Service, ServiceName};
use socket2::{Domain, Socket, Type};

use crate::os_error;
use crate::snapshot::NodeVariables;
use crate::sockets::{Kind, Sockets};

/// What this process has already, and what is no conflict therefore.
#[derive(Debug)]
pub struct Own<'a> {
    /// The management listener of this node alone, on whose address a management service may be.
    pub listener: Option<SocketAddr>,
    /// What it was given to listen with.
    pub sockets: &'a Sockets,
}

/// Why a service cannot listen on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Perlbal's text.
    pub text: String,
    /// What to do, where that is not plain.
    pub remedy: String,
}

impl From<Refused> for String {
    fn from(refused: Refused) -> Self {
        refused.text
    }
}

/// Tries a service's address before anything is changed. A service without a role is left to the fleet to refuse.
///
/// # Errors
/// Perlbal's text, to the letter, where the address cannot be had.
pub fn check(
    name: &ServiceName,
    service: &Service,
    variables: &NodeVariables,
    own: &Own<'_>,
) -> Result<(), Refused> {
    let Some(role) = service.role() else { return Ok(()) };
    let address = service
        .listen_on(|variable| variables.fill(variable))
        .map_err(|reason| Refused {
            text: format!("Can't start service '{name}': {reason}"),
            remedy: String::new(),
        })?;
    match address {
        Some(address) if role == Role::Management && own.listener == Some(address) => Ok(()),
        Some(address) if own.sockets.has(kind(role), address) => Ok(()),
        Some(address) => bind(role, address).map_err(|error| {
            let reason = os_error::words(&error);
            Refused {
                text: format!(
                    "Can't start service '{name}' on {address}: Error creating listening socket: \
                     IO::Socket::INET: {reason}"
                ),
                remedy: os_error::remedy(&error, address),
            }
        }),
        None => Ok(()),
    }
}

/// Binds without listening, so that no client can connect to what goes away at once. Sockets of connections that
/// ended a moment ago are no obstacle; one that listens is.
fn bind(role: Role, address: SocketAddr) -> io::Result<()> {
    let kind = kind(role);
    let of_system = match kind {
        Kind::Stream => Type::STREAM,
        Kind::Datagram => Type::DGRAM,
    };
    let socket = Socket::new(Domain::for_address(address), of_system, None)?;
    // For datagrams it would mean to share the address.
    socket.set_reuse_address(kind == Kind::Stream)?;
    socket.bind(&address.into())
}

fn kind(role: Role) -> Kind {
    match role {
        Role::Echo | Role::ReverseProxy | Role::Selector | Role::WebServer | Role::Management => Kind::Stream,
        Role::UploadTracker => Kind::Datagram,
    }
}
