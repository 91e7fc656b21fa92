//! Values of tunables, checked as they are set. Error texts are Perlbal's (reference, section 3).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::address::Network;
use super::name::PoolName;
use super::template::Template;
use super::tunable::Kind;

/// A value that has passed its tunable's check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// On or off.
    Bool(bool),
    /// A whole number.
    Int(u64),
    /// Bytes.
    Size(u64),
    /// Any text; each node fills in its variables.
    Text(Template),
    /// `ip:port` or `port`; each node fills in its variables.
    Listen(Template),
    /// A pool that existed when this was set.
    Pool(PoolName),
    /// Blocks of addresses.
    Networks(Vec<Network>, String),
}

impl Value {
    /// Checks and converts the text of a `SET`.
    ///
    /// # Errors
    /// The text of Perlbal's error, with the tunable named `key`.
    pub fn parse(kind: Kind, key: &str, text: &str) -> Result<Self, String> {
        match kind {
            Kind::Bool => parse_bool(text)
                .map(Self::Bool)
                .ok_or_else(|| format!("Expecting boolean value for parameter '{key}'")),
            Kind::Int => parse_digits(text)
                .map(Self::Int)
                .ok_or_else(|| format!("Expecting integer value for parameter '{key}'")),
            Kind::Size => parse_size(text).map(Self::Size).ok_or_else(|| {
                format!(
                    "Expecting size unit value for parameter '{key}' in bytes, or suffixed with 'K' or 'M'"
                )
            }),
            Kind::Text => Template::parse(text).map(Self::Text).map_err(|e| e.to_string()),
            Kind::Listen => parse_listen(text).map(Self::Listen),
            Kind::Pool => PoolName::parse(text)
                .map(Self::Pool)
                .map_err(|_| format!("Pool '{text}' not found")),
            Kind::Networks => parse_networks(text),
            Kind::Role => Err("Role not valid".to_owned()),
        }
    }

    /// The truth of a boolean; `false` for anything else.
    pub fn as_bool(&self) -> bool {
        matches!(self, Self::Bool(true))
    }

    /// The number of an integer or size; 0 for anything else.
    pub fn as_u64(&self) -> u64 {
        match self {
            Self::Int(n) | Self::Size(n) => *n,
            Self::Bool(_) | Self::Text(_) | Self::Listen(_) | Self::Pool(_) | Self::Networks(..) => 0,
        }
    }
}

/// As `dumpconfig` prints it: true is `on`, false `0`, sizes are bytes.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(true) => f.write_str("on"),
            Self::Bool(false) => f.write_str("0"),
            Self::Int(n) | Self::Size(n) => write!(f, "{n}"),
            Self::Text(template) | Self::Listen(template) => template.fmt(f),
            Self::Pool(pool) => pool.fmt(f),
            Self::Networks(_, text) => f.write_str(text),
        }
    }
}

fn parse_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "on" | "yes" => Some(true),
        "0" | "false" | "off" | "no" => Some(false),
        _ => None,
    }
}

fn parse_digits(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

fn parse_size(text: &str) -> Option<u64> {
    let (digits, unit) = match text.as_bytes().last()? {
        b'b' | b'B' => (text.get(..text.len() - 1)?, 1),
        b'k' | b'K' => (text.get(..text.len() - 1)?, 1024),
        b'm' | b'M' => (text.get(..text.len() - 1)?, 1024 * 1024),
        _ => (text, 1),
    };
    parse_digits(digits)?.checked_mul(unit)
}

/// What Perlbal says of a listen address that is none.
const LISTEN_USAGE: &str = "Listen argument must be ip:port or port. e.g. 192.168.0.1:80 or 81";

/// The listen address that a text means, its variables filled in.
pub(super) fn listen_address(text: &str) -> Option<SocketAddr> {
    if let Some(port) = parse_digits(text) {
        let port = u16::try_from(port).ok().filter(|p| *p != 0)?;
        return Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port));
    }
    text.parse().ok().filter(|a: &SocketAddr| a.port() != 0)
}

fn parse_listen(text: &str) -> Result<Template, String> {
    let template = Template::parse(text).map_err(|e| e.to_string())?;
    // A variable may stand for an address or for a port; either reading will do.
    let readable = template.variables().next().is_none() && listen_address(text).is_some();
    let stands_for = |filler: &str| {
        let filled = template.expand(|_| Ok::<_, std::convert::Infallible>(filler.to_owned()));
        let Ok(filled) = filled;
        listen_address(&filled).is_some()
    };
    let fits =
        readable || (template.variables().next().is_some() && (stands_for("10.0.0.1") || stands_for("80")));
    if fits {
        Ok(template)
    } else {
        Err(LISTEN_USAGE.to_owned())
    }
}

fn parse_networks(text: &str) -> Result<Value, String> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let networks = parts.map(|part| {
        Network::parse(part)
            .ok_or_else(|| format!("Error defining trusted upstream proxies: could not parse {part}"))
    });
    Ok(Value::Networks(
        networks.collect::<Result<_, _>>()?,
        text.to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(kind: Kind, text: &str) -> Result<String, String> {
        Value::parse(kind, "p", text).map(|v| v.to_string())
    }

    #[test]
    fn booleans_in_any_case() {
        for yes in ["1", "TRUE", "on", "Yes"] {
            assert_eq!(parse(Kind::Bool, yes).as_deref(), Ok("on"), "{yes}");
        }
        for no in ["0", "false", "OFF", "no"] {
            assert_eq!(parse(Kind::Bool, no).as_deref(), Ok("0"), "{no}");
        }
        let error = "Expecting boolean value for parameter 'p'";
        assert_eq!(parse(Kind::Bool, "2"), Err(error.to_owned()));
    }

    #[test]
    fn numbers_and_sizes() {
        assert_eq!(parse(Kind::Int, "007").as_deref(), Ok("7"));
        for bad in ["", "-1", "1.5", "x", "99999999999999999999999"] {
            assert!(parse(Kind::Int, bad).is_err(), "{bad}");
        }
        assert_eq!(parse(Kind::Size, "250k").as_deref(), Ok("256000"));
        assert_eq!(parse(Kind::Size, "2M").as_deref(), Ok("2097152"));
        assert_eq!(parse(Kind::Size, "9B").as_deref(), Ok("9"));
        for bad in ["k", "1 k", "1g", "é", "99999999999999999999m"] {
            assert!(parse(Kind::Size, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn listen_addresses() {
        for good in [
            "80",
            "10.0.0.1:81",
            "[::]:80",
            "${node:ip}:80",
            "${ip:eth0}:8080",
            "0.0.0.0:${node:label.p}",
        ] {
            assert_eq!(parse(Kind::Listen, good).as_deref(), Ok(good), "{good}");
        }
        for bad in [
            "",
            "x",
            "10.0.0.1",
            "10.0.0.1:",
            "70000",
            "0",
            "host:80",
            "x${node:ip}:80",
        ] {
            assert_eq!(parse(Kind::Listen, bad), Err(LISTEN_USAGE.to_owned()), "{bad}");
        }
    }
}
