//! Values of tunables, checked as they are set. Error texts are Perlbal's (reference, section 3).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::address::Network;
use super::name::{CertificateName, PoolName, ServiceName};
use super::template::Template;
use super::tls::{CipherSuite, Protocol, parse_ciphers};
use super::tunable::{CLEARING, Kind};

/// A value that has passed its tunable's check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// On or off.
    Bool(bool),
    /// A whole number.
    Int(u64),
    /// Bytes.
    Size(u64),
    /// Any text, or a path; each node fills in its variables.
    Text(Template),
    /// `ip:port` or `port`; each node fills in its variables.
    Listen(Template),
    /// A pool that existed when this was set.
    Pool(PoolName),
    /// A service that existed when this was set.
    Service(ServiceName),
    /// Blocks of addresses.
    Networks(Vec<Network>, String),
    /// Pauses, one after the other.
    Schedule(Arc<[Duration]>, String),
    /// Addresses that datagrams are sent to.
    Endpoints(Vec<SocketAddr>, String),
    /// A word of a list.
    Word(&'static str),
    /// Words, one after the other.
    Words(Arc<[String]>),
    /// A regular expression that compiles.
    Pattern(String),
    /// Cipher suites, the preferred first.
    Ciphers(Arc<[CipherSuite]>, String),
    /// Versions of TLS.
    Protocols(Arc<[Protocol]>, String),
    /// Certificates of the fleet that existed when this was set; those that take it back name none.
    Certificates(Arc<[CertificateName]>),
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
            Kind::Text | Kind::Directory | Kind::File | Kind::TokenFile => {
                Template::parse(text).map(Self::Text).map_err(|e| e.to_string())
            }
            Kind::Listen => parse_listen(text).map(Self::Listen),
            Kind::Pool => PoolName::parse(text)
                .map(Self::Pool)
                .map_err(|_| format!("Pool '{text}' not found")),
            Kind::Service => ServiceName::parse(text)
                .map(Self::Service)
                .map_err(|_| format!("Service '{text}' not found")),
            Kind::Networks => parse_networks(text),
            Kind::Role => Err("Role not valid".to_owned()),
            Kind::Percent => parse_digits(text)
                .filter(|n| *n <= 100)
                .map(Self::Int)
                .ok_or_else(|| "Expecting integer value between 0 and 100, inclusive.".to_owned()),
            Kind::Schedule => parse_schedule(text)
                .map(|pauses| Self::Schedule(pauses, text.to_owned()))
                .ok_or_else(|| {
                    format!("Expecting up to {SCHEDULE_MAX} numbers of seconds, separated by commas, for parameter '{key}'")
                }),
            Kind::Endpoints => parse_endpoints(text),
            Kind::Endpoint => parse_endpoint(text),
            Kind::OneOf(words) => words
                .iter()
                .find(|word| **word == text)
                .map(|word| Self::Word(word))
                .ok_or_else(|| format!("Value of '{key}' must be one of: {}", words.join(", "))),
            Kind::Words => parse_words(key, text),
            Kind::SomeOf(words) => parse_some(words, key, text),
            Kind::Pattern => match regex::Regex::new(text) {
                Ok(_) => Ok(Self::Pattern(text.to_owned())),
                Err(_) => Err("Invalid regular expression".to_owned()),
            },
            Kind::Ciphers => {
                parse_ciphers(key, text).map(|suites| Self::Ciphers(suites.into(), text.to_owned()))
            }
            Kind::Protocols => Protocol::parse_list(key, text)
                .map(|protocols| Self::Protocols(protocols.into(), text.to_owned())),
            Kind::Certificates => parse_certificates(key, text),
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
            Self::Bool(_)
            | Self::Text(_)
            | Self::Listen(_)
            | Self::Pool(_)
            | Self::Service(_)
            | Self::Networks(..)
            | Self::Schedule(..)
            | Self::Endpoints(..)
            | Self::Word(_)
            | Self::Words(_)
            | Self::Pattern(_)
            | Self::Ciphers(..)
            | Self::Protocols(..)
            | Self::Certificates(_) => 0,
        }
    }

    /// The template of a text or path; none for anything else.
    pub fn into_text(self) -> Option<Template> {
        if let Self::Text(template) = self {
            Some(template)
        } else {
            None
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
            Self::Service(service) => service.fmt(f),
            Self::Networks(_, text)
            | Self::Schedule(_, text)
            | Self::Endpoints(_, text)
            | Self::Pattern(text)
            | Self::Ciphers(_, text)
            | Self::Protocols(_, text) => f.write_str(text),
            Self::Word(word) => f.write_str(word),
            Self::Words(words) => f.write_str(&words.join(", ")),
            Self::Certificates(names) => {
                let names: Vec<_> = names.iter().map(CertificateName::as_str).collect();
                f.write_str(&names.join(", "))
            }
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

/// The most pauses that a schedule may have: each is a try of one request.
const SCHEDULE_MAX: usize = 100;

/// The longest pause of a schedule in seconds: a day.
const PAUSE_MAX: u64 = 24 * 3600;

fn parse_schedule(text: &str) -> Option<Arc<[Duration]>> {
    let pauses: Option<Vec<_>> = text.split(',').map(|part| parse_pause(part.trim())).collect();
    pauses
        .filter(|pauses| pauses.len() <= SCHEDULE_MAX)
        .map(Arc::from)
}

/// Seconds: `1`, `.25`, `1.5`. By hand, because every node must read the same number.
fn parse_pause(text: &str) -> Option<Duration> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let seconds = if whole.is_empty() { 0 } else { parse_digits(whole)? };
    let nanos = if fraction.is_empty() {
        0
    } else {
        parse_digits(fraction).filter(|_| fraction.len() <= 9)?;
        parse_digits(&format!("{fraction:0<9}"))?
    };
    (seconds <= PAUSE_MAX).then(|| Duration::from_secs(seconds) + Duration::from_nanos(nanos))
}

fn parse_endpoints(text: &str) -> Result<Value, String> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let endpoints = parts.map(|part| {
        part.parse::<SocketAddr>()
            .ok()
            .filter(|address| address.port() != 0)
            .ok_or_else(|| format!("Invalid UDP endpoint: \"{part}\".  Must be of form a.b.c.d:port"))
    });
    Ok(Value::Endpoints(
        endpoints.collect::<Result<_, _>>()?,
        text.to_owned(),
    ))
}

fn parse_some(known: &[&str], key: &str, text: &str) -> Result<Value, String> {
    let words: Vec<_> = text.split(',').map(|word| word.trim().to_owned()).collect();
    if words.iter().all(|word| known.contains(&word.as_str())) {
        return Ok(Value::Words(words.into()));
    }
    // Perlbal's words, and which there are.
    let known = known.join(" ");
    Err(format!(
        "{key} is a comma-separated list of loggable events: {known}"
    ))
}

fn parse_words(key: &str, text: &str) -> Result<Value, String> {
    let words = text.split([' ', ',']).filter(|word| !word.is_empty());
    let words: Arc<[String]> = words.map(str::to_owned).collect();
    if words.is_empty() {
        return Err(format!("Expecting at least one word for parameter '{key}'"));
    }
    Ok(Value::Words(words))
}

fn parse_certificates(key: &str, text: &str) -> Result<Value, String> {
    if CLEARING.contains(&text) {
        return Ok(Value::Certificates(Arc::default()));
    }
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    let names: Arc<[_]> = names
        .map(|name| CertificateName::parse(name).map_err(|error| error.to_string()))
        .collect::<Result<_, _>>()?;
    if names.is_empty() {
        return Err(format!(
            "Expecting at least one certificate for parameter '{key}'"
        ));
    }
    Ok(Value::Certificates(names))
}

fn parse_endpoint(text: &str) -> Result<Value, String> {
    let one = parse_endpoints(text).ok().filter(|_| !text.contains(','));
    one.ok_or_else(|| "Expecting IP:port of form a.b.c.d:port.".to_owned())
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

    #[test]
    fn schedules() {
        let pauses = |text: &str| match Value::parse(Kind::Schedule, "p", text) {
            Ok(Value::Schedule(pauses, _)) => Some(pauses.to_vec()),
            _ => None,
        };
        let millis = |n: &[u64]| Some(n.iter().map(|n| Duration::from_millis(*n)).collect::<Vec<_>>());
        assert_eq!(pauses("0,.25, 0.50 ,1,2."), millis(&[0, 250, 500, 1000, 2000]));
        assert_eq!(pauses("86400"), millis(&[86_400_000]));
        let many = vec!["1"; SCHEDULE_MAX + 1].join(",");
        for bad in [
            "",
            ",",
            "1,",
            "a",
            "-1",
            "1e3",
            ".",
            "1.0000000001",
            "86401",
            "+1",
            &many,
        ] {
            assert_eq!(pauses(bad), None, "{bad}");
        }
        let text = "0,.25,.50,1";
        assert_eq!(parse(Kind::Schedule, text).as_deref(), Ok(text));
    }

    #[test]
    fn lists_of_words() {
        assert_eq!(
            parse(Kind::Words, "a.html b,c, ,d").as_deref(),
            Ok("a.html, b, c, d")
        );
        assert!(parse(Kind::Words, " ,").is_err());
    }

    #[test]
    fn endpoints_words_patterns_and_chances() {
        let endpoints = "127.0.0.1:7000, [::1]:7001";
        assert_eq!(parse(Kind::Endpoints, endpoints).as_deref(), Ok(endpoints));
        for bad in ["x", "1.2.3.4", "1.2.3.4:0", "host:80"] {
            let text = format!("Invalid UDP endpoint: \"{bad}\".  Must be of form a.b.c.d:port");
            assert_eq!(parse(Kind::Endpoints, &format!("1.1.1.1:1,{bad}")), Err(text));
        }
        let word = Kind::OneOf(&["1.0", "1.1"]);
        assert_eq!(parse(word, "1.0").as_deref(), Ok("1.0"));
        assert_eq!(
            parse(word, "2"),
            Err("Value of 'p' must be one of: 1.0, 1.1".to_owned())
        );
        assert_eq!(parse(Kind::Pattern, r"^/(a|b)\.x").as_deref(), Ok(r"^/(a|b)\.x"));
        for bad in ["(", "a{2", "(?=x)", "(?:a{1000}){1000}{1000}"] {
            let refused = Err("Invalid regular expression".to_owned());
            assert_eq!(parse(Kind::Pattern, bad), refused, "{bad}");
        }
        assert_eq!(parse(Kind::Percent, "100").as_deref(), Ok("100"));
        let error = "Expecting integer value between 0 and 100, inclusive.";
        for bad in ["101", "-1", "x", ""] {
            assert_eq!(parse(Kind::Percent, bad), Err(error.to_owned()), "{bad}");
        }
    }
}
