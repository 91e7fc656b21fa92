//! The address that a node advertises when none was given.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use super::SettingsError;

/// Addresses set aside for documentation (RFC 5737, RFC 3849): a connected datagram socket asks the kernel for the
/// route to one, and no packet is sent.
const FAR_AWAY: [(&str, &str); 2] = [("0.0.0.0:0", "192.0.2.1:9"), ("[::]:0", "[2001:db8::1]:9")];

/// The listen address; if that is a wildcard, the source address of the default route.
pub(super) fn default(listen: SocketAddr) -> Result<SocketAddr, SettingsError> {
    if !listen.ip().is_unspecified() {
        return Ok(listen);
    }
    let source = FAR_AWAY.into_iter().find_map(|(from, to)| route_source(from, to));
    source.map(|ip| SocketAddr::new(ip, listen.port())).ok_or_else(|| {
        SettingsError::Combination(format!(
            "the cluster port listens on {listen} and this host has no default route to take an address from; \
             give --advertise IP:PORT"
        ))
    })
}

fn route_source(from: &str, to: &str) -> Option<IpAddr> {
    let socket = UdpSocket::bind(from).ok()?;
    socket.connect(to).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_unspecified() && !ip.is_loopback()).then_some(ip)
}
