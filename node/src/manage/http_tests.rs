use std::path::Path;

use super::super::access::Access;
use super::super::connection::{Limits, Port};
use super::super::test_node::{TestNode, exchange};

/// The answer to raw bytes on a fresh node's management port; one request, then the sending side ends.
async fn raw(bytes: &[u8]) -> String {
    let mut node = TestNode::start().await;
    let address = node.listen(Access::loopback(), Limits::default()).await;
    exchange(address, bytes).await
}

/// The answer to a request with these fields.
async fn ask(request: &str, fields: &str, body: &str) -> String {
    let length = body.len();
    raw(format!("{request} HTTP/1.1\r\n{fields}Content-Length: {length}\r\n\r\n{body}").as_bytes()).await
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

const HOST: &str = "Host: 127.0.0.1:60000\r\n";

#[tokio::test]
async fn pages_are_there_and_nothing_else_is() {
    for (path, wanted) in [
        ("/", "200"),
        ("/healthz", "200"),
        ("/readyz", "503"),
        ("/leaderz", "200"),
        ("/metrics", "200"),
        ("/api/v1/status", "200"),
        ("/api/v1/status?x=1", "200"),
        ("/nothing", "404"),
        ("/api/v1/", "404"),
        ("//", "404"),
        ("/../metrics", "404"),
    ] {
        assert_eq!(
            status(&ask(&format!("GET {path}"), HOST, "").await),
            wanted,
            "{path}"
        );
    }
    assert_eq!(body(&ask("GET /readyz", HOST, "").await), "not ready: starting\n");
    let head = ask("HEAD /metrics", HOST, "").await;
    assert_eq!((status(&head), body(&head)), ("200", ""));
}

#[tokio::test]
async fn a_page_takes_its_own_methods_only() {
    for (request, allowed) in [
        ("POST /", "allow: GET, HEAD\r\n"),
        ("PUT /metrics", "allow: GET, HEAD\r\n"),
        ("DELETE /api/v1/status", "allow: GET, HEAD\r\n"),
        ("OPTIONS /api/v1/command", "allow: POST\r\n"),
        ("GET /api/v1/command", "allow: POST\r\n"),
        ("POST /api/v1/backup", "allow: GET, HEAD, PUT\r\n"),
        ("PUT /api/v1/config/diff", "allow: POST\r\n"),
        ("POST /api/v1/config", "allow: PUT\r\n"),
    ] {
        let answer = ask(request, HOST, "create pool stolen\r\n").await;
        assert_eq!(status(&answer), "405", "{request}");
        assert!(answer.contains(allowed), "{answer}");
        assert!(!answer.contains("OK\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn the_host_is_one_of_ours() {
    for (fields, wanted) in [
        ("Host: localhost:60000\r\n", "200"),
        ("Host: [::1]:60000\r\n", "200"),
        ("Host: rebound.example\r\n", "421"),
        ("Host: 127.0.0.1.example\r\n", "421"),
        ("Host: a\r\nHost: 127.0.0.1\r\n", "400"),
        ("", "400"),
    ] {
        assert_eq!(
            status(&ask("GET /api/v1/status", fields, "").await),
            wanted,
            "{fields}"
        );
    }
    let absolute = ask("GET http://rebound.example/metrics", HOST, "").await;
    assert_eq!(status(&absolute), "421");
    assert_eq!(
        status(&ask("GET /healthz", "Host: vip.example\r\n", "").await),
        "200"
    );
    let old = raw(b"GET /readyz HTTP/1.0\r\n\r\n").await;
    assert_eq!(status(&old), "503");
}

#[tokio::test]
async fn commands_come_from_no_foreign_page() {
    let json = "Content-Type: application/json\r\n";
    for (fields, wanted) in [
        (json.to_owned(), "200"),
        ("Origin: http://127.0.0.1:60000\r\n".to_owned(), "200"),
        ("Sec-Fetch-Site: same-origin\r\n".to_owned(), "200"),
        (String::new(), "403"),
        ("Content-Type: text/plain\r\n".to_owned(), "403"),
        ("Content-Type: Text/Plain; x=y\r\n".to_owned(), "403"),
        (
            "Content-Type: application/x-www-form-urlencoded\r\n".to_owned(),
            "403",
        ),
        (format!("{json}Origin: http://evil.example\r\n"), "403"),
        (format!("{json}Origin: null\r\n"), "403"),
        (format!("{json}Sec-Fetch-Site: cross-site\r\n"), "403"),
        ("Authorization: Bearer wrong\r\n".to_owned(), "401"),
        (format!("{json}Authorization: Basic eDp5\r\n"), "401"),
    ] {
        let answer = ask(
            "POST /api/v1/command",
            &format!("{HOST}{fields}"),
            "create pool p\r\n",
        )
        .await;
        assert_eq!(status(&answer), wanted, "{fields}");
    }
}

#[tokio::test]
async fn each_line_has_its_result() {
    let lines = "create pool p\n\n# x\r\npool p add 10.0.0.1\nfoo\nshow pool p\nverbose off\nset balance_method = round_robin\n";
    let fields = format!("{HOST}Content-Type: application/json\r\n");
    let answer = ask("POST /api/v1/command", &fields, lines).await;
    assert_eq!(status(&answer), "200");
    assert_eq!(
        body(&answer),
        "{\"ok\":false,\"results\":[{\"line\":1,\"ok\":true},{\"line\":4,\"ok\":true},\
         {\"line\":5,\"ok\":false,\"error\":\"unknown command: foo\"},\
         {\"line\":6,\"ok\":true,\"output\":[\"10.0.0.1:80 0\"]},{\"line\":7,\"ok\":true},{\"line\":8,\"ok\":true}]}\n"
    );
}

#[tokio::test]
async fn bodies_have_an_end() {
    let fields = "Content-Type: application/json\r\n";
    let big = format!("POST /api/v1/command HTTP/1.1\r\n{HOST}{fields}Content-Length: 16777217\r\n\r\n");
    let answer = raw(&[big.into_bytes(), vec![b'\n'; 16_777_217]].concat()).await;
    assert_eq!(status(&answer), "413");
    let asking = format!(
        "POST /api/v1/command HTTP/1.1\r\n{HOST}{fields}Expect: 100-continue\r\nContent-Length: 16777217\r\n\r\n"
    );
    assert_eq!(status(&raw(asking.as_bytes()).await), "413");
    let short =
        format!("POST /api/v1/command HTTP/1.1\r\n{HOST}{fields}Content-Length: 50\r\n\r\ncreate pool p\r\n");
    let answer = raw(short.as_bytes()).await;
    assert!(matches!(status(&answer), "400" | ""), "{answer}");
}

#[tokio::test]
async fn what_is_not_http_is_answered_once() {
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost : x\r\n\r\n"[..],
        b"GET /\r\n\r\n",
        b"POST / HTTP/9.9\r\n\r\ncreate pool stolen\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ] {
        let answer = raw(bytes).await;
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
        assert_eq!(status(&answer), "400", "{answer}");
    }
}

fn token_file() -> tempfile::NamedTempFile {
    use std::io::Write;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(
        file,
        "anna admin s3cret-of-anna\nprometheus read s3cret-of-prometheus"
    )
    .unwrap();
    file
}

async fn guarded(file: &Path, request: &str, fields: &str) -> String {
    let mut node = TestNode::start().await;
    let access = Access::loopback().with_token_file(file).unwrap();
    let address = node.listen(access.treat_all_as_far(), Limits::default()).await;
    let bytes = format!("{request} HTTP/1.1\r\n{HOST}{fields}Content-Length: 14\r\n\r\ncreate pool p\n");
    exchange(address, bytes.as_bytes()).await
}

#[tokio::test]
async fn from_afar_a_secret_is_needed() {
    let file = token_file();
    let get = |fields: &'static str| guarded(file.path(), "GET /metrics", fields);
    let refused = get("").await;
    assert_eq!(status(&refused), "401");
    assert!(refused.contains("www-authenticate: Bearer\r\n"), "{refused}");
    assert_eq!(status(&get("Authorization: Bearer nonsense\r\n").await), "401");
    assert_eq!(
        status(&get("Authorization: bearer s3cret-of-prometheus\r\n").await),
        "200"
    );
    let post = |fields: &'static str| guarded(file.path(), "POST /api/v1/command", fields);
    let reader = post("Authorization: Bearer s3cret-of-prometheus\r\n").await;
    assert!(
        body(&reader).contains("\"error\":\"this secret may only read\""),
        "{reader}"
    );
    let admin = post("Authorization: Bearer s3cret-of-anna\r\n").await;
    assert_eq!(
        body(&admin),
        "{\"ok\":true,\"results\":[{\"line\":1,\"ok\":true}]}\n"
    );
    // A backup holds all that was configured, so reading is not enough for it.
    let backup = |fields: &'static str| guarded(file.path(), "HEAD /api/v1/backup", fields);
    let reader = backup("Authorization: Bearer s3cret-of-prometheus\r\n").await;
    assert_eq!(status(&reader), "403");
    let admin = backup("Authorization: Bearer s3cret-of-anna\r\n").await;
    assert_eq!(status(&admin), "200");
}

#[tokio::test]
async fn lines_from_afar_begin_with_auth() {
    let file = token_file();
    let say = async |lines: &str| {
        let mut node = TestNode::start().await;
        let access = Access::loopback().with_token_file(file.path()).unwrap();
        let address = node.listen(access.treat_all_as_far(), Limits::default()).await;
        exchange(address, lines.as_bytes()).await
    };
    let refused = "ERROR: not authorised: say `auth SECRET` first\r\n";
    assert_eq!(say("show pool\r\nauth s3cret-of-anna\r\n").await, refused);
    assert_eq!(say("nonsense\r\nshow pool\r\n").await, refused);
    assert_eq!(say("!\r\nshow pool\r\n").await, refused);
    assert_eq!(
        say("auth wrong\r\nshow pool\r\n").await,
        "ERROR: wrong secret\r\n"
    );
    assert_eq!(
        say("auth s3cret-of-anna\r\ncreate pool p\r\nquit\r\n").await,
        "OK\r\nOK\r\n"
    );
    assert_eq!(
        say("auth s3cret-of-prometheus\r\ncreate pool p\r\nshow pool\r\nshutdown\r\ncluster token\r\n").await,
        "OK\r\nERROR: this secret may only read\r\n.\r\nERROR: this secret may only read\r\n\
         ERROR: this secret may only read\r\n"
    );
}

#[tokio::test]
async fn the_name_of_a_token_is_in_the_history_and_variables_are_for_admins() {
    let file = token_file();
    let mut node = TestNode::start().await;
    let access = Access::loopback().with_token_file(file.path()).unwrap();
    let address = node.listen(access.treat_all_as_far(), Limits::default()).await;
    let said = exchange(
        address,
        b"auth s3cret-of-anna\r\ncreate pool p\r\nconfig history\r\nshow pool x_$CARGO_PKG_NAME\r\n",
    )
    .await;
    assert!(said.contains(" anna@127.0.0.1:"), "{said}");
    assert!(said.contains("ERROR: pool 'x_fleetbal' does"), "{said}");
    let said = exchange(
        address,
        b"auth s3cret-of-prometheus\r\nfrob_$PATH\r\nshow pool $PATH\r\n",
    )
    .await;
    assert_eq!(
        said,
        "OK\r\nERROR: unknown command: frob_\r\np nodes 0\r\np services 0\r\n.\r\n"
    );
    let call =
        b"POST /api/v1/command HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer s3cret-of-anna\r\n\
        Content-Length: 14\r\nConnection: close\r\n\r\ncreate pool p2";
    assert_eq!(status(&exchange(address, call).await), "200");
    let said = exchange(address, b"auth s3cret-of-anna\r\nconfig history 1\r\n").await;
    assert!(said.contains(" anna@127.0.0.1:"), "{said}");
}

#[tokio::test]
async fn strangers_are_told_why_not() {
    let mut node = TestNode::start().await;
    let address = node
        .listen(Access::loopback().treat_all_as_far(), Limits::default())
        .await;
    let http = exchange(address, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await;
    assert_eq!(status(&http), "403");
}

#[tokio::test]
async fn a_stranger_who_says_nothing_is_let_go() {
    let limits = Limits {
        introduction: std::time::Duration::from_millis(20),
        ..Limits::default()
    };
    let mut node = TestNode::start().await;
    let address = node.listen(Access::loopback().treat_all_as_far(), limits).await;
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let mut all = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut all)
        .await
        .unwrap();
    assert!(all.is_empty());
}

#[tokio::test]
async fn the_metrics_port_only_reads() {
    let mut node = TestNode::start().await;
    let address = node.open(Port::Metrics, Limits::default()).await;
    let ask = async |request: &str| {
        let bytes = format!("{request} HTTP/1.1\r\nHost: n1.example\r\nConnection: close\r\n\r\n");
        status(&exchange(address, bytes.as_bytes()).await).to_owned()
    };
    for path in ["/", "/metrics", "/healthz", "/api/v1/status"] {
        assert_eq!(ask(&format!("GET {path}")).await, "200", "{path}");
    }
    assert_eq!(ask("POST /api/v1/command").await, "404");
    assert_eq!(ask("POST /metrics").await, "405");
    assert!(!exchange(address, b"show pool\r\n").await.contains("\r\n.\r\n"));
}

#[tokio::test]
async fn metrics_say_what_they_should() {
    let fields = format!("{HOST}Accept: application/openmetrics-text\r\n");
    let open = ask("GET /metrics", &fields, "").await;
    assert!(
        open.contains("content-type: application/openmetrics-text; version=1.0.0"),
        "{open}"
    );
    assert!(open.ends_with("# EOF\n"), "{open}");
    let text = ask("GET /metrics", HOST, "").await;
    for line in [
        "fleetbal_build_info{version=\"0.1.0\"} 1\n",
        "fleetbal_config_version 0\n",
        "fleetbal_raft_has_leader 1\n",
        "fleetbal_raft_snapshot_index 0\n",
        "fleetbal_cluster_members{state=\"alive\"} 1\n",
        "fleetbal_cluster_members{state=\"dead\"} 0\n",
        "fleetbal_cluster_failure_tolerance 0\n",
        "fleetbal_node_ready 0\n",
    ] {
        assert!(text.contains(line), "no {line} in {text}");
    }
}

/// A file over HTTP: compared, refused, applied, and then what the fleet has.
#[tokio::test]
async fn a_file_is_compared_and_applied() {
    let mut node = TestNode::start().await;
    let address = node.listen(Access::loopback(), Limits::default()).await;
    let send = async |request: &str, file: &str| {
        let length = file.len();
        let fields = format!("{HOST}Content-Type: application/octet-stream\r\nContent-Length: {length}\r\n");
        let answer = exchange(
            address,
            format!("{request} HTTP/1.1\r\n{fields}\r\n{file}").as_bytes(),
        )
        .await;
        format!("{} {}", status(&answer), body(&answer).trim_end())
    };
    let file = "CLUSTER node = n9\nCREATE POOL web\nPOOL web ADD 10.0.0.1\nSERVER config_history = 5\n";
    let lines =
        r#""lines":["+ CREATE POOL web","+   POOL ADD web 10.0.0.1:80","+ SERVER config_history = 5"]"#;
    let (diff, apply) = ("POST /api/v1/config/diff", "PUT /api/v1/config");
    assert_eq!(send(diff, file).await, format!("200 {{\"version\":0,{lines}}}"));
    assert_eq!(
        send("PUT /api/v1/config?if_version=3", file).await,
        "409 the configuration is at version 0, not 3; nothing was changed"
    );
    assert_eq!(
        send(apply, "CREATE POOL a\nSET a.b = c\n").await,
        "422 line 2: Unknown pool parameter 'b'"
    );
    assert_eq!(
        send("PUT /api/v1/config?version=3", file).await,
        "400 the query may have if_version=<number> and confirm=<seconds>"
    );
    assert_eq!(send(apply, file).await, format!("200 {{\"version\":1,{lines}}}"));
    assert_eq!(send(apply, file).await, r#"200 {"version":1,"lines":[]}"#);
    assert_eq!(send(diff, file).await, r#"200 {"version":1,"lines":[]}"#);
    let waits = send("PUT /api/v1/config?if_version=1&confirm=60", "").await;
    assert!(waits.starts_with(r#"200 {"version":2,"#), "{waits}");
    assert_eq!(send(apply, file).await, "409 version 2 waits for confirm");
}

#[tokio::test]
async fn a_secret_that_may_only_read_compares_no_file() {
    let secrets = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secrets.path(), "bot read s2\n").unwrap();
    let access = Access::loopback().with_token_file(secrets.path()).unwrap();
    let mut node = TestNode::start().await;
    let address = node.listen(access.treat_all_as_far(), Limits::default()).await;
    let request = format!(
        "POST /api/v1/config/diff HTTP/1.1\r\n{HOST}Authorization: Bearer s2\r\nContent-Length: 0\r\n\r\n"
    );
    let answer = exchange(address, request.as_bytes()).await;
    assert_eq!(
        (status(&answer), body(&answer)),
        ("403", "only an admin may do that\n")
    );
}

#[tokio::test]
async fn a_secret_that_may_only_read_sends_no_plugin_and_no_certificate() {
    let file = token_file();
    let access = Access::loopback().with_token_file(file.path()).unwrap();
    let mut node = TestNode::start().await;
    let address = node.listen(access.treat_all_as_far(), Limits::default()).await;
    let put = async |path: &str, secret: &str, body: &str| {
        let length = body.len();
        let authorization = match secret {
            "" => String::new(),
            secret => format!("Authorization: Bearer {secret}\r\n"),
        };
        let head = format!("PUT {path} HTTP/1.1\r\n{HOST}{authorization}Content-Length: {length}\r\n\r\n");
        let answer = exchange(address, format!("{head}{body}").as_bytes()).await;
        status(&answer).to_owned()
    };
    let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
    let certificate = made.cert.pem() + &made.signing_key.serialize_pem();
    let plugin = "return { register = function(service) end }".to_owned();
    let sent = [
        ("/api/v1/plugins/Own", plugin),
        ("/api/v1/certs/www", certificate),
    ];
    let version = || node.context.cluster.feed().latest().state.config.version.0;
    for (path, body) in &sent {
        for (secret, refused) in [("s3cret-of-prometheus", "403"), ("", "401"), ("nonsense", "401")] {
            assert_eq!(put(path, secret, body).await, refused, "{path} with '{secret}'");
            assert_eq!(version(), 0, "{path} with '{secret}' changed something");
        }
    }
    // What was refused is what an admin may send.
    for ((path, body), wanted) in sent.iter().zip([1, 2]) {
        assert_eq!(put(path, "s3cret-of-anna", body).await, "200", "{path}");
        assert_eq!(version(), wanted, "{path}");
    }
}
