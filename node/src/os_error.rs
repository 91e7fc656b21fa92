//! The system's errors in the system's own words.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use fleetbal_raft::rights::Rights;

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

/// What to do where a file cannot be written; nothing where the error says it all.
pub fn remedy_for_file(error: &io::Error, path: &Path) -> String {
    let kind = error.kind();
    if kind == io::ErrorKind::PermissionDenied {
        Rights::of(path)
            .map(|rights| format!("; {rights}: let that user write there, or name another file"))
            .unwrap_or_default()
    } else if kind == io::ErrorKind::ReadOnlyFilesystem {
        "; mount it writable, or name another file".to_owned()
    } else {
        String::new()
    }
}
