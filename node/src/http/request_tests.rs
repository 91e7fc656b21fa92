use proptest::prelude::*;

use super::*;

const UNTRUSTED: Forwarding<'_> = Forwarding {
    peer: b"9.9.9.9",
    forwarded_for: ForwardedFor::Replace,
    persist_backend: true,
    special: None,
    secure: false,
};

/// `|` stands for CR LF, so that a head fits on a line.
fn wire(text: &str) -> Vec<u8> {
    text.replace('|', "\r\n").into_bytes()
}

fn whole(input: &[u8], rules: Forwarding<'_>) -> Result<Option<(RequestHead, String)>, ProxyError> {
    let mut out = b"left over".to_vec();
    let head = read(input, rules, &mut out)?;
    Ok(head.map(|head| (head, String::from_utf8_lossy(&out).replace("\r\n", "|"))))
}

/// Reads a request as it arrives byte by byte: before the end there is nothing, or the final error already.
fn every_split(input: &[u8], rules: Forwarding<'_>) -> Result<Option<(RequestHead, String)>, ProxyError> {
    let expected = whole(input, rules);
    for end in 0..input.len() {
        match whole(&input[..end], rules) {
            Ok(None) => {}
            early => assert_eq!(early, expected, "after {end} bytes"),
        }
    }
    expected
}

fn accepted(text: &str) -> (RequestHead, String) {
    every_split(&wire(text), UNTRUSTED).unwrap().unwrap()
}

fn forwarded(text: &str) -> String {
    accepted(text).1
}

fn refused(text: &str) -> u16 {
    every_split(&wire(text), UNTRUSTED).unwrap_err().status()
}

const END: &str = "X-Forwarded-For: 9.9.9.9|Connection: keep-alive||";

#[test]
fn copies_what_is_canonical() {
    let (head, out) = accepted("GET /x?y HTTP/1.1|Host: h|A: b|C: d e||rest");
    assert_eq!(out, format!("GET /x?y HTTP/1.1|Host: h|A: b|C: d e|{END}"));
    assert_eq!(head.length, "GET /x?y HTTP/1.1||Host: h||A: b||C: d e||||".len());
    assert_eq!(head.framing, Framing::Empty);
    assert_eq!(head.method, Method::Get);
    assert!(head.http11 && head.keep_alive);
}

#[test]
fn mends_what_is_not() {
    let out = forwarded("\r\nGET / HTTP/1.1\nHost:h\nA:  b \t|B:\t|C: d|E: f\n|");
    assert_eq!(out, format!("GET / HTTP/1.1|Host: h|A: b|B: |C: d|E: f|{END}"));
}

#[test]
fn removes_what_belongs_to_the_connection() {
    let out = forwarded(
        "GET / HTTP/1.1|Host: h|Connection: close, X-Mine|Keep-Alive: 3|x-mine: 1|Proxy-Connection: x|TE: trailers\
         |Upgrade: h2c|connection: Other ,, Host, Content-Length|A: b|other: 2|Content-Length: 0||",
    );
    assert_eq!(
        out,
        format!("GET / HTTP/1.1|Host: h|A: b|Content-Length: 0|{END}")
    );
}

#[test]
fn passes_on_what_is_not_its_own() {
    let fields = "Host: h|Set-Cookie: a=b|A: 1|a: 2|Set-Cookie: c=d|EMPTY: |a: 1|X-Forwarded-Proto: https|Range: bytes=0-1\
                  |Via: 1.0 x|Max-Forwards: 3|Authorization: Basic eDp5|Proxy-Authorization: z|Trailer: A\
                  |X-Proxy-Capabilities: reproxy-file|Weird!#$%&'*+.^_`~: \u{e9}\tx";
    for first in ["get /x", "M-SEARCH /%20\u{e9}\\\"?<>//../x", "OPTIONS *"] {
        let out = forwarded(&format!("{first} HTTP/1.1|{fields}||"));
        assert_eq!(out, format!("{first} HTTP/1.1|{fields}|{END}"));
    }
}

#[test]
fn refuses_to_upgrade_by_not_passing_it_on() {
    let upgrade = |fields: &str| forwarded(&format!("GET /chat HTTP/1.1|Host: h|{fields}|A: b||"));
    assert_eq!(
        upgrade("Upgrade: websocket|Connection: keep-alive, Upgrade|Sec-WebSocket-Version: 13"),
        format!("GET /chat HTTP/1.1|Host: h|Sec-WebSocket-Version: 13|A: b|{END}")
    );
    assert_eq!(
        upgrade("Connection: Upgrade, HTTP2-Settings|Upgrade: h2c|HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"),
        format!("GET /chat HTTP/1.1|Host: h|A: b|{END}")
    );
}

#[test]
fn removes_what_cgi_takes_for_what_only_this_node_says() {
    let fields = "x_forwarded_for: 1.1.1.1|X-Forwarded_For: 1.1.1.1|X_Host: x|X_Forwarded-Host: x|Content_Length: 5\
                  |Transfer_Encoding: chunked|X_Forwarded_Proto: x|A_B: 1|User_Agent12345: x|X_Forwarded_Thing: x";
    let rules = |forwarded_for| Forwarding {
        forwarded_for,
        ..UNTRUSTED
    };
    for forwarded_for in [ForwardedFor::Replace, ForwardedFor::Append] {
        let input = wire(&format!("GET / HTTP/1.1|Host: h|{fields}||"));
        let (head, out) = whole(&input, rules(forwarded_for)).unwrap().unwrap();
        assert_eq!(head.framing, Framing::Empty);
        assert_eq!(
            out,
            format!("GET / HTTP/1.1|Host: h|A_B: 1|User_Agent12345: x|X_Forwarded_Thing: x|{END}")
        );
    }
}

#[test]
fn a_backend_is_told_of_tls_by_whom_it_can_believe() {
    let out = |secure, forwarded_for, said: &str| {
        let rules = Forwarding {
            forwarded_for,
            secure,
            ..UNTRUSTED
        };
        let input = wire(&format!("GET / HTTP/1.1|Host: h{said}||"));
        whole(&input, rules).unwrap().unwrap().1
    };
    let said = "|x-forwarded-PROTO: gopher";
    for forwarded_for in [ForwardedFor::Replace, ForwardedFor::Append, ForwardedFor::Keep] {
        assert!(out(false, forwarded_for, said).contains(said));
        assert!(!out(false, forwarded_for, "").contains("Proto"));
        let told = out(true, forwarded_for, "");
        assert!(told.contains("|X-Forwarded-Proto: https|"), "{told}");
    }
    let replaced = out(true, ForwardedFor::Replace, said);
    assert!(!replaced.contains("gopher") && replaced.contains("|X-Forwarded-Proto: https|"));
    let kept = out(true, ForwardedFor::Append, said);
    assert!(kept.contains(said) && !kept.contains("https"));
}

#[test]
fn keep_alive_by_version_and_option() {
    let keep = |text: &str| accepted(text).0.keep_alive;
    assert!(!keep("GET / HTTP/1.1|Host: h|Connection: Close||"));
    assert!(keep("GET / HTTP/1.0|Connection: Keep-Alive||"));
    assert!(!keep("GET / HTTP/1.0||"));
    assert!(!keep("GET / HTTP/1.0|Connection: keep-alive, close||"));
}

#[test]
fn says_close_to_a_backend_that_is_not_kept() {
    let rules = Forwarding {
        persist_backend: false,
        ..UNTRUSTED
    };
    let (_, out) = whole(&wire("GET / HTTP/1.1|Host: h||"), rules).unwrap().unwrap();
    assert_eq!(
        out,
        "GET / HTTP/1.1|Host: h|X-Forwarded-For: 9.9.9.9|Connection: close||"
    );
}

#[test]
fn forwarded_for_by_trust() {
    let text = "GET / HTTP/1.1|Host: h|X-Forwarded-For: 1.1.1.1|X-Host: x|X-Forwarded-Host: y|X-FORWARDED-FOR: 2.2.2.2||";
    let out = |forwarded_for| {
        let rules = Forwarding {
            forwarded_for,
            ..UNTRUSTED
        };
        every_split(&wire(text), rules).unwrap().unwrap().1
    };
    assert_eq!(
        out(ForwardedFor::Replace),
        format!("GET / HTTP/1.1|Host: h|{END}")
    );
    assert_eq!(
        out(ForwardedFor::Append),
        "GET / HTTP/1.1|Host: h|X-Host: x|X-Forwarded-Host: y|X-Forwarded-For: 1.1.1.1, 2.2.2.2, 9.9.9.9\
         |Connection: keep-alive||"
    );
    assert_eq!(
        out(ForwardedFor::Keep),
        text.replace("||", "|Connection: keep-alive||")
    );
}

#[test]
fn what_trusted_peers_say_is_joined() {
    let rules = Forwarding {
        forwarded_for: ForwardedFor::Append,
        ..UNTRUSTED
    };
    for (said, sent) in [
        ("", "9.9.9.9"),
        ("|X-Forwarded-For:", "9.9.9.9"),
        (
            "|X-Forwarded-For: 1.1.1.1,2.2.2.2 ,, unknown,",
            "1.1.1.1, 2.2.2.2, unknown, 9.9.9.9",
        ),
        (
            "|x-forwarded-for: 1.1.1.1|A: b|X-Forwarded-For: ,2.2.2.2",
            "1.1.1.1, 2.2.2.2, 9.9.9.9",
        ),
    ] {
        let input = wire(&format!("GET / HTTP/1.1|Host: h{said}||"));
        let out = whole(&input, rules).unwrap().unwrap().1;
        let end = format!("|X-Forwarded-For: {sent}|Connection: keep-alive||");
        assert!(out.ends_with(&end), "{said}: {out}");
        assert_eq!(out.to_ascii_lowercase().matches("x-forwarded-for").count(), 1);
    }
}

#[test]
fn framing() {
    let framing = |text: &str| accepted(text).0.framing;
    assert_eq!(
        framing("POST / HTTP/1.1|Host: h|Content-Length: 3||abc"),
        Framing::Length(3)
    );
    assert_eq!(
        framing("POST / HTTP/1.1|Host: h|Content-Length: 3|Content-Length: 3||"),
        Framing::Length(3)
    );
    assert_eq!(
        framing("POST / HTTP/1.1|Host: h|Transfer-Encoding: Chunked||"),
        Framing::Chunked
    );
    assert_eq!(framing("POST / HTTP/1.1|Host: h||"), Framing::Empty);
    assert_eq!(framing("GET / HTTP/1.0|Content-Length: 1||"), Framing::Length(1));
    let twice = forwarded("POST / HTTP/1.1|Host: h|Content-Length: 3|Content-Length: 3||");
    assert_eq!(twice, format!("POST / HTTP/1.1|Host: h|Content-Length: 3|{END}"));
}

#[test]
fn refuses_ambiguous_framing() {
    for bad in [
        "Content-Length: 3|Transfer-Encoding: chunked",
        "Transfer-Encoding: chunked|Content-Length: 3",
        "Content-Length: 3|Content-Length: 4",
        "Content-Length: 3, 3",
        "Content-Length: +3",
        "Content-Length: ",
        "Content-Length: 0x3",
        "Content-Length: 3 3",
        "Content-Length: -3",
        "Content-Length: \u{b2}",
        "Content-Length: 99999999999999999999",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked|Transfer-Encoding: chunked",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding:",
        "Transfer-Encoding: ,chunked",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding: chunked;a=b",
        "Transfer-Encoding: chu\tnked",
        "Transfer-Encoding: chunked\u{b}",
        "Transfer-Encoding: \u{a0}chunked",
        "Transfer-Encoding\u{0}: chunked",
        "Transfer-Encoding: identity|Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding : chunked",
        " Transfer-Encoding: chunked",
        "A: b| Transfer-Encoding: chunked",
        "A: b|\tc",
        "A: b\rTransfer-Encoding: chunked",
        "A: b\r\r\nC: d",
        "A: \0",
        "A: b\u{b}c",
        "A",
        ": a",
        "A\u{e9}: b",
    ] {
        assert_eq!(refused(&format!("POST / HTTP/1.1|Host: h|{bad}||")), 400, "{bad}");
    }
    assert_eq!(refused("POST / HTTP/1.0|Transfer-Encoding: chunked||"), 400);
}

#[test]
fn refuses_other_requests() {
    for (bad, status) in [
        ("GET / HTTP/1.1||", 400),
        ("GET / HTTP/1.1|Host: a|Host: a||", 400),
        ("GET / HTTP/1.0|Host: a|Host: b||", 400),
        ("GET / HTTP/1.1|Host: a b||", 400),
        ("GET / HTTP/1.1|Host: u@a||", 400),
        ("GET / HTTP/1.1|Host: a/b||", 400),
        ("GET / HTTP/1.1|Host: a:b||", 400),
        ("GET / HTTP/1.1|Host: a:80:80||", 400),
        ("GET / HTTP/1.1|Host: [a]||", 400),
        ("GET x HTTP/1.1|Host: a||", 400),
        ("GET http://a/ HTTP/1.1||", 400),
        ("GET http://a:b/ HTTP/1.1|Host: a||", 400),
        ("GET http://a/ HTTP/1.1|Host: a/b||", 400),
        ("GET /\t HTTP/1.1|Host: a||", 400),
        ("GET /\u{7f} HTTP/1.1|Host: a||", 400),
        ("GET /\u{0} HTTP/1.1|Host: a||", 400),
        ("GET /\r HTTP/1.1|Host: a||", 400),
        ("GET\t/\tHTTP/1.1|Host: a||", 400),
        ("GET / HTTP/1.1 |Host: a||", 400),
        ("GET / HTTP/1.1\r|Host: a||", 400),
        ("\rGET / HTTP/1.1|Host: a||", 400),
        ("GET / HTTP/01.1|Host: a||", 505),
        ("GET / HTTP/1.10|Host: a||", 400),
        ("GET / HTTP/11|Host: a||", 505),
        ("* / HTTP/1.1|A||", 400),
        ("GET  / HTTP/1.1|Host: a||", 400),
        ("GET /  HTTP/1.1|Host: a||", 400),
        ("GET / a HTTP/1.1|Host: a||", 400),
        ("GET /||", 400),
        ("G(T / HTTP/1.1|Host: a||", 400),
        (" GET / HTTP/1.1|Host: a||", 400),
        ("GET / HTTQ/1.1|Host: a||", 400),
        ("GET / http/1.1|Host: a||", 400),
        ("GET / HTTP/2.0|Host: a||", 505),
        ("PRI * HTTP/2.0||SM||", 505),
        ("GET / HTTP/1.2|Host: a||", 505),
        ("CONNECT a:1 HTTP/1.1|Host: a||", 501),
        ("POST / HTTP/1.1|Host: a|Transfer-Encoding: gzip, chunked||", 501),
        (
            "POST / HTTP/1.1|Host: a|Transfer-Encoding: gzip|Transfer-Encoding: chunked||",
            501,
        ),
        ("POST / HTTP/1.1|Host: a|Expect: more||", 417),
        ("POST / HTTP/1.1|Host: a|Expect: 100-continue|Expect: ||", 417),
        ("POST / HTTP/1.1|Host: a|Expect: 100-continue, more||", 417),
        ("\u{16}\u{3}\u{1}||", 400),
    ] {
        let got = whole(&wire(bad), UNTRUSTED);
        assert_eq!(got.map_err(ProxyError::status), Err(status), "{bad}");
        // Versions are told apart by what follows, so only the code of a broken request line may differ early.
        for end in 0..bad.len().min(wire(bad).len()) {
            let early = whole(&wire(bad)[..end], UNTRUSTED);
            assert!(!matches!(early, Ok(Some(_))), "{bad}: {end}");
        }
    }
}

#[test]
fn limits() {
    let many = format!("GET / HTTP/1.1|Host: h|{}|", "A: b|".repeat(100));
    assert_eq!(refused(&many), 431);
    let most = format!("GET / HTTP/1.1|Host: h|{}|", "A: b|".repeat(99));
    assert!(whole(&wire(&most), UNTRUSTED).unwrap().is_some());
    let status = |input: &str| {
        let input = wire(input);
        let result = whole(&input, UNTRUSTED).map_err(ProxyError::status);
        // Also where it is not complete.
        let partial = whole(&input[..input.len() - 1], UNTRUSTED).map_err(ProxyError::status);
        assert!(partial == result || partial == Ok(None));
        result.map(|head| head.is_some())
    };
    let long = |target: usize, field: usize| {
        format!(
            "GET /{} HTTP/1.1|Host: h|A: {}||",
            "x".repeat(target),
            "y".repeat(field)
        )
    };
    assert_eq!(status(&long(60_000, 30_000)), Ok(true));
    assert_eq!(status(&long(66_000, 0)), Err(414));
    assert_eq!(status(&long(200_000, 0)), Err(414));
    assert_eq!(status(&long(1, 102_400)), Err(431));
    assert_eq!(
        whole(&vec![b'A'; MAX_HEAD + 1], UNTRUSTED),
        Err(ProxyError::RequestLineTooLong)
    );
    let fields = [b"GET / HTTP/1.1\r\nA: ".to_vec(), vec![b'x'; MAX_HEAD]].concat();
    assert_eq!(whole(&fields, UNTRUSTED), Err(ProxyError::HeadTooLarge));
}

#[test]
fn absolute_targets_decide_the_host() {
    let out = forwarded("GET http://one:81/x HTTP/1.1|Host: two|A: b||");
    assert_eq!(out, format!("GET /x HTTP/1.1|Host: one:81|A: b|{END}"));
    let out = forwarded("GET http://one HTTP/1.0||");
    assert_eq!(out, format!("GET / HTTP/1.1|Host: one|{END}"));
}

#[test]
fn old_clients() {
    assert_eq!(forwarded("GET / HTTP/1.0||"), format!("GET / HTTP/1.0|{END}"));
    let out = forwarded("POST / HTTP/1.0|Host: h|Expect: 100-continue|Content-Length: 1||");
    assert_eq!(out, format!("POST / HTTP/1.1|Host: h|Content-Length: 1|{END}"));
    let out = forwarded("POST / HTTP/1.1|Host: h|Expect: 100-Continue|Content-Length: 1||");
    assert_eq!(
        out,
        format!("POST / HTTP/1.1|Host: h|Expect: 100-Continue|Content-Length: 1|{END}")
    );
}

proptest! {
    #[test]
    fn what_is_forwarded_is_read_the_same_way(
        names in proptest::collection::vec("[A-Za-z][A-Za-z0-9-]{0,16}", 0..12),
        blanks in proptest::collection::vec("[ \t]{0,2}", 12),
        values in proptest::collection::vec("[!-~]{0,3}( ?[!-~]{1,8})?", 12),
        ends in proptest::collection::vec(prop_oneof![Just("\r\n"), Just("\n")], 12),
    ) {
        let mut input = b"GET / HTTP/1.1\r\nHost: h\r\n".to_vec();
        for (((name, blank), value), end) in names.iter().zip(&blanks).zip(&values).zip(&ends) {
            input.extend_from_slice(format!("{name}:{blank}{value}{end}").as_bytes());
        }
        input.extend_from_slice(b"\r\n");
        let mut first = Vec::new();
        let Ok(Some(head)) = read(&input, UNTRUSTED, &mut first) else { return Ok(()) };
        prop_assert_eq!(head.length, input.len());
        prop_assert!(!first.windows(2).any(|w| w[1] == b'\n' && w[0] != b'\r'));
        let mut second = Vec::new();
        let again = read(&first, UNTRUSTED, &mut second).unwrap().unwrap();
        prop_assert_eq!(again.length, first.len());
        prop_assert_eq!(again.framing, head.framing);
        prop_assert_eq!(second, first);
    }

    #[test]
    fn any_bytes_give_the_same_however_they_are_cut(
        input in proptest::collection::vec(prop_oneof![
            Just(b"\r\n".to_vec()), Just(b"\n".to_vec()), Just(b"\r".to_vec()), Just(b"GET / HTTP/1.1\r\nHost: h\r\n".to_vec()),
            Just(b"Content-Length: 1\r\n".to_vec()), Just(b": ".to_vec()), Just(b"Transfer-Encoding: chunked".to_vec()),
            proptest::collection::vec(any::<u8>(), 1..3),
        ], 0..12),
    ) {
        let input = input.concat();
        let status = |result: Result<Option<(RequestHead, String)>, ProxyError>| {
            result.map_err(ProxyError::status)
        };
        let expected = status(whole(&input, UNTRUSTED));
        for end in 0..input.len() {
            match status(whole(&input[..end], UNTRUSTED)) {
                Ok(None) => {}
                early => prop_assert_eq!(&early, &expected),
            }
        }
    }
}
