use super::super::request::{self, ForwardedFor, Forwarding, RequestHead};
use super::*;

/// `|` stands for CR LF.
fn read(
    text: &str,
    special: &Special,
    forwarded_for: ForwardedFor,
) -> Result<(RequestHead, String), ProxyError> {
    let rules = Forwarding {
        peer: b"9.9.9.9",
        forwarded_for,
        persist_backend: true,
        special: Some(special),
        secure: false,
    };
    let mut out = b"left over".to_vec();
    let head = request::read(text.replace('|', "\r\n").as_bytes(), rules, &mut out)?.unwrap();
    Ok((head, String::from_utf8(out).unwrap().replace("\r\n", "|")))
}

fn forwarded(text: &str, special: &Special) -> String {
    read(text, special, ForwardedFor::Replace).unwrap().1
}

const END: &str = "X-Forwarded-For: 9.9.9.9|Connection: keep-alive|";

fn with_rules(fill: impl FnOnce(&mut HeaderRules)) -> Special {
    let mut special = Special::default();
    fill(&mut special.header_rules);
    special
}

#[test]
fn nothing_special_changes_nothing() {
    let special = Special::default();
    let (head, out) = read(
        "GET / HTTP/1.1|Host: h|Cookie: a=b||",
        &special,
        ForwardedFor::Replace,
    )
    .unwrap();
    assert_eq!(out, format!("GET / HTTP/1.1|Host: h|Cookie: a=b|{END}|"));
    assert_eq!((head.high_priority, head.hash), (false, 0));
}

#[test]
fn header_rules_remove_then_set() {
    let special = with_rules(|rules| {
        rules.insert("X-New", b"first").unwrap();
        rules.insert("x-new", b" last ").unwrap();
        rules.insert("X-There", b"set").unwrap();
        rules.insert("X-Both", b"0").unwrap();
        rules.remove("x-both").unwrap();
        rules.remove("Accept-Encoding").unwrap();
    });
    let out = forwarded(
        "GET / HTTP/1.1|Host: h|x-THERE: 1|X-Both: 2|accept-encoding: gzip|A: b|X-there: 3|Accept-Encoding: br||",
        &special,
    );
    assert_eq!(
        out,
        format!("GET / HTTP/1.1|Host: h|x-THERE: set|A: b|{END}X-New: last|X-Both: 0||")
    );
}

#[test]
fn header_rules_leave_the_body_alone() {
    let mut rules = HeaderRules::default();
    for name in ["Connection", "content-length", "TRANSFER-ENCODING"] {
        assert_eq!(rules.remove(name), Err(HeaderRuleError::Framing), "{name}");
        assert_eq!(rules.insert(name, b"1"), Err(HeaderRuleError::Framing), "{name}");
    }
    for name in ["", "a b", "a:", "a\r\nb", "\u{e9}"] {
        assert_eq!(rules.remove(name), Err(HeaderRuleError::Name), "{name}");
        assert_eq!(rules.insert(name, b"1"), Err(HeaderRuleError::Name), "{name}");
    }
    for value in [&b"a\r\nb"[..], b"a\nb", b"a\rb", b"\0", b"\x7f"] {
        assert_eq!(rules.insert("A", value), Err(HeaderRuleError::Value), "{value:?}");
    }
    for host in [&b"a b"[..], b"u@h", b"a/b"] {
        assert_eq!(
            rules.insert("host", host),
            Err(HeaderRuleError::Value),
            "{host:?}"
        );
    }
    assert_eq!(rules, HeaderRules::default());
}

#[test]
fn header_rules_and_the_host() {
    let text = "GET http://there/ HTTP/1.1|Host: h|A: b||";
    let special = with_rules(|rules| rules.insert("host", b"other:81").unwrap());
    assert_eq!(
        forwarded(text, &special),
        format!("GET / HTTP/1.1|Host: other:81|A: b|{END}|")
    );
    // A request of HTTP/1.1 says its host, even if it is none (RFC 9112, section 3.2).
    let mut special = with_rules(|rules| rules.remove("HOST").unwrap());
    assert_eq!(
        forwarded(text, &special),
        format!("GET / HTTP/1.1|Host: |A: b|{END}|")
    );
    special.http10 = true;
    assert_eq!(forwarded(text, &special), format!("GET / HTTP/1.0|A: b|{END}|"));
}

#[test]
fn advertises_reproxying() {
    let special = with_rules(HeaderRules::advertise_reproxy);
    assert_eq!(
        forwarded("GET / HTTP/1.1|Host: h||", &special),
        format!("GET / HTTP/1.1|Host: h|{END}X-Proxy-Capabilities: reproxy-file||")
    );
    let text = "GET / HTTP/1.1|x-proxy-capabilities: mine|Host: h||";
    assert_eq!(
        forwarded(text, &special),
        format!("GET / HTTP/1.1|x-proxy-capabilities: reproxy-file|Host: h|{END}|")
    );
    let special = with_rules(|rules| {
        rules.remove("X-Proxy-Capabilities").unwrap();
        rules.advertise_reproxy();
    });
    assert_eq!(
        forwarded(text, &special),
        format!("GET / HTTP/1.1|Host: h|{END}|")
    );
    let special = with_rules(|rules| {
        rules.insert("X-Proxy-Capabilities", b"other").unwrap();
        rules.advertise_reproxy();
    });
    assert!(forwarded(text, &special).contains("|x-proxy-capabilities: other|"));
}

#[test]
fn old_version_towards_backends() {
    let mut special = Special {
        http10: true,
        ..Special::default()
    };
    let text = "POST /x HTTP/1.1|Host: h|Expect: 100-continue|Content-Length: 3||abc";
    let (head, out) = read(text, &special, ForwardedFor::Replace).unwrap();
    assert_eq!(
        out,
        format!("POST /x HTTP/1.0|Host: h|Expect: 100-continue|Content-Length: 3|{END}|")
    );
    assert_eq!(head.framing, Framing::Length(3));
    assert_eq!(
        forwarded("GET / HTTP/1.0||", &special),
        format!("GET / HTTP/1.0|{END}|")
    );

    let chunked = "POST / HTTP/1.1|Host: h|Transfer-Encoding: chunked||";
    let refused = read(chunked, &special, ForwardedFor::Replace);
    assert_eq!(refused.map_err(ProxyError::status), Err(411));
    special.buffers_chunked = true;
    let (head, out) = read(chunked, &special, ForwardedFor::Replace).unwrap();
    assert_eq!(head.framing, Framing::Chunked);
    assert_eq!(
        out,
        format!("POST / HTTP/1.0|Host: h|Transfer-Encoding: chunked|{END}|")
    );
}

fn is_high(rules: HighPriority, head: &str) -> bool {
    let special = Special {
        high_priority: rules,
        ..Special::default()
    };
    let head = read(&format!("{head}||"), &special, ForwardedFor::Replace).unwrap();
    head.0.high_priority
}

#[test]
fn high_priority_by_cookie() {
    let high = |name: &str, contents: &str, cookies: &str| {
        let rules = HighPriority {
            cookie: Some(CookieRule {
                name: name.as_bytes().to_vec(),
                contents: contents.as_bytes().to_vec(),
            }),
            ..HighPriority::default()
        };
        is_high(rules, &format!("GET / HTTP/1.1|Host: h{cookies}"))
    };
    assert!(high("tier", "gold", "|Cookie: tier=gold"));
    assert!(high("tier", "gold", "|Cookie: a=b;tier=marigold; c=d"));
    assert!(high("tier", "gold", "|Cookie: a=b|cookie: tier=golden"));
    assert!(high("tier", "go ld", "|Cookie: ti%65r=%67o%20ld"));
    assert!(!high("tier", "gold", "|Cookie: tier=silver; x=gold"));
    assert!(!high("tier", "gold", "|Cookie: Tier=gold"));
    assert!(!high("tier", "gold", "|Cookie: tier; gold"));
    assert!(!high("tier", "gold", "|Cookie: x=tier=gold"));
    assert!(!high("tier", "gold", ""));
    assert!(high("tier", "", "|Cookie: tier="));
    assert!(!high("tier", "", "|Cookie: x=1"));
    assert!(!high("tier", "", ""));
}

#[test]
fn high_priority_by_uri_and_host() {
    let rules = || HighPriority {
        cookie: None,
        uri: Some(Pattern::parse("^/login|[?&]fast=1").unwrap()),
        host: Some(Pattern::parse("(?i)^vip[.]").unwrap()),
    };
    assert!(is_high(rules(), "GET /login?x HTTP/1.1|Host: h"));
    assert!(is_high(rules(), "GET /?a=1&fast=1 HTTP/1.1|Host: h"));
    assert!(is_high(rules(), "GET / HTTP/1.1|Host: VIP.example:80"));
    assert!(is_high(rules(), "GET http://vip.x/ HTTP/1.1|Host: h"));
    assert!(!is_high(rules(), "GET /a/login HTTP/1.1|Host: a.vip.x"));
    assert!(!is_high(rules(), "GET / HTTP/1.0"));
    assert!(Pattern::parse("(").is_err());
}

fn hash(by: HashBy, text: &str, forwarded_for: ForwardedFor) -> u64 {
    let special = Special {
        hash_by: Some(by),
        ..Special::default()
    };
    read(text, &special, forwarded_for).unwrap().0.hash
}

#[test]
fn hashes_are_the_same_for_ever() {
    // Computed with another implementation of SipHash-1-3; a change would send every client to another backend.
    let text = "GET /a?b HTTP/1.1|Host: h||";
    let address = HashBy::ClientAddress;
    assert_eq!(hash(address, text, ForwardedFor::Replace), 0x2911_37da_39fa_5c0b);
    assert_eq!(
        hash(HashBy::Uri, text, ForwardedFor::Replace),
        0x69a2_550a_ddc2_a920
    );
}

#[test]
fn hashes_by_what_it_is_told() {
    let text = "GET /a HTTP/1.1|Host: h|X-User: u|Cookie: s=1; t=2|X-Forwarded-For: 1.1.1.1 , 2.2.2.2||";
    let other = "GET /b HTTP/1.1|Host: h|x-user: v|Cookie: s=3; t=2|X-Forwarded-For: 1.1.1.1||";
    let same =
        |by: HashBy, forwarded_for| hash(by.clone(), text, forwarded_for) == hash(by, other, forwarded_for);
    for trusted in [ForwardedFor::Append, ForwardedFor::Keep, ForwardedFor::Replace] {
        assert!(same(HashBy::ClientAddress, trusted));
    }
    let address = |forwarded_for| hash(HashBy::ClientAddress, text, forwarded_for);
    assert_eq!(address(ForwardedFor::Append), address(ForwardedFor::Keep));
    assert_ne!(address(ForwardedFor::Append), address(ForwardedFor::Replace));
    assert!(!same(HashBy::Uri, ForwardedFor::Replace));
    assert!(!same(HashBy::Header("x-user".into()), ForwardedFor::Replace));
    assert!(!same(HashBy::Cookie("s".into()), ForwardedFor::Replace));
    assert!(same(HashBy::Cookie("t".into()), ForwardedFor::Replace));
    // Who does not say it is hashed by the address.
    for by in [HashBy::Header("x-none".into()), HashBy::Cookie("u".into())] {
        assert_eq!(
            hash(by, text, ForwardedFor::Replace),
            address(ForwardedFor::Replace)
        );
    }
    let silent = "GET / HTTP/1.1|Host: h||";
    for forwarded_for in [ForwardedFor::Append, ForwardedFor::Keep] {
        assert_eq!(
            hash(HashBy::ClientAddress, silent, forwarded_for),
            address(ForwardedFor::Replace)
        );
    }
}
