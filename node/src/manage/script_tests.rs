use super::*;

fn script(text: &str) -> Result<Script, WrongLine> {
    interpret(text.as_bytes(), |name| {
        (name == "IP").then(|| "127.0.0.1".to_owned())
    })
}

fn wrong(text: &str) -> (usize, String) {
    let wrong = script(text).unwrap_err();
    (wrong.line, wrong.text)
}

#[test]
fn reads_changes_settings_and_queries() {
    let text = "# a fleet\r\n\
        CLUSTER Advertise = $IP:7400\r\n\
        CREATE POOL web\r\n  POOL web ADD $IP\r\n\
        CREATE SERVICE px\r\n  SET role = reverse_proxy\r\n  SET pool = web\r\n\
        show pool\r\nVERBOSE on\r\nUSE web\r\nSET balance_method = round_robin\r\n\
        cluster set voters = 1";
    let script = script(text).unwrap();
    assert_eq!(
        script.settings,
        [("advertise".to_owned(), "127.0.0.1:7400".to_owned())]
    );
    assert_eq!(script.output, ["web nodes 1", "web services 1", "."]);
    let numbers: Vec<_> = script.changes.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [3, 4, 5, 6, 7, 11, 12]);
    let pool = script.config.pool("web").unwrap();
    assert_eq!(pool.balance_method.name(), "round_robin");
    assert_eq!(
        FleetConfig::default()
            .with_batch(&script.batch())
            .unwrap()
            .voters(),
        1
    );
}

#[test]
fn the_first_wrong_line_is_named() {
    assert_eq!(
        wrong("CREATE POOL a\n\nfoo\n"),
        (3, "unknown command: foo".to_owned())
    );
    assert_eq!(
        wrong("CREATE POOL a\nCREATE POOL A\nfoo\n"),
        (2, "pool 'a' already exists".to_owned())
    );
    assert_eq!(
        wrong("CREATE POOL a\nSET nope.x = y\nUSE a"),
        (2, "service/pool 'nope' does not exist".to_owned())
    );
    assert_eq!(
        wrong("CREATE POOL a\nSET health_method = HEAD\nSET health_expect = well\nSET health_tcp = on\n"),
        (
            3,
            "Value of 'health_expect' must be status codes while health_method is HEAD: answers to HEAD have no body"
                .to_owned()
        )
    );
    assert_eq!(
        wrong("CREATE POOL a\nUSE b"),
        (2, "Non-existent pool or service 'b'".to_owned())
    );
    assert_eq!(wrong("show service x"), (1, "Unknown service".to_owned()));
    assert_eq!(wrong("quit"), (1, "unknown command: quit".to_owned()));
    for word in [
        "shutdown",
        "cluster token",
        "sync",
        "cluster status",
        "uptime",
        "auth x",
    ] {
        let first = word.split(' ').next().unwrap();
        assert_eq!(
            wrong(word),
            (1, format!("'{first}' cannot stand in a config file")),
            "{word}"
        );
    }
    assert_eq!(
        wrong("SERVER pid_file = /x"),
        (1, "unknown server option 'pid_file'".to_owned())
    );
}

#[test]
fn a_missing_file_is_named() {
    let error = read(Path::new("/nonexistent/x.conf")).unwrap_err().to_string();
    assert_eq!(
        error,
        "Error opening config file (/nonexistent/x.conf): No such file or directory"
    );
}

#[test]
fn a_thousand_pools_are_read_at_once() {
    let backend = |n: u32, b: u32| format!("POOL p{n} ADD 10.0.{b}.1\n");
    let pool = |n: u32| format!("CREATE POOL p{n}\n") + &(0..10).map(|b| backend(n, b)).collect::<String>();
    let text: String = (0..1000).map(pool).collect();
    let script = script(&text).unwrap();
    assert_eq!(script.config.pools().len(), 1000);
    assert_eq!(script.changes.len(), 11_000);
}
