//! Whom a joiner asks: `HOST:PORT`, where the host is an address or a name.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::timeout;

use crate::error::JoinError;

/// How long a name may take to be resolved.
const RESOLVE: Duration = Duration::from_secs(5);

/// The longest name that can be one (RFC 1035, section 2.3.4).
const NAME_MAX: usize = 253;

/// A member's cluster port, as somebody wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer(String);

impl FromStr for Peer {
    type Err = JoinError;

    fn from_str(text: &str) -> Result<Self, JoinError> {
        let is_name = |host: &str| {
            let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
            (1..=NAME_MAX).contains(&host.len()) && host.chars().all(known)
        };
        let named = text
            .rsplit_once(':')
            .is_some_and(|(host, port)| is_name(host) && port.parse().is_ok_and(|port: u16| port > 0));
        if named || text.parse().is_ok_and(|address: SocketAddr| address.port() > 0) {
            Ok(Self(text.to_owned()))
        } else {
            Err(JoinError::Peer(text.to_owned()))
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Peer {
    /// Where it is now; a name is asked for anew each time, and may have many addresses.
    pub(super) async fn addresses(&self) -> Result<Vec<SocketAddr>, String> {
        match timeout(RESOLVE, lookup_host(self.0.as_str())).await {
            Ok(Ok(addresses)) => Ok(addresses.collect()),
            Ok(Err(error)) => Err(format!("cannot find the address of that name: {error}")),
            Err(_) => Err("cannot find the address of that name: no answer in time".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_addresses_and_names_with_a_port() {
        for good in [
            "10.0.0.1:7400",
            "[::1]:7400",
            "n1:7400",
            "n-1.fleet.example.org:1",
            "a_b:65535",
        ] {
            assert_eq!(good.parse::<Peer>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "n1",
            ":7400",
            "n1:",
            "n1:0",
            "n1:65536",
            "::1:7400",
            "a b:7400",
            "http://n1:7400",
            "[::1]",
        ] {
            assert!(bad.parse::<Peer>().is_err(), "{bad}");
        }
    }
}
