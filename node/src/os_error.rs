//! The system's errors in the system's own words.

use std::io;
use std::net::SocketAddr;

/// The text without the number that Rust adds: `Address already in use`.
pub fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// What to do where an address cannot be had; nothing where the error says it all.
pub fn remedy(error: &io::Error, address: SocketAddr) -> String {
    let (kind, port) = (error.kind(), address.port());
    if kind == io::ErrorKind::PermissionDenied {
        format!(
            "; port {port} takes root, CAP_NET_BIND_SERVICE (AmbientCapabilities= in a unit), or a socket that systemd \
             holds (fleetbal.socket)"
        )
    } else if kind == io::ErrorKind::AddrInUse {
        format!("; `ss -ltnp sport = :{port}` names the process that has it")
    } else if kind == io::ErrorKind::AddrNotAvailable {
        "; this machine has no such address (`ip address`)".to_owned()
    } else {
        String::new()
    }
}
