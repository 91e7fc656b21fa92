//! Pages of this node's own, in Perlbal's form (reference, section 4.12).

use std::io::Write;

use super::error::ProxyError;

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

/// Appends a whole answer that says what went wrong.
pub fn write_page(error: ProxyError, rules: PageRules<'_>, out: &mut Vec<u8>) {
    let status = error.status();
    let reason = error.reason();
    let page = format!("<h1>{status} - {reason}</h1>\n{error}");
    let server = if rules.server_tokens {
        "Server: fleetbal\r\n"
    } else {
        ""
    };
    let written = write!(
        out,
        "HTTP/1.1 {status} {reason}\r\nContent-Type: text/html\r\nContent-Length: {}\r\n{server}",
        page.len()
    );
    debug_assert!(written.is_ok(), "a vector takes everything");
    if let Some(seconds) = error.retry_after() {
        out.extend_from_slice(format!("Retry-After: {seconds}\r\n").as_bytes());
    }
    out.extend_from_slice(rules.keep_alive.unwrap_or(b"Connection: close\r\n"));
    out.extend_from_slice(b"\r\n");
    if !rules.is_head {
        out.extend_from_slice(page.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages() {
        let error = ProxyError::Unavailable("No backend is available.");
        let mut rules = PageRules {
            server_tokens: true,
            is_head: false,
            keep_alive: None,
        };
        let page = |rules| {
            let mut out = Vec::new();
            write_page(error, rules, &mut out);
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
