use super::*;

fn environment(name: &str) -> Option<String> {
    match name {
        "HOST" => Some("Web1".to_owned()),
        "WIDE" => Some(" a   b ".to_owned()),
        "BRACE" => Some("{node:ip}".to_owned()),
        "HASH" => Some("a#b".to_owned()),
        "DOLLAR" => Some("$HOST".to_owned()),
        "LINES" => Some("a\nb".to_owned()),
        _ => None,
    }
}

/// The line put together again; empty where there was nothing in it.
fn read(text: &str) -> Result<String, LineError> {
    let line = Line::read(text.as_bytes(), environment)?;
    Ok(line
        .map(|line| format!("{}{}", line.word(), line.rest()))
        .unwrap_or_default())
}

fn ok(text: &str) -> String {
    read(text).unwrap()
}

#[test]
fn reads_as_perlbal_does() {
    assert_eq!(ok("  CREATE \t Pool   Web # why\r\n"), "create pool web");
    assert_eq!(ok("SET Px.Pool =  My  Pool=X"), "set px.pool = My Pool=X");
    assert_eq!(ok("SET x = a#b"), "set x = a");
    assert_eq!(ok(""), "");
    assert_eq!(ok(" \t\r\n"), "");
    assert_eq!(ok("# only"), "");
    assert_eq!(ok("$UNSET"), "");
    assert_eq!(ok("verbose$UNSET on"), "verbose on");
    assert_eq!(ok("SET x = /$HOST/$UNSET/$"), "set x = /Web1//$");
    assert_eq!(ok("SET $HOST.x = y"), "set web1.x = y");
    assert_eq!(ok("SET x = $WIDE;"), "set x = a b ;");
    assert_eq!(ok("SET x = ${node:ip}:80"), "set x = ${node:ip}:80");
    assert_eq!(
        ok("HEADER Px INSERT A: B${node:label.Rack}C${D"),
        "header px insert a: b${node:label.Rack}c${D"
    );
}

#[test]
fn fleet_commands_keep_case_and_dollar() {
    assert_eq!(ok("Cluster TOKEN  $HOST Ab"), "cluster TOKEN $HOST Ab");
    assert_eq!(ok("AUTH Se$HOST # x"), "auth Se$HOST");
}

#[test]
fn refuses_what_is_no_line() {
    assert_eq!(read("!foo"), Err(LineError::NoWord));
    assert_eq!(read("= foo"), Err(LineError::NoWord));
    assert_eq!(read("é"), Err(LineError::NoWord));
    assert_eq!(read("set x = a\0b"), Err(LineError::Control));
    assert_eq!(read("set x = a\x1bb"), Err(LineError::Control));
    assert_eq!(read(&"x".repeat(MAX_LINE + 1)), Err(LineError::TooLong));
    assert_eq!(Line::read(b"set x = \xff", environment), Err(LineError::Encoding));
    assert_eq!(
        Line::read(b"use x # \xff", environment).map(|line| line.is_some()),
        Ok(true)
    );
}

#[test]
fn refuses_values_that_could_not_be_typed() {
    for name in ["HASH", "DOLLAR", "LINES"] {
        let line = format!("set x = ${name}");
        assert_eq!(
            read(&line),
            Err(LineError::Environment(name.to_owned())),
            "{name}"
        );
    }
    for (line, name) in [("set x = $$HOST", "HOST"), ("set x = $$BRACE", "BRACE")] {
        assert_eq!(read(line), Err(LineError::Environment(name.to_owned())), "{line}");
    }
}

#[test]
fn what_was_read_reads_the_same_again() {
    for text in [
        "SET x = /$HOST/$ {a}",
        "set x = $WIDE $",
        "SET a.b = 100$ = $HOST",
    ] {
        let once = ok(text);
        assert_eq!(ok(&once), once, "{text}");
    }
}

#[test]
fn arguments_follow_a_blank() {
    let arguments = |text: &str| {
        let line = Line::read(text.as_bytes(), environment).unwrap().unwrap();
        line.arguments()
            .map(|words| words.into_iter().map(str::to_owned).collect::<Vec<_>>())
    };
    assert_eq!(arguments("show"), Some(vec![]));
    assert_eq!(
        arguments("show service px"),
        Some(vec!["service".to_owned(), "px".to_owned()])
    );
    assert_eq!(arguments("show=service"), None);
    assert_eq!(arguments("foo.bar"), None);
}
