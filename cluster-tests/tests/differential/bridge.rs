//! Between a client of these scripts, which speaks plainly, and a service that speaks TLS: openssl.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::Context;
use fleetbal_cluster_tests::Result;

/// A connection whose other end is encrypted on its way to the service, for as long as either side lives.
///
/// # Errors
/// When openssl cannot be run.
pub(crate) fn open(service: SocketAddr) -> Result<TcpStream> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let near = TcpStream::connect(listener.local_addr()?)?;
    let (far, _) = listener.accept()?;
    let output = OwnedFd::from(far.try_clone()?);
    let mut openssl = Command::new("openssl")
        .args([
            "s_client",
            "-quiet",
            "-no_ign_eof",
            "-connect",
            &service.to_string(),
        ])
        .stdin(OwnedFd::from(far))
        .stdout(output)
        .stderr(Stdio::null())
        .spawn()
        .context("cannot run openssl")?;
    thread::spawn(move || openssl.wait());
    Ok(near)
}
