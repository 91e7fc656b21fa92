//! What this node fills into the templates of the configuration.

use std::collections::BTreeMap;
use std::net::IpAddr;

use fleetbal_raft::model::Variable;
use nix::sys::socket::SockaddrStorage;

/// The values of a node's variables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeVariables {
    /// Its name: `${node:name}`.
    pub name: String,
    /// The address that the other nodes reach it at: `${node:ip}`; none on a node that stands alone.
    pub ip: Option<IpAddr>,
    /// What `--label` set: `${node:label.KEY}`.
    pub labels: BTreeMap<String, String>,
}

impl NodeVariables {
    /// The value of one variable on this node.
    ///
    /// # Errors
    /// When this node has none, in words for whoever typed it.
    pub fn fill(&self, variable: &Variable) -> Result<String, String> {
        match variable {
            Variable::NodeName => Ok(self.name.clone()),
            Variable::NodeIp => {
                let ip = self.ip.ok_or("this node has no advertised address")?;
                Ok(ip_text(ip))
            }
            Variable::Label(key) => {
                let value = self.labels.get(key);
                value
                    .cloned()
                    .ok_or_else(|| format!("this node has no label '{key}'"))
            }
            Variable::InterfaceIp(interface) => interface_ip(interface),
        }
    }
}

/// As it stands in front of `:port`.
fn ip_text(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// The first IPv4 address of an interface.
fn interface_ip(interface: &str) -> Result<String, String> {
    let addresses = nix::ifaddrs::getifaddrs()
        .map_err(|error| format!("cannot list this node's interfaces: {}", error.desc()))?;
    let mut known = false;
    for entry in addresses.filter(|entry| entry.interface_name == interface) {
        known = true;
        let address = entry.address;
        if let Some(v4) = address.as_ref().and_then(SockaddrStorage::as_sockaddr_in) {
            return Ok(v4.ip().to_string());
        }
    }
    Err(if known {
        format!("interface '{interface}' has no IPv4 address")
    } else {
        format!("this node has no interface '{interface}'")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_what_the_node_has() {
        let variables = NodeVariables {
            name: "n1".into(),
            ip: Some("::1".parse().unwrap()),
            labels: BTreeMap::from([("rack".to_owned(), "7".to_owned())]),
        };
        let fill = |variable| variables.fill(&variable);
        assert_eq!(fill(Variable::NodeName).as_deref(), Ok("n1"));
        assert_eq!(fill(Variable::NodeIp).as_deref(), Ok("[::1]"));
        assert_eq!(fill(Variable::Label("rack".into())).as_deref(), Ok("7"));
        assert!(fill(Variable::Label("row".into())).is_err());
        assert_eq!(
            fill(Variable::InterfaceIp("lo".into())).as_deref(),
            Ok("127.0.0.1")
        );
        let unknown = fill(Variable::InterfaceIp("none0".into()));
        assert_eq!(unknown, Err("this node has no interface 'none0'".to_owned()));
        assert!(NodeVariables::default().fill(&Variable::NodeIp).is_err());
    }
}
