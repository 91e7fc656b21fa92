use super::*;

async fn opening_of(bytes: &[u8]) -> (Opening, Vec<u8>) {
    let mut incoming = Incoming::new(bytes);
    let opening = incoming.opening().await.unwrap();
    let mut all = Vec::new();
    incoming.into_reader().read_to_end(&mut all).await.unwrap();
    (opening, all)
}

#[tokio::test]
async fn the_first_bytes_tell_and_none_is_lost() {
    for request in [
        "GET / HTTP/1.1\r\n",
        "POST / HTTP/1.0\r\n\r\n",
        "OPTIONS * HTTP/1.1",
    ] {
        let (opening, all) = opening_of(request.as_bytes()).await;
        assert_eq!((opening, all.as_slice()), (Opening::Http, request.as_bytes()));
    }
    for lines in [
        "POOL web ADD 1.2.3.4\r\n",
        "",
        "GE",
        "get / HTTP/1.1\r\n",
        "GETX",
        "\r\n",
    ] {
        let (opening, all) = opening_of(lines.as_bytes()).await;
        assert_eq!(
            (opening, all.as_slice()),
            (Opening::Lines, lines.as_bytes()),
            "{lines}"
        );
    }
}

#[tokio::test]
async fn a_request_in_pieces_is_still_one() {
    let (mut client, server) = tokio::io::duplex(1);
    let mut incoming = Incoming::new(server);
    let (opening, sent) = tokio::join!(incoming.opening(), client.write_all(b"DELETE "));
    sent.unwrap();
    assert_eq!(opening.unwrap(), Opening::Http);
}

#[tokio::test]
async fn lines_are_cut_at_lf_and_the_longest_fits() {
    let longest = [b"a".repeat(MAX_LINE), b"\r\n".to_vec()].concat();
    let bytes = [
        b"one\r\n\n".to_vec(),
        longest.clone(),
        b"b".repeat(3 * MAX_LINE),
        b"\ntwo\nthree".to_vec(),
    ]
    .concat();
    // Whatever the pieces in which they come.
    for piece in [1, 7, 4096, 1 << 20] {
        let (mut client, server) = tokio::io::duplex(piece);
        let mut incoming = Incoming::new(server);
        let sending = async {
            client.write_all(&bytes).await.unwrap();
            client.shutdown().await.unwrap();
        };
        let reading = async {
            let mut all = Vec::new();
            loop {
                match incoming.next().await.unwrap() {
                    Next::Line(line) if line.len() > MAX_LINE + 1 => all.push("long".to_owned()),
                    Next::Line(line) => all.push(line.len().to_string()),
                    Next::TooLong => all.push("long".to_owned()),
                    Next::End => return all,
                }
            }
        };
        let (all, ()) = tokio::join!(reading, sending);
        assert_eq!(all, ["4", "0", "65537", "long", "3"], "{piece}");
    }
}

#[test]
fn request_lines_are_known_by_their_end() {
    for line in ["GET / HTTP/1.1\r", "x http/1.0", "PRI * HTTP/2.0\r", "HTTP/1.1"] {
        assert!(is_request_line(line.as_bytes()), "{line}");
    }
    for line in [
        "",
        "set x.path = /http/1",
        "show pool",
        "set x = HTTP/",
        "set x = HTTPS/1",
    ] {
        assert!(!is_request_line(line.as_bytes()), "{line}");
    }
}
