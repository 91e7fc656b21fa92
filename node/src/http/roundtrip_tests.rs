//! Whatever comes in: nothing panics, and what goes out is read again as it was read before.

use proptest::prelude::*;
use proptest::sample::select;

use super::special::{CookieRule, HighPriority, Pattern};
use super::*;
use fleetbal_raft::model::HashBy;

const CASES: u32 = 200;

/// Pieces that matter to a parser, and now and then what breaks them.
fn pieces(known: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let wire = |text: &str| text.replace('|', "\r\n").into_bytes();
    let piece = prop_oneof![
        30 => select(known).prop_map(wire),
        1 => select(&["|", "\n", "\r", ": ", " folded|"][..]).prop_map(wire),
        1 => proptest::collection::vec(any::<u8>(), 1..4),
    ];
    proptest::collection::vec(piece, 0..9).prop_map(|pieces| pieces.concat())
}

const FIELDS: &[&str] = &[
    "A: b|",
    "X-Set: \t1 |",
    "x-SET:2\n",
    "X-Gone: 1|",
    "Empty:|",
    "X-Forwarded-For: 1.1.1.1, 2.2.2.2|",
    "X-Forwarded-Host: a|",
    "X_Forwarded_For: 3.3.3.3|",
    "Connection: close, X-Gone|",
    "Connection: A, keep-alive|",
    "Keep-Alive: 3|",
    "Upgrade: h2c|",
    "Content-Length: 3|",
    "Content-Length: 0|",
    "Content_Length: 4|",
    "Transfer-Encoding: chunked|",
    "Transfer-Encoding: gzip|",
    "Trailer: T|",
    "Host: h|",
    "Host: other:81|",
    "Expect: 100-continue|",
    "Cookie: tier=gold; a=%67|",
    "X-REPROXY-FILE: /f|",
    "x-reproxy-url: http://a/|",
];

fn special(http10: bool, rules: bool) -> Special {
    let mut special = Special {
        http10,
        high_priority: HighPriority {
            cookie: Some(CookieRule {
                name: b"tier".to_vec(),
                contents: b"g".to_vec(),
            }),
            uri: Pattern::parse("x").ok(),
            host: None,
        },
        hash_by: Some(HashBy::Cookie("a".to_owned())),
        ..Special::default()
    };
    if rules {
        special.header_rules.remove("X-Gone").unwrap();
        special.header_rules.remove("Host").unwrap();
        special.header_rules.insert("X-Set", b"s").unwrap();
        special.header_rules.insert("X-New", b"n").unwrap();
        special.header_rules.advertise_reproxy();
    }
    special
}

/// The lines of a head; without the expectation, which is none of HTTP/1.0.
fn sorted_lines(head: &[u8]) -> Vec<&[u8]> {
    let lines = head.split(|byte| *byte == b'\n');
    let mut lines: Vec<_> = lines.filter(|line| !line.starts_with(b"Expect:")).collect();
    lines.sort();
    lines
}

/// How many bytes of `input` a body takes, if it is well-formed so far.
fn taken(framing: Framing, input: &[u8]) -> Result<usize, body::MalformedBody> {
    Body::new(framing).take(input)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn requests(
        first in select(&["GET /x?y HTTP/1.1|", "POST http://h:1/ HTTP/1.1|", "PUT / HTTP/1.0|", "OPTIONS * HTTP/1.1|", ""][..]),
        host in any::<bool>(),
        rest in pieces(FIELDS),
        after in pieces(&["3|abc|", "0|", "|", "0||", "T: x|", "GET / HTTP/1.1|"]),
        version in any::<bool>(),
        rules in any::<bool>(),
        kept in any::<bool>(),
    ) {
        let host = if host { "Host: h|" } else { "" };
        let mut input = format!("{first}{host}").replace('|', "\r\n").into_bytes();
        input.extend_from_slice(&rest);
        input.extend_from_slice(b"\r\n\r\n");
        input.extend_from_slice(&after);
        let special = special(version, rules);
        let forwarding = Forwarding {
            peer: b"9.9.9.9",
            forwarded_for: if kept { ForwardedFor::Keep } else { ForwardedFor::Replace },
            persist_backend: true,
            special: rules.then_some(&special).or(version.then_some(&special)),
            secure: false,
        };
        let mut sent = Vec::new();
        let Ok(Some(head)) = request::read(&input, forwarding, &mut sent) else { return Ok(()) };
        prop_assert!(head.length <= input.len());
        let body = &input[head.length..];
        // The body goes on as it is; what follows the head there is followed by it here.
        let mut whole = sent.clone();
        whole.extend_from_slice(body);
        let mut again = Vec::new();
        let second = request::read(&whole, forwarding, &mut again).unwrap().unwrap();
        prop_assert_eq!(second.length, sent.len());
        prop_assert_eq!((second.framing, second.method), (head.framing, head.method));
        prop_assert_eq!(second.hash, head.hash);
        prop_assert_eq!(second.high_priority, head.high_priority);
        prop_assert_eq!(taken(second.framing, &whole[second.length..]), taken(head.framing, body));
        prop_assert_eq!(sorted_lines(&again), sorted_lines(&sent));
        prop_assert!(!sent.windows(2).any(|w| (w[1] == b'\n') != (w[0] == b'\r')));
    }

    #[test]
    fn responses(
        first in select(&["HTTP/1.1 200 OK|", "HTTP/1.0 404|", "HTTP/1.1 204 |", "HTTP/1.1 304 x|", "HTTP/1.1 103 x|", ""][..]),
        rest in pieces(FIELDS),
        is_head in any::<bool>(),
        reproxy in any::<bool>(),
    ) {
        let mut input = first.replace('|', "\r\n").into_bytes();
        input.extend_from_slice(&rest);
        input.extend_from_slice(b"\r\n\r\n");
        let rules = ResponseRules {
            method: if is_head { Method::Head } else { Method::Get },
            http11: true,
            keep_alive: Some(b"Connection: keep-alive\r\n"),
            reproxy,
        };
        let mut sent = Vec::new();
        let Ok(Some(head)) = response::read(&input, rules, &mut sent) else { return Ok(()) };
        let mut again = Vec::new();
        let second = response::read(&sent, rules, &mut again).unwrap().unwrap();
        prop_assert_eq!(second.length, sent.len());
        prop_assert_eq!(
            (second.framing, second.status, second.reproxy, second.client_persists),
            (head.framing, head.status, head.reproxy, head.client_persists)
        );
        prop_assert_eq!(&again, &sent);
        prop_assert!(!sent.windows(2).any(|w| (w[1] == b'\n') != (w[0] == b'\r')));
        let fields = response::reproxy_fields(&input).unwrap();
        let asks = fields.file.or(fields.url).or(fields.service).is_some();
        prop_assert_eq!(head.reproxy, reproxy && asks && !head.is_interim());
    }

    #[test]
    fn rewritten_heads(
        rest in pieces(FIELDS),
        value in proptest::collection::vec(any::<u8>(), 0..6),
        body in select(&[Framing::Empty, Framing::Length(5), Framing::Chunked, Framing::UntilClose][..]),
    ) {
        let mut input = b"HTTP/1.1 200 OK\r\n".to_vec();
        input.extend_from_slice(&rest);
        input.extend_from_slice(b"\r\n\r\n");
        let set = [("X-New", &value[..])];
        let new = response::Replacements {
            status: None,
            body,
            remove: &["A"],
            set: &set,
            keep_alive: Some(b"Connection: keep-alive\r\n"),
        };
        let mut sent = Vec::new();
        if response::rewrite(&input, new, &mut sent).is_err() { return Ok(()) }
        let rules = ResponseRules {
            method: Method::Get,
            http11: true,
            keep_alive: None,
            reproxy: true,
        };
        let head = response::read(&sent, rules, &mut Vec::new()).unwrap().unwrap();
        prop_assert_eq!((head.length, head.framing, head.reproxy), (sent.len(), body, false));
        prop_assert_eq!(response::field(&sent, "A"), None);
        prop_assert_eq!(response::field(&sent, "X-New"), Some(value.trim_ascii()));
    }
}
