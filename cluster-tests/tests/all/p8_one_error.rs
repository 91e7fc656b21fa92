//! P8: one mistake, one error, nothing changed.

use anyhow::ensure;
use fleetbal_cluster_tests::client::Http;
use fleetbal_cluster_tests::{Fleet, Reply, Result, wait};

/// What is typed, and the error that is the answer.
const MISTAKES: &[(&str, &str)] = &[
    ("frobnicate", "unknown command: frobnicate"),
    ("!bang", "invalid command"),
    ("CREATE", "usage: CREATE {service|pool} <name>"),
    ("CREATE POOL web", "pool 'web' already exists"),
    ("CREATE SERVICE www", "service 'www' already exists"),
    ("CREATE SERVICE web", "pool 'web' already exists"),
    ("POOL nowhere ADD 127.0.0.1:80", "Pool 'nowhere' not found"),
    ("POOL web ADD not-an-address", "Invalid syntax to 'pool' command"),
    (
        "POOL web FROB 127.0.0.1:80",
        "Invalid command:  must be 'add' or 'remove'",
    ),
    ("SET www.no_such = 1", "Unknown service parameter 'no_such'"),
    ("SET nobody.listen = 80", "service/pool 'nobody' does not exist"),
    ("SET www.pool = nowhere", "Pool 'nowhere' not found"),
    (
        "SET www.listen = here",
        "Listen argument must be ip:port or port. e.g. 192.168.0.1:80 or 81",
    ),
    (
        "SET www.idle_timeout = soon",
        "Expecting integer value for parameter 'idle_timeout'",
    ),
    (
        "SET www.persist_client = maybe",
        "Expecting boolean value for parameter 'persist_client'",
    ),
    ("SET www.role = wizard", "Role not valid for service www"),
    ("SET web.balance_method = fortune", "Unknown balance method"),
    ("ENABLE nobody", "service 'nobody' does not exist"),
    ("ENABLE www", "service www is already enabled"),
    ("DISABLE nobody", "service 'nobody' does not exist"),
    ("SHOW", "Invalid syntax to 'show' command"),
    ("SHOW SERVICE nobody", "Unknown service"),
    ("SHOW POOL nowhere", "pool 'nowhere' does not exist"),
    ("USE nobody", "Non-existent pool or service 'nobody'"),
    ("VERBOSE maybe", "usage: VERBOSE {on|off}"),
    ("SHUTDOWN now", "Invalid syntax to 'shutdown' command"),
    (
        "cluster set voters = 2",
        "voters must be an odd number from 1 to 7",
    ),
];

/// What is typed, and words of the error; where Perlbal has no text to keep to.
const LOOSE: &[(&str, &str)] = &[
    ("cluster frobnicate", "cluster"),
    ("cluster token ttl soon", "ttl"),
    ("cluster token uses 0", "uses"),
    ("barrier soon", "barrier"),
    ("SET www.listen = ${ip:nosuchif0}:80", "nosuchif0"),
    ("SET www.listen = ${planet:earth}:80", "planet"),
    ("CREATE POOL not-a-word", "usage: CREATE"),
];

#[test]
fn every_mistake_gets_one_error_at_every_node_and_changes_nothing() -> Result {
    let fleet = Fleet::of_three()?;
    let before = fleet.node(1)?.dump()?;
    let version = fleet.node(1)?.version()?;
    for node in fleet.nodes() {
        let mut manage = node.manage()?;
        for (line, wanted) in MISTAKES {
            let text = manage.refused(line)?;
            ensure!(text == *wanted, "{}: '{line}' was answered '{text}'", node.name);
        }
        for (line, word) in LOOSE {
            let text = manage.refused(line)?;
            ensure!(
                text.contains(word),
                "{}: '{line}' was answered '{text}'",
                node.name
            );
        }
        // One error each, no more: the next answer belongs to the next question.
        ensure!(
            manage.ask("VERBOSE on")? == Reply::Ok,
            "{}: an answer too many",
            node.name
        );
    }
    for node in fleet.nodes() {
        ensure!(
            node.version()? == version,
            "{} is at {}",
            node.name,
            node.version()?
        );
        ensure!(node.dump()? == before, "{} changed its configuration", node.name);
    }
    fleet.passed()
}

#[test]
fn a_service_that_cannot_listen_here_is_not_enabled() -> Result {
    let fleet = Fleet::of_three()?;
    let mut manage = fleet.node(1)?.manage()?;
    let taken = std::net::TcpListener::bind((fleet.node(1)?.address, 8082))?;
    for line in [
        "CREATE SERVICE second",
        "SET role = reverse_proxy",
        "SET listen = ${node:ip}:8082",
        "SET pool = web",
    ] {
        manage.change(line)?;
    }
    let before = fleet.node(1)?.dump()?;
    let text = manage.refused("ENABLE second")?;
    ensure!(
        text.starts_with("Can't start service 'second' on ") && text.ends_with("Address already in use"),
        "refused with '{text}'"
    );
    ensure!(fleet.node(1)?.dump()? == before, "it was enabled all the same");
    drop(taken);
    // Taken on another node: it is enabled, and the typist is told who could not.
    let taken = std::net::TcpListener::bind((fleet.node(3)?.address, 8082))?;
    let text = manage.refused("ENABLE second")?;
    ensure!(
        text.starts_with("enabled, but n3: ") && text.ends_with("Address already in use"),
        "answered '{text}'"
    );
    // Every node tells of it, for as long as it is so.
    for number in 1..=3 {
        wait::for_true("a node to tell of it", wait::PATIENCE, || {
            let effects = fleet.node(number)?.manage()?.data("effects")?;
            let told = effects.iter().any(|line| {
                line.starts_with("n3    service second  failed  ") && line.ends_with("Address already in use")
            });
            ensure!(told && effects.len() == 2, "n{number} tells {effects:?}");
            Ok(true)
        })?;
    }
    drop(taken);
    fleet.wait_listening(3, 8082)?;
    wait::for_true("nobody to tell of it", wait::PATIENCE, || {
        Ok(fleet.node(1)?.manage()?.data("effects")?.len() == 1)
    })?;
    fleet.passed()
}

#[test]
fn strange_bytes_end_no_connection_and_no_node() -> Result {
    let fleet = Fleet::of_three()?;
    let mut manage = fleet.node(2)?.manage()?;
    manage.send(b"\n\r\n   \r\n# a comment\r\n")?;
    manage.send(b"CREATE POOL \xff\xfe\r\n")?;
    ensure!(
        matches!(manage.reply()?, Reply::Error(_)),
        "bytes that are no text were taken"
    );
    // Several commands in one write are answered in order.
    manage.send(b"nonsense\r\nuptime\nverbose on\r\n")?;
    ensure!(
        manage.reply()? == Reply::Error("unknown command: nonsense".to_owned()),
        "the first of three"
    );
    ensure!(matches!(manage.reply()?, Reply::Data(_)), "the second of three");
    ensure!(manage.reply()? == Reply::Ok, "the third of three");
    // A line without an end is no reason to take up memory for ever.
    let mut endless = fleet.node(2)?.manage()?;
    let chunk = vec![b'a'; 1 << 20];
    for _ in 0..40 {
        if endless.send(&chunk).is_err() {
            break;
        }
    }
    drop(endless);
    manage.change("verbose on")?;
    fleet.passed()
}

#[test]
fn a_request_never_runs_its_body_as_commands() -> Result {
    let fleet = Fleet::of_three()?;
    let before = fleet.node(1)?.dump()?;
    let address = fleet.node(1)?.management();
    let body = b"CREATE POOL stolen\r\nshutdown\r\n";
    let mut http = Http::connect(address)?;
    let answer = http.request("POST", "/", body)?;
    ensure!(answer.status()? >= 400, "answered '{}'", answer.start);
    for method in ["PUT", "OPTIONS", "DELETE"] {
        let mut http = Http::connect(address)?;
        // However it is answered, or not at all: nothing of the body may be run.
        drop(http.request(method, "/", body));
    }
    fleet.wait_settled()?;
    ensure!(fleet.node(1)?.dump()? == before, "a body was run as commands");
    fleet.passed()
}

#[test]
fn ambiguous_requests_are_refused_and_reach_no_backend() -> Result {
    let mut fleet = Fleet::of_three()?;
    let at = fleet.node(1)?.traffic();
    let bad: &[&[u8]] = &[
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"nonsense\r\n\r\n",
    ];
    for bytes in bad {
        let mut http = Http::connect(at)?;
        http.send(bytes)?;
        let shown = String::from_utf8_lossy(bytes);
        let answer = http.response(fleetbal_cluster_tests::message::Kind::Response)?;
        ensure!(
            answer.status()? == 400,
            "{shown:?} was answered '{}'",
            answer.start
        );
    }
    for number in 1..=3 {
        let count = fleet.backend(number)?.count();
        ensure!(count == 0, "b{number} got {count} requests");
    }
    fleet.passed()
}
