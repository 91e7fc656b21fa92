//! Which upload a request is, or asks about.

/// The name of the upload that a head says it is: `client_up_sess=ID` after `?` or `&` in its target.
pub fn session(head: &[u8]) -> Option<&str> {
    in_target(target(head)?)
}

/// The name of the upload that a head asks about; none where it asks for something else.
pub fn status_session(head: &[u8]) -> Option<&str> {
    let target = target(head)?;
    in_target(target).filter(|_| target.starts_with("/__upload_status?"))
}

fn target(head: &[u8]) -> Option<&str> {
    let mut words = head.split(|byte| *byte == b' ');
    words.nth(1).and_then(|target| std::str::from_utf8(target).ok())
}

fn in_target(target: &str) -> Option<&str> {
    target.split(['?', '&']).skip(1).find_map(|pair| {
        let value = pair.strip_prefix("client_up_sess=")?;
        let end = value
            .bytes()
            .position(|byte| !is_word(byte))
            .unwrap_or(value.len());
        value.get(..end).filter(|session| is_session(session))
    })
}

/// 5 to 50 word characters.
pub(super) fn is_session(text: &str) -> bool {
    (5..=50).contains(&text.len()) && text.bytes().all(is_word)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_session() {
        let of = |target: &str| {
            let head = format!("POST {target} HTTP/1.1\r\nX: /?client_up_sess=other\r\n\r\n");
            session(head.as_bytes()).map(str::to_owned)
        };
        let some = |session: &str| Some(session.to_owned());
        assert_eq!(of("/up?client_up_sess=abc_9"), some("abc_9"));
        assert_eq!(of("/up?a=b&client_up_sess=abcde&c"), some("abcde"));
        assert_eq!(of("/up?client_up_sess=abcde.fg"), some("abcde"));
        assert_eq!(
            of(&format!("/?client_up_sess={}", "a".repeat(50))),
            some(&"a".repeat(50))
        );
        assert_eq!(of(&format!("/?client_up_sess={}", "a".repeat(51))), None);
        assert_eq!(of("/up?client_up_sess=abcd"), None);
        assert_eq!(of("/client_up_sess=abcde"), None);
        assert_eq!(of("/up?xclient_up_sess=abcde"), None);
        assert_eq!(session(b""), None);
    }

    #[test]
    fn knows_who_asks() {
        let of = |target: &str| status_session(format!("GET {target} HTTP/1.1\r\n").as_bytes()).is_some();
        assert!(of("/__upload_status?client_up_sess=abcde"));
        assert!(of("/__upload_status?x=1&client_up_sess=abcde"));
        assert!(!of("/__upload_status?x=1"));
        assert!(!of("/__upload_status/?client_up_sess=abcde"));
        assert!(!of("/up?client_up_sess=abcde"));
    }
}
