use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;

const LIMIT: Duration = Duration::from_millis(300);

/// A backend that takes one connection, reads one head, and writes these pieces; what it read.
async fn backend(pieces: Vec<Vec<u8>>) -> (BackendAddress, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serve = async move {
        let (mut io, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") && io.read_buf(&mut head).await.unwrap() > 0 {}
        for piece in pieces {
            // Whoever has read enough goes away.
            if io.write_all(&piece).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        String::from_utf8(head).unwrap()
    };
    (BackendAddress::parse(&address).unwrap(), tokio::spawn(serve))
}

fn check(address: BackendAddress, how: How) -> Check {
    Check {
        address,
        of: Vec::new(),
        how,
        timeout: LIMIT,
        node: "n7".into(),
    }
}

fn rules(expect: &str) -> HealthRules {
    HealthRules {
        path: Some("/ok".to_owned()),
        expect: Expect::parse(expect).unwrap(),
        ..HealthRules::default()
    }
}

/// What a check makes of that answer: none is well, else why not.
async fn outcome(how: How, pieces: &[&[u8]]) -> Option<String> {
    let (address, served) = backend(pieces.iter().map(|piece| piece.to_vec()).collect()).await;
    let seen = probe(&check(address, how)).await.unwrap();
    served.abort();
    match seen {
        Seen::Up(Some(_)) => None,
        Seen::Up(None) => panic!("it took no time"),
        Seen::Down(failure) => Some(failure.reason),
    }
}

const MISSING: &str = "the text that is expected is not in the check's answer";

#[tokio::test]
async fn asks_by_the_pools_method_host_and_path_and_says_who_asks() {
    for (method, host) in [("GET", None), ("OPTIONS", Some("shop.example")), ("PURGE", None)] {
        let (address, served) = backend(vec![b"HTTP/1.1 204 Fine\r\n\r\n".to_vec()]).await;
        let how = How::Http(HealthRules {
            path: Some("/are/you?well=1".to_owned()),
            method: method.to_owned(),
            host: host.map(str::to_owned),
            ..HealthRules::default()
        });
        assert!(matches!(
            probe(&check(address, how)).await,
            Some(Seen::Up(Some(_)))
        ));
        let asked = served.await.unwrap();
        let host = host.map_or_else(|| address.to_string(), str::to_owned);
        let release = env!("CARGO_PKG_VERSION");
        let wanted = format!(
            "{method} /are/you?well=1 HTTP/1.1\r\nHost: {host}\r\nUser-Agent: fleetbal-check/{release} (n7)\r\n\
             Connection: close\r\n\r\n"
        );
        assert_eq!(asked, wanted);
    }
}

#[tokio::test]
async fn the_status_has_to_be_in_the_list() {
    for (list, status, is_well) in [
        ("2xx", 204, true),
        ("2xx", 301, false),
        ("200,404", 404, true),
        ("200,404", 403, false),
        ("200-399", 399, true),
        ("503", 503, true),
        ("503", 200, false),
    ] {
        let answer = format!("HTTP/1.1 {status} So\r\nContent-Length: 0\r\n\r\n");
        let why = outcome(How::Http(rules(list)), &[answer.as_bytes()]).await;
        let wanted = (!is_well).then(|| format!("the check was answered {status}"));
        assert_eq!(why, wanted, "{list}");
    }
    let interim = b"HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\nHTTP/1.1 200 Fine\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(outcome(How::Http(rules("200")), &[interim]).await, None);
}

#[tokio::test]
async fn a_text_is_looked_for_in_the_first_64_kib_of_the_body() {
    const TEXT: &str = "all is well";
    let body = |before: usize| [vec![b'a'; before], TEXT.as_bytes().to_vec(), vec![b'z'; 5_000]].concat();
    let last = SEARCHED - TEXT.len();
    for (before, is_found) in [
        (0, true),
        (1, true),
        (last, true),
        (last + 1, false),
        (SEARCHED, false),
    ] {
        let body = body(before);
        let head = format!("HTTP/1.1 500 So\r\nContent-Length: {}\r\n\r\n", body.len());
        let whole = [head.as_bytes(), &body].concat();
        let (first, second) = whole.split_at(head.len() + before + 4);
        for pieces in [vec![whole.as_slice()], vec![first, second]] {
            let why = outcome(How::Http(rules(TEXT)), &pieces).await;
            assert_eq!(
                why.as_deref(),
                (!is_found).then_some(MISSING),
                "after {before} bytes"
            );
        }
    }
    // What counts is the body, not what stands between its chunks, and where no length is said, all until the end.
    let chunks =
        b"HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nall \r\n7\r\nis well\r\n0\r\n\r\n";
    assert_eq!(outcome(How::Http(rules(TEXT)), &[chunks]).await, None);
    let until_close = b"HTTP/1.0 200 Fine\r\n\r\nall is well".as_slice();
    assert_eq!(outcome(How::Http(rules(TEXT)), &[until_close]).await, None);
    let head_only = b"HTTP/1.1 200 Fine\r\nX-Said: all is well\r\nContent-Length: 3\r\n\r\nbad";
    let why = outcome(How::Http(rules(TEXT)), &[head_only]).await;
    assert_eq!(why.as_deref(), Some(MISSING), "a field is not the body");
}

#[tokio::test]
async fn what_is_no_answer_is_a_failure_that_says_why() {
    let closed = "it closed the connection without an answer to the check";
    for (pieces, wanted) in [
        (vec![], closed),
        (vec![b"HTTP/1.1 200 Fi".as_slice()], closed),
        (vec![b"SSH-2.0-OpenSSH_9\r\n\r\n".as_slice()], "is not valid"),
    ] {
        for how in [
            How::Http(rules("2xx")),
            How::Verify(b"OPTIONS * HTTP/1.0\r\n\r\n".as_slice().into()),
        ] {
            let why = outcome(how, &pieces).await.unwrap();
            assert!(why.contains(wanted), "{why}");
        }
    }
    let endless = [
        b"HTTP/1.1 200 Fine\r\nX-A: ".as_slice(),
        &vec![b'a'; 4 * MAX_HEAD],
    ]
    .concat();
    assert!(outcome(How::Http(rules("2xx")), &[&endless]).await.is_some());
}

#[tokio::test]
async fn a_connection_alone_is_well_where_nothing_is_asked_and_silence_is_not_where_something_is() {
    // Nobody accepts: the system does.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = BackendAddress::parse(&listener.local_addr().unwrap().to_string()).unwrap();
    let seen = probe(&check(address, How::Connect)).await;
    assert!(matches!(seen, Some(Seen::Up(Some(_)))), "{seen:?}");
    let started = Instant::now();
    let Some(Seen::Down(failure)) = probe(&check(address, How::Http(rules("2xx")))).await else {
        panic!("silence is well");
    };
    assert_eq!(failure.reason, "no answer to the check within 0.3 s");
    assert!(!failure.refused && started.elapsed() >= LIMIT);
    drop(listener);
    for how in [How::Connect, How::Http(rules("2xx"))] {
        let Some(Seen::Down(failure)) = probe(&check(address, how)).await else {
            panic!("nobody listens");
        };
        assert!(failure.refused, "{failure:?}");
    }
}
