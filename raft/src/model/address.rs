//! Addresses of backends and of networks that are trusted.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The port of a backend that names none (Perlbal's default).
const DEFAULT_BACKEND_PORT: u16 = 80;

/// Where a backend listens.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendAddress(SocketAddr);

impl BackendAddress {
    /// Parses `ip`, `ip:port` or `[ipv6]:port`; without a port, and for port 0, it is 80. Host names are no
    /// addresses, as in Perlbal.
    pub fn parse(text: &str) -> Option<Self> {
        let address = match text.parse::<SocketAddr>() {
            Ok(address) => address,
            Err(_) => SocketAddr::new(bare_ip(text)?, DEFAULT_BACKEND_PORT),
        };
        let port = if address.port() == 0 {
            DEFAULT_BACKEND_PORT
        } else {
            address.port()
        };
        Some(Self(SocketAddr::new(address.ip(), port)))
    }

    /// The socket address.
    pub fn socket(self) -> SocketAddr {
        self.0
    }
}

fn bare_ip(text: &str) -> Option<IpAddr> {
    let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    match inner {
        Some(v6) => v6.parse().ok().map(IpAddr::V6),
        None => text.parse().ok(),
    }
}

impl fmt::Display for BackendAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for BackendAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A block of addresses: `a.b.c.d`, `a.b.c.d/len`, or the same for IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    base: IpAddr,
    prefix: u8,
}

impl Network {
    /// Parses an address or a CIDR block.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let base: IpAddr = address.parse().ok()?;
        let longest = if base.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => longest,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok()?,
            Some(_) => return None,
        };
        (prefix <= longest).then_some(Self { base, prefix })
    }

    /// Its first address.
    fn first(&self) -> IpAddr {
        match self.base {
            IpAddr::V4(base) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                IpAddr::V4((u32::from(base) & mask).into())
            }
            IpAddr::V6(base) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                IpAddr::V6((u128::from(base) & mask).into())
            }
        }
    }

    /// Whether the block holds an address. An IPv4 address mapped into IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.base, address.to_canonical()) {
            (IpAddr::V4(base), IpAddr::V4(a)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                u32::from(base) & mask == u32::from(a) & mask
            }
            (IpAddr::V6(base), IpAddr::V6(a)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                u128::from(base) & mask == u128::from(a) & mask
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first(), self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends() {
        let show = |t: &str| BackendAddress::parse(t).map(|a| a.to_string());
        assert_eq!(show("10.0.0.1").as_deref(), Some("10.0.0.1:80"));
        assert_eq!(show("10.0.0.1:0").as_deref(), Some("10.0.0.1:80"));
        assert_eq!(show("10.0.0.1:8081").as_deref(), Some("10.0.0.1:8081"));
        assert_eq!(show("[::1]:81").as_deref(), Some("[::1]:81"));
        assert_eq!(show("::1").as_deref(), Some("[::1]:80"));
        for bad in [
            "",
            "host",
            "host:80",
            "10.0.0.256",
            "10.0.0.1:",
            "10.0.0.1:99999",
            "10.0.0",
        ] {
            assert_eq!(show(bad), None, "{bad}");
        }
    }

    #[test]
    fn networks() {
        let net = Network::parse("10.0.0.0/8").unwrap();
        assert!(net.contains("10.9.8.7".parse().unwrap()));
        assert!(net.contains("::ffff:10.9.8.7".parse().unwrap()));
        assert!(!net.contains("11.0.0.1".parse().unwrap()));
        assert!(
            Network::parse("0.0.0.0/0")
                .unwrap()
                .contains("1.2.3.4".parse().unwrap())
        );
        assert!(
            Network::parse("fe80::/10")
                .unwrap()
                .contains("fe80::1".parse().unwrap())
        );
        for bad in ["foo", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "::/129"] {
            assert!(Network::parse(bad).is_none(), "{bad}");
        }
    }
}
