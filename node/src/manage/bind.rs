//! Whether this machine lets a service listen, in Perlbal's words.

use std::io;
use std::net::SocketAddr;

use fleetbal_raft::model::{Role, Service, ServiceName};
use socket2::{Domain, Socket, Type};

use crate::os_error;
use crate::snapshot::NodeVariables;

/// Tries a service's address before anything is changed. `own` is the management listener of this node alone, on whose
/// address a management service is no conflict. A service without a role is left to the fleet to refuse.
///
/// # Errors
/// Perlbal's text, to the letter, where the address cannot be had.
pub fn check(
    name: &ServiceName,
    service: &Service,
    variables: &NodeVariables,
    own: Option<SocketAddr>,
) -> Result<(), String> {
    let Some(role) = service.role() else { return Ok(()) };
    let address = service
        .listen_on(|variable| variables.fill(variable))
        .map_err(|reason| format!("Can't start service '{name}': {reason}"))?;
    match address {
        Some(address) if role == Role::Management && own == Some(address) => Ok(()),
        Some(address) => bind(role, address).map_err(|error| {
            let reason = os_error::words(&error);
            format!(
                "Can't start service '{name}' on {address}: Error creating listening socket: \
                 IO::Socket::INET: {reason}"
            )
        }),
        None => Ok(()),
    }
}

/// Binds without listening, so that no client can connect to what goes away at once. Sockets of connections that
/// ended a moment ago are no obstacle; one that listens is.
fn bind(role: Role, address: SocketAddr) -> io::Result<()> {
    let kind = match role {
        Role::ReverseProxy | Role::Management => Type::STREAM,
        Role::UploadTracker => Type::DGRAM,
    };
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    // For datagrams it would mean to share the address.
    socket.set_reuse_address(kind == Type::STREAM)?;
    socket.bind(&address.into())
}
