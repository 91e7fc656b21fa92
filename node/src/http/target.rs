//! Request targets and hosts (RFC 9112, section 3.2).

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

/// Whether a text has only bytes of a host with an optional port. User information is not among them.
pub(super) fn is_host(text: &[u8]) -> bool {
    text.iter().all(|byte| {
        byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'.' | b'-'
                    | b':'
                    | b'_'
                    | b'['
                    | b']'
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
    })
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
            ("GET", "h:80"),
        ] {
            assert_eq!(show(method, bad), None, "{bad}");
        }
    }
}
