use proptest::prelude::*;

use super::*;

/// What comes of a body that arrives in these pieces: content, bytes taken, whether it is done.
fn run(framing: Framing, pieces: &[&[u8]]) -> Result<(Vec<u8>, usize, bool), MalformedBody> {
    let mut body = Body::new(framing);
    let mut verbatim = Body::new(framing);
    let mut content = Vec::new();
    let mut taken = 0;
    for piece in pieces {
        let plain = verbatim.take(piece);
        let decoded = body.take_content(piece, &mut content);
        assert_eq!(plain, decoded);
        let n = plain?;
        taken += n;
        assert_eq!(body, verbatim);
        if n < piece.len() {
            assert!(body.is_done());
            break;
        }
    }
    Ok((content, taken, body.is_done()))
}

/// The same for every way to cut the input in two, and byte by byte.
fn every_split(framing: Framing, input: &[u8]) -> Result<(Vec<u8>, usize, bool), MalformedBody> {
    let whole = run(framing, &[input]);
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(run(framing, &bytes), whole);
    for at in 0..=input.len() {
        let (a, b) = input.split_at(at);
        assert_eq!(run(framing, &[a, b]), whole, "cut at {at}");
    }
    whole
}

#[test]
fn lengths() {
    let (content, taken, done) = every_split(Framing::Length(3), b"abcdef").unwrap();
    assert_eq!((&content[..], taken, done), (&b"abc"[..], 3, true));
    assert!(!every_split(Framing::Length(9), b"abcdef").unwrap().2);
    assert_eq!(every_split(Framing::Empty, b"abc").unwrap(), (vec![], 0, true));
    assert_eq!(
        every_split(Framing::UntilClose, b"abc").unwrap(),
        (b"abc".to_vec(), 3, false)
    );
}

#[test]
fn ends() {
    assert!(Body::new(Framing::UntilClose).end_of_input().is_ok());
    assert!(Body::new(Framing::Empty).end_of_input().is_ok());
    assert!(Body::new(Framing::Length(1)).end_of_input().is_err());
    assert!(Body::new(Framing::Chunked).end_of_input().is_err());
}

#[test]
fn chunks() {
    for (input, content) in [
        (&b"0\r\n\r\n"[..], &b""[..]),
        (b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
        (b"003\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n", b"abc0123456789"),
        (b"3;a=\"b;\"\r\n\r\n\r\r\n0 ;x\r\n\r\n", b"\r\n\r"),
        (b"1\t; x\r\na\r\n0\r\nA: b\r\nX-Y:\r\n\r\n", b"a"),
    ] {
        let more = [input, b"GET / HTTP/1.1\r\n"].concat();
        let (got, taken, done) = every_split(Framing::Chunked, &more).unwrap();
        assert_eq!((&got[..], taken, done), (content, input.len(), true));
        assert!(
            !every_split(Framing::Chunked, &input[..input.len() - 1])
                .unwrap()
                .2
        );
    }
}

#[test]
fn refuses_what_could_be_read_in_two_ways() {
    for bad in [
        "\r\n",
        "x\r\n",
        ";a\r\n",
        " 3\r\nabc",
        "3\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "3\r\nab\r\n0\r\n\r\n",
        "3 \r\nabc\r\n0\r\n\r\n",
        "3 a\r\nabc\r\n0\r\n\r\n",
        "3;a\nb\r\nabc\r\n0\r\n\r\n",
        "3;a\rb\r\nabc\r\n0\r\n\r\n",
        "-3\r\nabc\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        "0000000000000003\r\nabc\r\n0\r\n\r\n",
        "0\r\n\n",
        "0\r\nA: b\n\r\n",
        "0\r\nA : b\r\n\r\n",
        "0\r\n: b\r\n\r\n",
        "0\r\nA: b\r\n c\r\n\r\n",
        "0\r\nA\r\n\r\n",
        "0\r\nA: \x01\r\n\r\n",
        "0\r\n\rx",
    ] {
        assert!(every_split(Framing::Chunked, bad.as_bytes()).is_err(), "{bad:?}");
    }
}

#[test]
fn extras_are_limited() {
    let extension = format!("1;{}\r\na\r\n0\r\n\r\n", "e".repeat(20_000));
    assert!(run(Framing::Chunked, &[extension.as_bytes()]).is_err());
    let chunks = format!("{}0\r\n\r\n", "1;aa\r\nx\r\n".repeat(6_000));
    assert!(run(Framing::Chunked, &[chunks.as_bytes()]).is_err());
    let trailers = format!("0\r\n{}\r\n", "A: b\r\n".repeat(4_000));
    assert!(run(Framing::Chunked, &[trailers.as_bytes()]).is_err());
}

#[test]
fn carries_no_more_than_it_may() {
    let chunks = b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    let take = |limit| Body::limited(Framing::Chunked, limit).take(chunks);
    assert_eq!(take(None), Ok(chunks.len()));
    assert_eq!(take(Some(5)), Ok(chunks.len()));
    assert_eq!(take(Some(4)), Err(TOO_LARGE));
    // The size says it, before any of it has come.
    assert_eq!(
        Body::limited(Framing::Chunked, Some(4)).take(b"5\r\n"),
        Err(TOO_LARGE)
    );
    assert_eq!(ProxyError::from(TOO_LARGE), ProxyError::ContentTooLarge);
    assert_eq!(
        Body::limited(Framing::Length(9), Some(4)).take(b"123456789"),
        Ok(9)
    );
}

proptest! {
    #[test]
    fn decodes_what_was_encoded(
        parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..300), 0..8),
        cuts in proptest::collection::vec(1..200usize, 1..40),
    ) {
        let mut wire = Vec::new();
        for part in &parts {
            wire.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
            wire.extend_from_slice(part);
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(b"0\r\n\r\n");
        let mut pieces = Vec::new();
        let mut rest = &wire[..];
        for cut in cuts.iter().cycle() {
            if rest.is_empty() { break; }
            let (piece, more) = rest.split_at((*cut).min(rest.len()));
            pieces.push(piece);
            rest = more;
        }
        prop_assert_eq!(run(Framing::Chunked, &pieces), Ok((parts.concat(), wire.len(), true)));
    }

    #[test]
    fn any_bytes_give_the_same_however_they_are_cut(
        input in proptest::collection::vec(prop_oneof![
            Just(b'\r'), Just(b'\n'), Just(b'0'), Just(b'1'), Just(b';'), Just(b':'), Just(b'a'), any::<u8>()
        ], 0..40),
    ) {
        let whole = every_split(Framing::Chunked, &input);
        prop_assert!(whole.is_err() || whole.is_ok_and(|(_, taken, _)| taken <= input.len()));
    }
}
