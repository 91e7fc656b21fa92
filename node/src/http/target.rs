//! Request targets and hosts (RFC 9112, section 3.2).

use std::net::Ipv6Addr;

use super::error::ProxyError;

/// What is forwarded of a request target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target<'a> {
    /// What goes before the path: the slash of a URI that has none.
    pub(super) prefix: &'static str,
    /// The path and query, or `*`.
    pub(super) path: &'a str,
    /// The host of a target in absolute form; it replaces the `Host` field.
    pub(super) authority: Option<&'a str>,
}

/// Takes a target apart. Absolute form becomes origin form, so that the backend cannot read another host from it
/// than from the `Host` field.
pub(super) fn parse<'a>(method: &str, target: &'a str) -> Result<Target<'a>, ProxyError> {
    if memchr::memchr(b'#', target.as_bytes()).is_some() {
        return Err(ProxyError::BadRequest("the target has a fragment"));
    }
    let plain = |path| Target {
        prefix: "",
        path,
        authority: None,
    };
    if target.starts_with('/') {
        return Ok(plain(target));
    }
    if target == "*" && method == "OPTIONS" {
        return Ok(plain(target));
    }
    absolute(method, target).ok_or(ProxyError::BadRequest("the target is neither a path nor a URI"))
}

fn absolute<'a>(method: &str, target: &'a str) -> Option<Target<'a>> {
    let (scheme, rest) = target.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end)?;
    if authority.is_empty() || !is_host(authority.as_bytes()) {
        return None;
    }
    let (prefix, path) = match path {
        "" if method == "OPTIONS" => ("", "*"),
        _ if path.starts_with('/') => ("", path),
        _ => ("/", path),
    };
    Some(Target {
        prefix,
        path,
        authority: Some(authority),
    })
}

/// Whether a text is a host with an optional port (RFC 9110, section 4.2). User information is not part of it. It may
/// be empty, as that of a `Host` field may.
pub(super) fn is_host(text: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let plain = text.iter().take_while(|byte| is_plain(byte)).count();
    match text.get(plain..) {
        None | Some([]) => true,
        Some([b':', port @ ..]) => is_port(port),
        Some(_) => is_unusual_host(text),
    }
}

fn is_port(text: &[u8]) -> bool {
    text.len() <= 5 && text.iter().all(u8::is_ascii_digit)
}

/// An IPv6 address in brackets, or a name with bytes that are hardly seen in one.
#[cold]
fn is_unusual_host(text: &[u8]) -> bool {
    let (name, port) = match memchr::memrchr(b':', text).and_then(|colon| text.split_at_checked(colon)) {
        Some((name, port)) if !port.contains(&b']') => (name, port.get(1..).unwrap_or_default()),
        Some(_) | None => (text, &[][..]),
    };
    let is_name = match name {
        [b'[', address @ .., b']'] => {
            let address = std::str::from_utf8(address).unwrap_or_default();
            address.parse::<Ipv6Addr>().is_ok()
        }
        _ => name.iter().copied().all(is_name_byte),
    };
    is_name && is_port(port)
}

/// Bytes of a registered name (RFC 3986, section 3.2.2), and those of old host names.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'.' | b'-'
                | b'_'
                | b'~'
                | b'%'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        let show = |method, target| {
            let target = parse(method, target).ok()?;
            Some((
                format!("{}{}", target.prefix, target.path),
                target.authority.unwrap_or("-").to_owned(),
            ))
        };
        let some = |path: &str, host: &str| Some((path.to_owned(), host.to_owned()));
        assert_eq!(show("GET", "/a?b"), some("/a?b", "-"));
        assert_eq!(show("OPTIONS", "*"), some("*", "-"));
        assert_eq!(show("GET", "http://h:81/a"), some("/a", "h:81"));
        assert_eq!(show("GET", "HTTPS://[::1]"), some("/", "[::1]"));
        assert_eq!(show("GET", "http://h?a"), some("/?a", "h"));
        assert_eq!(show("OPTIONS", "http://h"), some("*", "h"));
        for (method, bad) in [
            ("GET", "*"),
            ("GET", "a"),
            ("GET", "/a#b"),
            ("GET", "ftp://h/"),
            ("GET", "http:///"),
            ("GET", "http://u@h/"),
            ("GET", "http://h:x/"),
            ("GET", "h:80"),
        ] {
            assert_eq!(show(method, bad), None, "{bad}");
        }
    }
    #[test]
    fn hosts() {
        for good in [
            "",
            "www.example.org",
            "a_b-c.example:8080",
            "h:",
            "10.0.0.1:1",
            "[::1]",
            "[fe80::1]:80",
            "a%20b",
            "a!$&'()*+,;=~b:1",
        ] {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in [
            "a b", "a:b", "a:1:2", "a:123456", "::1", "[::1", "[]", "[x]", "[::1]x", "[::1]:x", "a[", "u@h",
            "h/p", "h?q", "h#f", "h\\p", "a\"", "<a>", "\u{e9}",
        ] {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
    }
}
