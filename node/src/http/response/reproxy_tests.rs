use super::super::super::request::Method;
use super::super::{ResponseRules, read};
use super::*;

fn wire(text: &str) -> Vec<u8> {
    text.replace('|', "\r\n").into_bytes()
}

const FIRST: &str = "HTTP/1.1 204 Nothing|A: b|x-reproxy-file:  /f |X-REPROXY-URL: http://a/ http://b/|X-Reproxy-Service: s\
    |X-REPROXY-EXPECTED-SIZE: 3|X-REPROXY-CACHE-FOR: 5; Etag|Content-Length: 9|X-REPROXY-FILE: /other|Keep-Alive: 3\
    |Connection: close, X-Mine|X-Mine: 1|Transfer-Encoding: chunked|Trailer: T|Content-Type: text/css|ETag: \"1\"||rest";

const PLAIN: Replacements<'_> = Replacements {
    status: None,
    body: Framing::Length(3),
    remove: &[],
    set: &[],
    keep_alive: Some(b"Connection: keep-alive\r\n"),
};

fn rewritten(text: &str, new: Replacements<'_>) -> Result<String, u16> {
    let mut out = b"left over".to_vec();
    rewrite(&wire(text), new, &mut out).map_err(ProxyError::status)?;
    Ok(String::from_utf8(out).unwrap().replace("\r\n", "|"))
}

#[test]
fn reads_what_is_asked_for() {
    let input = wire(FIRST);
    assert_eq!(
        reproxy_fields(&input),
        Some(ReproxyFields {
            status: 204,
            file: Some(b"/f"),
            url: Some(b"http://a/ http://b/"),
            service: Some(b"s"),
            expected_size: Some(b"3"),
            cache_for: Some(b"5; Etag"),
        })
    );
    assert_eq!(field(&input, "etag"), Some(&b"\"1\""[..]));
    assert_eq!(field(&input, "none"), None);
    assert_eq!(reproxy_fields(&input[..40]), None);
    assert_eq!(reproxy_fields(b"SSH-2.0-x\r\n\r\n"), None);
}

#[test]
fn notices_it_only_where_it_may() {
    let reproxy = |text: &str, reproxy| {
        let rules = ResponseRules {
            method: Method::Get,
            http11: true,
            keep_alive: None,
            reproxy,
        };
        let mut out = Vec::new();
        let head = read(&wire(text), rules, &mut out).unwrap().unwrap();
        (head.reproxy, String::from_utf8(out).unwrap().replace("\r\n", "|"))
    };
    for name in ["X-REPROXY-FILE", "x-reproxy-url", "X-Reproxy-Service"] {
        let text = format!("HTTP/1.1 500 Oh|A: b|{name}: x|Content-Length: 0||");
        assert!(reproxy(&text, true).0, "{name}");
        let (noticed, out) = reproxy(&text, false);
        assert!(!noticed);
        assert_eq!(out, text.replace("||", "|Connection: close||"));
    }
    for text in [
        "HTTP/1.1 200 OK|X-REPROXY-CACHE-FOR: 5|X-REPROXY-EXPECTED-SIZE: 1|X-REPROXY-FILES: x||",
        "HTTP/1.1 103 Hints|X-REPROXY-FILE: x||",
    ] {
        assert!(!reproxy(text, true).0, "{text}");
    }
}

#[test]
fn writes_the_head_again() {
    assert_eq!(
        rewritten(FIRST, Replacements { status: Some(200), ..PLAIN }),
        Ok("HTTP/1.1 200 OK|A: b|Content-Type: text/css|ETag: \"1\"|Content-Length: 3|Connection: keep-alive||".to_owned())
    );
    let new = Replacements {
        status: Some(206),
        remove: &["ETAG"],
        set: &[("Content-Range", b"bytes 0-2/9"), ("a", b"")],
        ..PLAIN
    };
    assert_eq!(
        rewritten(FIRST, new),
        Ok(
            "HTTP/1.1 206 Partial Content|Content-Type: text/css|Content-Range: bytes 0-2/9|a: |Content-Length: 3\
             |Connection: keep-alive||"
                .to_owned()
        )
    );
}

#[test]
fn says_how_the_new_body_ends() {
    let end = |status, body| {
        let new = Replacements {
            status,
            body,
            ..PLAIN
        };
        rewritten("HTTP/1.0 200 Fine|Content-Length: 9||", new)
    };
    let ok = |text: &str| Ok(text.to_owned());
    assert_eq!(
        end(None, Framing::Empty),
        ok("HTTP/1.1 200 Fine|Content-Length: 0|Connection: keep-alive||")
    );
    assert_eq!(
        end(None, Framing::Chunked),
        ok("HTTP/1.1 200 Fine|Transfer-Encoding: chunked|Connection: keep-alive||")
    );
    assert_eq!(
        end(None, Framing::UntilClose),
        ok("HTTP/1.1 200 Fine|Connection: close||")
    );
    assert_eq!(
        end(Some(204), Framing::Empty),
        ok("HTTP/1.1 204 No Content|Connection: keep-alive||")
    );
    assert_eq!(
        end(Some(304), Framing::Empty),
        ok("HTTP/1.1 304 Not Modified|Content-Length: 0|Connection: keep-alive||")
    );
    let closing = Replacements {
        keep_alive: None,
        ..PLAIN
    };
    assert_eq!(
        rewritten("HTTP/1.1 200 OK||", closing),
        ok("HTTP/1.1 200 OK|Content-Length: 3|Connection: close||")
    );
    assert_eq!(end(Some(100), Framing::Empty), Err(502));
}

#[test]
fn nothing_is_smuggled_in() {
    for (name, value) in [
        ("", &b"x"[..]),
        ("A b", b"x"),
        ("A:", b"x"),
        ("A\r\nB", b"x"),
        ("A", b"x\r\nB: c"),
        ("A", b"x\ny"),
        ("A", b"x\ry"),
        ("A", b"\0"),
        ("Content-Length", b"1"),
        ("transfer-encoding", b"chunked"),
        ("Connection", b"close"),
        ("Keep-Alive", b"x"),
    ] {
        let set = [(name, value)];
        let new = Replacements { set: &set, ..PLAIN };
        assert_eq!(
            rewritten("HTTP/1.1 200 OK||", new),
            Err(502),
            "{name:?}: {value:?}"
        );
    }
    assert_eq!(rewritten("HTTP/1.1 200 OK|A: b", PLAIN), Err(502));
}
