//! Pages of this node's own, in Perlbal's form (reference, section 4.12).

use std::borrow::Cow;
use std::io::Write;

use super::error::ProxyError;

/// What a page says.
#[derive(Debug, Clone)]
pub struct Page<'a> {
    /// The status code.
    pub status: u16,
    /// Its reason phrase.
    pub reason: &'static str,
    /// What stands below them.
    pub message: Cow<'a, str>,
    /// After how many seconds it is worth another try.
    pub retry_after: Option<u32>,
}

impl<'a> Page<'a> {
    /// A page with this message, which may be empty.
    pub fn new(status: u16, reason: &'static str, message: impl Into<Cow<'a, str>>) -> Self {
        Self {
            status,
            reason,
            message: message.into(),
            retry_after: None,
        }
    }
}

impl From<(u16, &'static str, &'static str)> for Page<'_> {
    /// Status code, reason phrase and message.
    fn from((status, reason, message): (u16, &'static str, &'static str)) -> Self {
        Self::new(status, reason, message)
    }
}

impl From<ProxyError> for Page<'_> {
    fn from(error: ProxyError) -> Self {
        Self {
            retry_after: error.retry_after(),
            ..Self::new(error.status(), error.reason(), error.to_string())
        }
    }
}

/// How a page is sent.
#[derive(Debug, Clone, Copy)]
pub struct PageRules<'a> {
    /// Whether it says who made it.
    pub server_tokens: bool,
    /// Whether it answers HEAD.
    pub is_head: bool,
    /// The lines that announce that the connection is kept open; none: it is closed.
    pub keep_alive: Option<&'a [u8]>,
}

/// Appends a whole answer. How many bytes its body is said to have.
pub fn write_page(page: &Page<'_>, rules: PageRules<'_>, out: &mut Vec<u8>) -> usize {
    let Page {
        status,
        reason,
        message,
        retry_after,
    } = page;
    let page = format!("<h1>{status} - {reason}</h1>\n{message}");
    // RFC 9110, section 15.3.5.
    let has_content = *status != 204;
    let server = if rules.server_tokens {
        "Server: fleetbal\r\n"
    } else {
        ""
    };
    let content = if has_content {
        format!("Content-Type: text/html\r\nContent-Length: {}\r\n", page.len())
    } else {
        String::new()
    };
    let written = write!(out, "HTTP/1.1 {status} {reason}\r\n{content}{server}");
    debug_assert!(written.is_ok(), "a vector takes everything");
    if let Some(seconds) = retry_after {
        out.extend_from_slice(format!("Retry-After: {seconds}\r\n").as_bytes());
    }
    out.extend_from_slice(rules.keep_alive.unwrap_or(b"Connection: close\r\n"));
    out.extend_from_slice(b"\r\n");
    if has_content && !rules.is_head {
        out.extend_from_slice(page.as_bytes());
    }
    page.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages() {
        let said = Page::from(ProxyError::Unavailable("No backend is available."));
        let mut rules = PageRules {
            server_tokens: true,
            is_head: false,
            keep_alive: None,
        };
        let page = |rules| {
            let mut out = Vec::new();
            write_page(&said, rules, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            page(rules),
            "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/html\r\nContent-Length: 59\r\n\
             Server: fleetbal\r\nConnection: close\r\n\r\n<h1>503 - Service Unavailable</h1>\nNo backend is available."
        );
        rules.server_tokens = false;
        rules.is_head = true;
        rules.keep_alive = Some(b"Connection: keep-alive\r\n");
        assert_eq!(
            page(rules),
            "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/html\r\nContent-Length: 59\r\n\
             Connection: keep-alive\r\n\r\n"
        );
    }
}
