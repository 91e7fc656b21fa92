//! What this machine knows for `${ip:IFACE}`.

use std::net::Ipv4Addr;

/// The first IPv4 address of a network interface.
///
/// # Errors
/// Perlbal's text when there is no such interface or it has none.
pub fn interface_ipv4(interface: &str) -> Result<Ipv4Addr, String> {
    let missing = || format!("Can't find IP of interface '{interface}'");
    let mut addresses = nix::ifaddrs::getifaddrs().map_err(|_| missing())?;
    addresses
        .find_map(|entry| {
            let here = entry.interface_name == interface;
            entry
                .address
                .filter(|_| here)?
                .as_sockaddr_in()
                .map(nix::sys::socket::SockaddrIn::ip)
        })
        .ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_there_and_nonsense_is_not() {
        assert_eq!(interface_ipv4("lo"), Ok(Ipv4Addr::LOCALHOST));
        assert_eq!(
            interface_ipv4("nope0"),
            Err("Can't find IP of interface 'nope0'".to_owned())
        );
    }
}
