//! Who may ask a service: the rules of Perlbal's plugin `AccessControl` (reference, section 8.2).

use std::fmt;
use std::net::IpAddr;

use super::InvalidDirective;
use crate::model::address::Network;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It is answered.
    Allow,
    /// It gets a 403.
    Deny,
    /// It is answered when nobody else waits.
    QueueLow,
}

impl Access {
    const fn word(self) -> &'static str {
        match self {
            Self::Allow => "ALLOW",
            Self::Deny => "DENY",
            Self::QueueLow => "QUEUE_LOW",
        }
    }
}

/// Whom a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clients {
    /// One address.
    Ip(IpAddr),
    /// A block of addresses.
    Netmask(Network),
}

impl Clients {
    /// Whether an address is among them.
    pub fn contain(&self, address: IpAddr) -> bool {
        match self {
            Self::Ip(ip) => ip.to_canonical() == address.to_canonical(),
            Self::Netmask(network) => network.contains(address),
        }
    }
}

/// A line of `ACCESS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessRule {
    /// What becomes of requests that no rule is about: whether they are answered.
    Policy(bool),
    /// The first rule that is about a client decides.
    Rule(Access, Clients),
    /// There are no rules any more, and everybody is answered.
    Reset,
}

impl AccessRule {
    /// Reads what stands behind `ACCESS`, in lower case; a word that is missing is empty.
    ///
    /// # Errors
    /// What is wrong with it, in Perlbal's words where it has some.
    pub fn parse(word: &str, kind: &str, value: &str) -> Result<Self, InvalidDirective> {
        let access = match word {
            "policy" => return policy(kind),
            "reset" => return Ok(Self::Reset),
            "allow" => Access::Allow,
            "deny" => Access::Deny,
            "queue_low" => Access::QueueLow,
            _ => return Err(InvalidDirective::AccessUsage),
        };
        let clients = match kind {
            "ip" => {
                let ip = value.parse().map(Clients::Ip);
                ip.map_err(|_| InvalidDirective::AccessIp(value.to_owned()))?
            }
            "netmask" => {
                let network = Network::parse(value).map(Clients::Netmask);
                network.ok_or(InvalidDirective::AccessNetmask)?
            }
            _ => return Err(InvalidDirective::AccessItem(kind.to_owned())),
        };
        Ok(Self::Rule(access, clients))
    }
}

fn policy(word: &str) -> Result<AccessRule, InvalidDirective> {
    match word {
        "allow" => Ok(AccessRule::Policy(true)),
        "deny" => Ok(AccessRule::Policy(false)),
        _ => Err(InvalidDirective::AccessPolicy),
    }
}

impl fmt::Display for AccessRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy(true) => f.write_str("ACCESS POLICY ALLOW"),
            Self::Policy(false) => f.write_str("ACCESS POLICY DENY"),
            Self::Rule(access, Clients::Ip(ip)) => write!(f, "ACCESS {} IP {ip}", access.word()),
            Self::Rule(access, Clients::Netmask(network)) => {
                write!(f, "ACCESS {} NETMASK {network}", access.word())
            }
            Self::Reset => f.write_str("ACCESS RESET"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, String> {
        let mut words = text.split(' ');
        let mut next = || words.next().unwrap_or_default();
        let rule = AccessRule::parse(next(), next(), next());
        rule.map(|rule| rule.to_string())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn lines_are_perlbals() {
        for (text, printed) in [
            ("policy deny", "ACCESS POLICY DENY"),
            ("allow ip 1.2.3.4", "ACCESS ALLOW IP 1.2.3.4"),
            ("deny ip ::1", "ACCESS DENY IP ::1"),
            ("deny netmask 10.1.2.3/8", "ACCESS DENY NETMASK 10.0.0.0/8"),
            (
                "queue_low netmask 127.0.0.1",
                "ACCESS QUEUE_LOW NETMASK 127.0.0.1/32",
            ),
            (
                "queue_low netmask fe80::1/64",
                "ACCESS QUEUE_LOW NETMASK fe80::/64",
            ),
            ("reset x", "ACCESS RESET"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(printed), "{text}");
            let again = printed.trim_start_matches("ACCESS ").to_ascii_lowercase();
            assert_eq!(read(&again).as_deref(), Ok(printed), "fed back: {text}");
        }
        for (text, error) in [
            ("", "usage: ACCESS <cmd> <arg1> [<arg2>]"),
            ("foo x", "usage: ACCESS <cmd> <arg1> [<arg2>]"),
            ("policy", "policy must be 'allow' or 'deny'"),
            ("policy allowed", "policy must be 'allow' or 'deny'"),
            ("deny", "Unknown item to deny: ''"),
            ("deny host x", "Unknown item to deny: 'host'"),
            ("deny netmask 10.0.0.0/40", "Error parsing netmask"),
            ("deny netmask 10.0.0.0/8,11.0.0.0/8", "Error parsing netmask"),
            ("deny ip 1.2.3.400", "'1.2.3.400' is not an IP address"),
        ] {
            assert_eq!(read(text), Err(error.to_owned()), "{text}");
        }
    }
}
