//! Bodies: of any size, both ways, at the pace of the slower side.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::fixture::{Client, Origin, Proxy, free_address, soon, until};

/// Bytes that are nowhere the same.
fn pattern(length: usize) -> Vec<u8> {
    let bytes = (0..length).map(|at| u8::try_from((at * 31 + at / 251) % 256));
    bytes.map(Result::unwrap).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_pass_both_ways_as_they_are() {
    let origin = Origin::start(|request| {
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        Some([&head[..], &request.body].concat())
    })
    .await;
    let proxy = Proxy::start(&[origin.address], &[]);
    let mut client = proxy.client().await;
    for _ in 0..3 {
        client
            .send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;ext=1\r\nab")
            .await;
        client.send("c\r\n000A\r\n0123456789").await;
        client.send("\r\n0\r\n\r\n").await;
        let response = client.response().await;
        assert_eq!(
            response.text(),
            "3;ext=1\r\nabc\r\n000A\r\n0123456789\r\n0\r\n\r\n"
        );
        assert!(response.has("Transfer-Encoding: chunked"));
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_pass_with_the_chunks_and_not_without() {
    const BODY: &str = "3\r\nabc\r\n0\r\nX-Sum: 1\r\nx-empty:\r\n\r\n";
    let answer = || format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n{BODY}");
    let origin = Origin::start(move |_| Some(answer().into_bytes())).await;
    let proxy = Proxy::start(&[origin.address], &[]);
    let mut client = proxy.client().await;
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert!(client.head().await.contains("\r\nTrailer: X-Sum\r\n"));
        assert_eq!(client.take(BODY.len()).await, BODY.as_bytes());
    }
    client
        .send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        .await;
    assert_eq!(
        client.head().await,
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
    );
    assert_eq!(client.rest().await, b"abc");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_pass_both_ways_to_a_slow_reader() {
    let origin = Origin::echo().await;
    let proxy = Proxy::start(&[origin.address], &[]);
    let body = pattern(9_000_000);
    for _ in 0..2 {
        let mut client = proxy.client().await;
        let head = format!(
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        client.send(head).await;
        client.send(&body).await;
        until("the backend has it all", || !origin.seen().is_empty()).await;
        // The answer is larger than what the sockets hold, so the proxy has to wait for this client.
        let head = client.head().await;
        assert!(head.contains(&format!("Content-Length: {}", body.len() + 1)));
        let mut got = std::mem::take(&mut client.input);
        let mut piece = vec![0; 50_000];
        while got.len() < body.len() + 1 {
            let n = soon(client.io.read(&mut piece)).await.unwrap();
            assert!(n > 0);
            got.extend_from_slice(&piece[..n]);
            tokio::task::yield_now().await;
        }
        assert!(got[1..] == body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_client_slows_its_backend_down() {
    let listener = TcpListener::bind(free_address()).await.unwrap();
    let proxy = Proxy::start(&[listener.local_addr().unwrap()], &[]);
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let (io, _) = soon(listener.accept()).await.unwrap();
    let mut backend = Client {
        io,
        input: Vec::new(),
    };
    backend.head().await;
    let length = 64 << 20;
    backend
        .send(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"))
        .await;
    // Writes until nothing has gone out for a while: that is what sockets and proxy hold together.
    let block = pattern(1 << 16);
    let mut sent = 0;
    while let Ok(written) =
        tokio::time::timeout(std::time::Duration::from_millis(500), backend.io.write(&block)).await
    {
        sent += written.unwrap();
        assert!(sent < length, "nothing held the backend back");
    }
    client.head().await;
    assert_eq!(client.take(sent).await.len(), sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn interim_answers_pass_and_the_body_follows() {
    let listener = TcpListener::bind(free_address()).await.unwrap();
    let proxy = Proxy::start(&[listener.local_addr().unwrap()], &[]);
    let mut client = proxy.client().await;
    client
        .send("PUT / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        .await;
    let (io, _) = soon(listener.accept()).await.unwrap();
    let mut backend = Client {
        io,
        input: Vec::new(),
    };
    assert!(backend.head().await.contains("Expect: 100-continue"));
    backend.send("HTTP/1.1 100 Continue\r\n\r\n").await;
    assert_eq!(client.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("abc").await;
    assert_eq!(backend.take(3).await, b"abc");
    backend
        .send("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 1\r\n\r\nz")
        .await;
    assert_eq!(client.head().await, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n");
    let response = client.response().await;
    assert_eq!((response.status(), response.text()), (201, "z"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_before_the_end_of_the_request_gets_through() {
    let listener = TcpListener::bind(free_address()).await.unwrap();
    let settings = [("buffer_backend_connect", "0")];
    let proxy = Proxy::start(&[listener.local_addr().unwrap()], &settings);
    let mut client = proxy.client().await;
    client
        .send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\nabc")
        .await;
    let (io, _) = soon(listener.accept()).await.unwrap();
    let mut backend = Client {
        io,
        input: Vec::new(),
    };
    backend.head().await;
    backend
        .send("HTTP/1.1 413 Too Large\r\nContent-Length: 6\r\n\r\nno")
        .await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 413 ") && head.contains("\r\nConnection: close\r\n"));
    // The request goes on while the answer comes.
    backend.input.clear();
    client.send(vec![b'x'; 1000]).await;
    backend.take(1000).await;
    backend.send("pe!!").await;
    assert_eq!(client.rest().await, b"nope!!");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_has_sent_all_may_close_its_side() {
    let origin = Origin::echo().await;
    let proxy = Proxy::start(&[origin.address], &[]);
    let mut client = proxy.client().await;
    client
        .send("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc")
        .await;
    client.io.shutdown().await.unwrap();
    assert_eq!(client.response().await.text(), "/xabc");
    assert!(client.rest().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_ends_with_its_connection() {
    let origin = Origin::start(|_| Some(b"HTTP/1.0 200 OK\r\n\r\nall of it".to_vec())).await;
    let proxy = Proxy::start(&[origin.address], &[]);
    let response = proxy.get("/").await;
    assert!(response.has("Connection: close"));
    assert_eq!(response.text(), "all of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_answer_is_not_taken_for_a_whole_one() {
    for (head, cut) in [("Content-Length: 10\r\n", false), ("", true)] {
        let listener = TcpListener::bind(free_address()).await.unwrap();
        let proxy = Proxy::start(&[listener.local_addr().unwrap()], &[]);
        let mut client = proxy.client().await;
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        let (io, _) = soon(listener.accept()).await.unwrap();
        let mut backend = Client {
            io,
            input: Vec::new(),
        };
        backend.head().await;
        backend.send(format!("HTTP/1.1 200 OK\r\n{head}\r\nabc")).await;
        client.head().await;
        client.take(3).await;
        if cut {
            backend.io.set_zero_linger().unwrap();
        }
        drop(backend);
        let end = soon(client.io.read(&mut [0; 8])).await;
        assert_eq!(end.is_err(), cut, "{end:?}");
    }
}
