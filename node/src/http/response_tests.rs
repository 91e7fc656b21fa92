use proptest::prelude::*;

use super::*;

const RULES: ResponseRules<'_> = ResponseRules {
    method: Method::Get,
    http11: true,
    keep_alive: Some(b"Connection: keep-alive\r\n"),
    reproxy: false,
};

const OLD: ResponseRules<'_> = ResponseRules {
    http11: false,
    ..RULES
};

fn wire(text: &str) -> Vec<u8> {
    text.replace('|', "\r\n").into_bytes()
}

fn whole(input: &[u8], rules: ResponseRules<'_>) -> Result<Option<(ResponseHead, String)>, ProxyError> {
    let mut out = b"left over".to_vec();
    let head = read(input, rules, &mut out)?;
    Ok(head.map(|head| (head, String::from_utf8_lossy(&out).replace("\r\n", "|"))))
}

fn accepted(text: &str, rules: ResponseRules<'_>) -> (ResponseHead, String) {
    let input = wire(text);
    let expected = whole(&input, rules).unwrap().unwrap();
    for end in 0..expected.0.length {
        assert_eq!(whole(&input[..end], rules), Ok(None), "{text}: {end}");
    }
    expected
}

#[test]
fn edits() {
    let (head, out) = accepted(
        "HTTP/1.1 200 Fine|Server: x|Connection: close, X-Mine|Keep-Alive: timeout=5|X-Mine: 1|Content-Length: 3\
         |Host: stays||abc",
        RULES,
    );
    assert_eq!(
        out,
        "HTTP/1.1 200 Fine|Server: x|Content-Length: 3|Host: stays|Connection: keep-alive||"
    );
    assert_eq!((head.status, head.framing), (200, Framing::Length(3)));
    assert!(!head.backend_persists && head.client_persists && !head.dechunk);
    let (_, out) = accepted("HTTP/1.0 299\nA:b\nContent-Length: 0\n\n", RULES);
    assert_eq!(
        out,
        "HTTP/1.1 299 |A: b|Content-Length: 0|Connection: keep-alive||"
    );
}

#[test]
fn passes_on_what_is_not_its_own() {
    let fields = "Set-Cookie: a=b|Server: x|set-cookie: c=d|A: 1|a: |A: 1|Via: 1.0 y|Expect: 1|Content_Length: 9\
                  |X-Forwarded-For: z|X-REPROXY-FILE: /f|X-REPROXY-URL: u|X-Reproxy-Service: s|X-REPROXY-CACHE-FOR: 3";
    let (head, out) = accepted(&format!("HTTP/1.1 200 OK|{fields}|Content-Length: 1||"), RULES);
    assert_eq!(
        out,
        format!("HTTP/1.1 200 OK|{fields}|Content-Length: 1|Connection: keep-alive||")
    );
    assert!(!head.reproxy);
    let (_, out) = accepted(
        "HTTP/1.1 426 x|Upgrade: h2c|Connection: upgrade|Content-Length: 0||",
        RULES,
    );
    assert_eq!(out, "HTTP/1.1 426 x|Content-Length: 0|Connection: keep-alive||");
}

#[test]
fn reasons() {
    let first_line = |text: &str| {
        let out = accepted(&format!("{text}|Content-Length: 0||"), RULES).1;
        out.split('|').next().unwrap().to_owned()
    };
    assert_eq!(
        first_line("HTTP/1.1 404 Gone fishing"),
        "HTTP/1.1 404 Gone fishing"
    );
    assert_eq!(first_line("HTTP/1.0 999 x"), "HTTP/1.1 999 x");
    for (status, reason) in [
        (200, "OK"),
        (204, "No Content"),
        (206, "Partial Content"),
        (301, "Permanent Redirect"),
        (302, "Found"),
        (304, "Not Modified"),
        (400, "Bad request"),
        (403, "Forbidden"),
        (404, "Not Found"),
        (413, ""),
        (416, "Request range not satisfiable"),
        (500, "Internal Server Error"),
        (501, "Not Implemented"),
        (503, "Service Unavailable"),
    ] {
        let expected = format!("HTTP/1.1 {status} {reason}");
        for empty in ["", " ", " \u{e9}"] {
            assert_eq!(
                first_line(&format!("HTTP/1.1 {status}{empty}")),
                expected,
                "{empty:?}"
            );
        }
    }
}

#[test]
fn who_persists() {
    let persists = |text: &str, rules| {
        let head = accepted(text, rules).0;
        (head.backend_persists, head.client_persists)
    };
    let closing = ResponseRules {
        keep_alive: None,
        ..RULES
    };
    assert_eq!(
        persists("HTTP/1.1 200 OK|Content-Length: 1||", RULES),
        (true, true)
    );
    assert_eq!(
        persists("HTTP/1.1 200 OK|Content-Length: 1||", closing),
        (true, false)
    );
    assert_eq!(
        persists("HTTP/1.0 200 OK|Content-Length: 1||", RULES),
        (false, true)
    );
    assert_eq!(
        persists(
            "HTTP/1.0 200 OK|Content-Length: 1|Connection: Keep-Alive||",
            RULES
        ),
        (true, true)
    );
    assert_eq!(persists("HTTP/1.1 200 OK||", RULES), (false, false));
    assert_eq!(
        persists("HTTP/1.1 200 OK|Transfer-Encoding: chunked||", RULES),
        (true, true)
    );
    assert_eq!(
        persists("HTTP/1.1 200 OK|Transfer-Encoding: chunked||", OLD),
        (true, false)
    );
}

#[test]
fn old_clients_get_no_chunks() {
    let (head, out) = accepted("HTTP/1.1 200 OK|A: b|Transfer-Encoding: chunked|C: d||", OLD);
    assert!(head.dechunk);
    assert_eq!(out, "HTTP/1.1 200 OK|A: b|C: d|Connection: close||");
    let (_, out) = accepted("HTTP/1.1 200 OK|Transfer-Encoding: chunked|Trailer: T||", RULES);
    assert_eq!(
        out,
        "HTTP/1.1 200 OK|Transfer-Encoding: chunked|Trailer: T|Connection: keep-alive||"
    );
    let (_, out) = accepted("HTTP/1.1 200 OK|Transfer-Encoding: chunked|Trailer: T||", OLD);
    assert_eq!(out, "HTTP/1.1 200 OK|Connection: close||");
    let rules = ResponseRules {
        method: Method::Head,
        ..OLD
    };
    let (head, out) = accepted("HTTP/1.1 200 OK|Transfer-Encoding: chunked||", rules);
    assert_eq!((head.framing, head.dechunk), (Framing::Empty, false));
    assert_eq!(out, "HTTP/1.1 200 OK|Connection: keep-alive||");
}

#[test]
fn answers_without_a_body() {
    let (head, out) = accepted("HTTP/1.1 304 Not Modified|Content-Length: 5||", RULES);
    assert_eq!(head.framing, Framing::Empty);
    assert_eq!(
        out,
        "HTTP/1.1 304 Not Modified|Content-Length: 5|Connection: keep-alive||"
    );
    let (head, out) = accepted("HTTP/1.1 204 No Content|Content-Length: 5||", RULES);
    assert_eq!(head.framing, Framing::Empty);
    assert_eq!(out, "HTTP/1.1 204 No Content|Connection: keep-alive||");
    let rules = ResponseRules {
        method: Method::Head,
        ..RULES
    };
    let (head, out) = accepted("HTTP/1.1 200 OK|Content-Length: 5||", rules);
    assert_eq!(head.framing, Framing::Empty);
    assert_eq!(out, "HTTP/1.1 200 OK|Content-Length: 5|Connection: keep-alive||");
    let (head, _) = accepted("HTTP/1.1 200 OK||", rules);
    assert!(head.client_persists && head.backend_persists);
}

#[test]
fn interim_answers() {
    let (head, out) = accepted("HTTP/1.1 103 Early Hints|Link: x|Content-Length: 3||", RULES);
    assert!(head.is_interim());
    assert_eq!(out, "HTTP/1.1 103 Early Hints|Link: x||");
}

#[test]
fn refuses() {
    for bad in [
        "HTTP/1.1 101 Switching Protocols|Upgrade: x||",
        "HTTP/1.1 099 x||",
        "HTTP/1.1 20 OK||",
        "HTTP/1.1 2000 OK||",
        "HTTP/1.1 000 OK||",
        "HTTP/1.1 2x0 OK||",
        "HTTP/1.1  200 OK||",
        "HTTP/1.1 200\tOK||",
        "HTTP/1.1 200 O\u{0}K||",
        "HTTP/1.1 200 O\rK||",
        " HTTP/1.1 200 OK||",
        "HTTP/1.1 200 OK|: b||",
        "HTTP/1.1 200 OK|A||",
        "HTTP/1.1 200 OK|A: \u{0}||",
        "HTTP/1.1 200 OK|Content-Length: ||",
        "HTTP/1.1 200 OK|Content-Length: -1||",
        "HTTP/1.1 200 OK|Content-Length: 1, 1||",
        "HTTP/1.1 200 OK|Transfer-Encoding: chunked, chunked||",
        "HTTP/1.1 200 OK|Transfer-Encoding: identity||",
        "HTTP/2.0 200 OK||",
        "HTTP/1.1 200 OK|A : b||",
        "HTTP/1.1 200 OK|A: b| c||",
        "HTTP/1.1 200 OK|A: b\rc||",
        "HTTP/1.1 200 OK|Content-Length: x||",
        "HTTP/1.1 200 OK|Content-Length: 1|Content-Length: 2||",
        "HTTP/1.1 200 OK|Content-Length: 1|Transfer-Encoding: chunked||",
        "HTTP/1.1 200 OK|Transfer-Encoding: gzip, chunked||",
        "HTTP/1.1 200 OK|Transfer-Encoding: gzip||",
        "HTTP/1.0 200 OK|Transfer-Encoding: chunked||",
        "SSH-2.0-x||",
        "<html>",
    ] {
        let status = whole(&wire(bad), RULES).map_err(ProxyError::status);
        assert_eq!(status, Err(502), "{bad}");
    }
    let large = [b"HTTP/1.1 200 OK\r\nA: ".to_vec(), vec![b'x'; MAX_HEAD]].concat();
    assert_eq!(whole(&large, RULES), Err(TOO_LARGE));
    let many = wire(&format!("HTTP/1.1 200 OK|{}|", "A: b|".repeat(101)));
    assert_eq!(whole(&many, RULES), Err(TOO_LARGE));
}

proptest! {
    #[test]
    fn any_bytes_give_the_same_however_they_are_cut(
        input in proptest::collection::vec(prop_oneof![
            Just(b"\r\n".to_vec()), Just(b"\n".to_vec()), Just(b"\r".to_vec()), Just(b"HTTP/1.1 200 OK\r\n".to_vec()),
            Just(b"Content-Length: 1\r\n".to_vec()), Just(b": ".to_vec()),
            proptest::collection::vec(any::<u8>(), 1..3),
        ], 0..12),
    ) {
        let input = input.concat();
        let expected = whole(&input, RULES);
        for end in 0..input.len() {
            match whole(&input[..end], RULES) {
                Ok(None) => {}
                early => prop_assert_eq!(&early, &expected),
            }
        }
    }
}
