//! `why METHOD URL [header: value]…`

use super::super::command::{Command, Query, Supposed};
use super::super::line::Line;
use super::ParseError;

const USAGE: ParseError = ParseError::Usage("usage: why METHOD URL [header: value]...");

/// Default ports of the two schemes.
const SCHEMES: [(&str, u16); 2] = [("http", 80), ("https", 443)];

pub(super) fn parse(line: &Line) -> Result<Command, ParseError> {
    let arguments = line.arguments().ok_or(USAGE)?;
    let [method, url, fields @ ..] = arguments.as_slice() else {
        return Err(USAGE);
    };
    let supposed = supposed(method, url, fields).ok_or(USAGE)?;
    Ok(Command::Query(Query::Why(Box::new(supposed))))
}

fn supposed(method: &str, url: &str, words: &[&str]) -> Option<Supposed> {
    let (scheme, rest) = url.split_once("://")?;
    let (_, default) = SCHEMES
        .iter()
        .find(|(known, _)| scheme.eq_ignore_ascii_case(known))?;
    let (authority, target) = match rest.find(['/', '?']) {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()?),
        _ => (authority, *default),
    };
    let target = if target.starts_with('?') {
        format!("/{target}")
    } else {
        target.to_owned()
    };
    (!host.is_empty()).then_some(())?;
    Some(Supposed {
        method: method.to_ascii_uppercase(),
        authority: authority.to_owned(),
        host: host.trim_matches(['[', ']']).to_owned(),
        port,
        secure: *default == 443,
        target,
        fields: fields(words)?,
    })
}

/// A word that ends in a colon begins a field; what follows, up to the next one, is its value.
fn fields(words: &[&str]) -> Option<Vec<(String, String)>> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for word in words {
        match (word.strip_suffix(':'), fields.last_mut()) {
            (Some(name), _) if !name.is_empty() => fields.push((name.to_owned(), String::new())),
            (_, Some((_, value))) => {
                if !value.is_empty() {
                    value.push(' ');
                }
                value.push_str(word);
            }
            (_, None) => return None,
        }
    }
    Some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_and_fields() {
        let read = |line: &str| {
            let words: Vec<_> = line.split(' ').collect();
            let [method, url, rest @ ..] = words.as_slice() else {
                return None;
            };
            supposed(method, url, rest)
        };
        let one = read("get https://a.example?x=1 Cookie: a=b; c=d Accept: text/html").unwrap();
        assert_eq!((one.method.as_str(), one.port, one.secure), ("GET", 443, true));
        assert_eq!((one.host.as_str(), one.target.as_str()), ("a.example", "/?x=1"));
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            one.fields,
            [field("Cookie", "a=b; c=d"), field("Accept", "text/html")]
        );
        let one = read("GET http://[::1]:8080/p").unwrap();
        assert_eq!((one.host.as_str(), one.port), ("::1", 8080));
        for wrong in [
            "GET /p",
            "GET ftp://h/",
            "GET http:///",
            "GET http://h:x/",
            "GET http://h/ stray",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
