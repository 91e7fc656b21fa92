//! The list of an `X-REPROXY-URL`, read strictly: what is taken from it becomes a request line and an address.

use std::fmt;

/// Where the body of an answer is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// Whom to connect to.
    pub target: Target,
    /// The path and query of the request; begins with a slash and has nothing in it that would end a request line.
    pub path: String,
}

/// A host in lower case and a port; they are compared as text, so two names of one host are two targets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// A name or an IP address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Reads a list of URLs, separated by blanks. What is no `http://host[:port][/path]` is left out.
pub(super) fn parse_list(value: &[u8]) -> Vec<Url> {
    let words = value.split(|byte| matches!(byte, b' ' | b'\t'));
    words.filter_map(parse).collect()
}

fn parse(word: &[u8]) -> Option<Url> {
    let word = std::str::from_utf8(word).ok()?;
    if !word.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return None;
    }
    let (scheme, rest) = word.split_at_checked(7)?;
    if !scheme.eq_ignore_ascii_case("http://") {
        return None;
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end)?;
    let slash = if path.starts_with('/') { "" } else { "/" };
    Some(Url {
        target: Target::parse(authority)?,
        path: format!("{slash}{path}"),
    })
}

impl Target {
    /// Reads `host`, `host:port` or the same with an IPv6 address in brackets; the port is 80 where none is said.
    /// User information is none of it.
    pub fn parse(authority: &str) -> Option<Self> {
        let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
            let (host, port) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, port)
        } else {
            let end = authority.find(':').unwrap_or(authority.len());
            let (host, port) = authority.split_at_checked(end)?;
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
            if host.is_empty() || !host.bytes().all(is_name) {
                return None;
            }
            (host, port)
        };
        let port = if port.is_empty() {
            80
        } else {
            // Digits alone: a sign is none.
            let digits = port.strip_prefix(':')?.as_bytes();
            u16::try_from(super::number(digits)?).ok()?
        };
        (port > 0).then(|| Self {
            host: host.to_ascii_lowercase(),
            port,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(list: &str) -> Vec<String> {
        let show = |url: &Url| format!("{} {}", url.target, url.path);
        parse_list(list.as_bytes()).iter().map(show).collect()
    }

    #[test]
    fn lists() {
        assert_eq!(
            read("http://a/x?y=1  ftp://b/ http://127.0.0.1:8080\thttp://[::1]:81?q HTTP://c.d_e-f:1/"),
            ["a:80 /x?y=1", "127.0.0.1:8080 /", "[::1]:81 /?q", "c.d_e-f:1 /"]
        );
        assert_eq!(read("http://[::1]"), ["[::1]:80 /"]);
        assert!(read("").is_empty());
    }

    #[test]
    fn leaves_out_what_could_be_read_otherwise() {
        for bad in [
            "http://",
            "http:///x",
            "http://u@h/",
            "http://u:p@h/",
            "http://h:/",
            "http://h:0/",
            "http://h:65536/",
            "http://h:+1/",
            "http://h:1:2/",
            "http://[::1/",
            "http://[::1]x/",
            "http://[h]/",
            "http://::1/",
            "http://h%00/",
            "http://h/#f",
            "http://h/\u{e9}",
            "http://h/\u{1}",
            "//h/",
            "/x",
            "https://h/",
        ] {
            assert!(read(bad).is_empty(), "{bad}");
        }
        assert!(parse_list(b"http://h/\xff").is_empty());
    }
}
