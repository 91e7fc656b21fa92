//! Whole connections: text-file cases, raw bytes, and whatever else a socket may bring.

use std::path::Path;

use proptest::prelude::*;

use super::access::Access;
use super::connection::Limits;
use super::test_node::{TestNode, exchange};

struct Case {
    commands: String,
    replies: Vec<String>,
    place: String,
}

/// Cases are blocks between blank lines: commands, `----`, replies.
fn cases(path: &Path, fill: impl Fn(&str) -> String) -> Vec<Case> {
    let text = fill(&std::fs::read_to_string(path).unwrap());
    let blocks = text
        .split("\n\n")
        .filter(|block| !block.trim_start().starts_with('#'));
    let case = |block: &str| {
        let (commands, replies) = block.split_once("\n----").expect(block);
        let unmark = |line: &str| {
            if line == "~" {
                String::new()
            } else {
                line.to_owned()
            }
        };
        Case {
            commands: commands.trim_start().replace('\n', "\r\n") + "\r\n",
            replies: replies.lines().skip(1).map(unmark).collect(),
            place: format!("{}: {}", path.display(), block.lines().next().unwrap_or_default()),
        }
    };
    blocks.map(case).collect()
}

/// Whether a line is what was expected; `*` stands for any text, once.
fn fits(expected: &str, line: &str) -> bool {
    match expected.split_once('*') {
        Some((head, tail)) => {
            line.len() >= head.len() + tail.len() && line.starts_with(head) && line.ends_with(tail)
        }
        None => line == expected,
    }
}

fn case_files() -> Vec<std::path::PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/manage");
    let files = std::fs::read_dir(directory).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

#[tokio::test]
async fn text_file_cases() {
    for path in case_files() {
        let mut node = TestNode::start().await;
        let address = node.listen(Access::loopback(), Limits::default()).await;
        let taken = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        // Bound again by somebody else for as long as the test runs; `free` is not.
        let taken_by = std::net::TcpListener::bind(taken).unwrap();
        let free = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let nodes = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&nodes, "10.0.0.1\n# none\n10.0.0.2:81\n10.0.0.1:80 # twice\n").unwrap();
        let nodes_path = nodes.path().display().to_string();
        let fill = |text: &str| {
            text.replace("{nodes}", &nodes_path)
                .replace("{taken}", &taken.to_string())
                .replace("{free}", &free.to_string())
        };
        // One connection for all cases of a file: each is answered by what its lines brought.
        let mut talk = Talk::open(address).await;
        for case in cases(&path, fill) {
            let lines = talk.say(&case.commands, case.replies.len()).await;
            let all_fit = lines
                .iter()
                .zip(&case.replies)
                .all(|(line, wanted)| fits(wanted, line));
            assert!(
                all_fit && lines.len() == case.replies.len(),
                "{}\nexpected:\n{}\ngot:\n{}",
                case.place,
                case.replies.join("\n"),
                lines.join("\n")
            );
        }
        talk.end().await;
        drop(taken_by);
    }
}

/// A connection that is kept.
struct Talk {
    stream: tokio::io::BufReader<tokio::net::TcpStream>,
}

impl Talk {
    async fn open(address: std::net::SocketAddr) -> Self {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        Self {
            stream: tokio::io::BufReader::new(stream),
        }
    }

    /// Sends lines and reads so many lines back.
    async fn say(&mut self, commands: &str, replies: usize) -> Vec<String> {
        use tokio::io::AsyncWriteExt;
        self.stream.write_all(commands.as_bytes()).await.unwrap();
        let mut lines = Vec::new();
        while lines.len() < replies {
            match self.line().await {
                Some(line) => lines.push(line),
                None => break,
            }
        }
        lines
    }

    async fn line(&mut self) -> Option<String> {
        use tokio::io::AsyncBufReadExt;
        let mut line = String::new();
        let patience = std::time::Duration::from_secs(15);
        let read = tokio::time::timeout(patience, self.stream.read_line(&mut line)).await;
        let whole = matches!(read, Ok(Ok(_)));
        (whole && line.ends_with("\r\n")).then(|| line.trim_end_matches("\r\n").to_owned())
    }

    /// Nothing more may have been said than was read.
    async fn end(mut self) {
        use tokio::io::AsyncWriteExt;
        self.stream.shutdown().await.unwrap();
        assert_eq!(self.line().await, None, "an answer too many");
    }
}

async fn lines(bytes: &[u8]) -> String {
    let mut node = TestNode::start().await;
    let address = node.listen(Access::loopback(), Limits::default()).await;
    exchange(address, bytes).await
}

#[tokio::test]
async fn lines_end_in_lf_or_crlf_and_may_come_all_at_once() {
    assert_eq!(
        lines(b"\n\r\n  \r\n# x\nverbose on\ncreate pool a\r\n\nfoo\nshow pool a\n").await,
        "OK\r\nOK\r\nERROR: unknown command: foo\r\n.\r\n"
    );
    assert_eq!(
        lines(b"create pool a").await,
        "",
        "a line whose end is lost is not run"
    );
    assert_eq!(lines(b"").await, "");
}

#[tokio::test]
async fn quit_and_exit_end_the_connection() {
    assert_eq!(lines(b"verbose on\nquit\nverbose on\n").await, "OK\r\n");
    assert_eq!(lines(b"exit\r\nverbose on\n").await, "");
    assert_eq!(
        lines(b"exit now\nverbose on\n").await,
        "ERROR: unknown command: exit\r\nOK\r\n"
    );
}

#[tokio::test]
async fn junk_gets_one_error_a_line() {
    assert_eq!(
        lines(b"\xff\xfe\nset a\0b = c\n$$$\nverbose on\n").await,
        "ERROR: invalid command: the line is not UTF-8 text\r\n\
         ERROR: invalid command: control characters in the line\r\n\
         ERROR: invalid command\r\nOK\r\n"
    );
    let mut long = vec![b'x'; 65_536];
    long.push(b'\n');
    let mut longer = vec![b'y'; 200_000];
    longer.extend_from_slice(b"\r\nverbose on\n");
    let sent = [long, longer].concat();
    let answer = lines(&sent).await;
    let (first, rest) = answer.split_at(100);
    assert!(first.starts_with("ERROR: unknown command: xxxx"), "{first}");
    assert!(
        rest.ends_with("x\r\nERROR: line too long: at most 65536 bytes\r\nOK\r\n"),
        "{}",
        rest.len()
    );
}

#[tokio::test]
async fn a_request_never_runs_as_lines() {
    let tricks: [&[u8]; 5] = [
        b"FOO / HTTP/1.1\r\n\r\ncreate pool stolen\r\n",
        b"\r\nPOST / HTTP/1.1\r\nHost: x\r\n\r\ncreate pool stolen\r\n",
        b"get / http/1.0\r\n\r\ncreate pool stolen\r\n",
        b"verbose on\r\nPOST / HTTP/1.1\r\n\r\ncreate pool stolen\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\ncreate pool stolen\r\n",
    ];
    for trick in tricks {
        let mut node = TestNode::start().await;
        let address = node.listen(Access::loopback(), Limits::default()).await;
        let answer = exchange(address, trick).await;
        assert!(
            answer.ends_with("ERROR: not a command: this looks like an HTTP request\r\n"),
            "{answer}"
        );
        assert_eq!(node.context.view.load().config.pools().len(), 0);
    }
}

#[tokio::test]
async fn one_too_many_is_turned_away() {
    let limits = Limits {
        connections: 1,
        ..Limits::default()
    };
    let mut node = TestNode::start().await;
    let address = node.listen(Access::loopback(), limits).await;
    let mut first = Talk::open(address).await;
    assert_eq!(first.say("verbose on\r\n", 1).await, ["OK"]);
    assert_eq!(exchange(address, b"verbose on\r\n").await, "");
    first.end().await;
    // The place is free once the first connection was seen to end.
    while exchange(address, b"verbose on\r\n").await.is_empty() {
        tokio::task::yield_now().await;
    }
}

/// Lines that are words of commands in odd orders, or no words at all.
fn odd_line() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "create",
        "pool",
        "service",
        "SET",
        "web",
        "px",
        "=",
        ".",
        "show",
        "use",
        "${node:ip}",
        "${",
        "$HOME",
        "#",
        "enable",
        "10.0.0.1",
        "add",
        "cluster",
        "token",
        "tokens",
        "status",
        "json",
        "default",
        "idle_timeout",
        "role",
        "reverse_proxy",
        "dumpconfig",
        "verbose",
        "on",
        "off",
        "help",
        "config",
        "version",
        "\t",
        "é",
        "ready",
    ]);
    prop_oneof![
        3 => prop::collection::vec(words, 0..6).prop_map(|words| words.join(" ").into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..60),
    ]
}

/// Reads the answer to one line, as a client would: an error, `OK`, or data up to its end.
fn skip_answer<'a>(mut lines: impl Iterator<Item = &'a str>, marker: &str) -> usize {
    let mut answers = 0;
    loop {
        match lines.next() {
            None => return answers,
            Some(line) if line == marker => answers += 1,
            Some(_) => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, ..ProptestConfig::default() })]

    /// 20,000 odd lines. Behind each stands one whose answer is known, so an answer too few or many would show.
    #[test]
    fn odd_lines_get_their_answers_and_nothing_breaks(odd in prop::collection::vec(odd_line(), 1000)) {
        let mut sent = Vec::new();
        let mut markers = 0;
        for mut line in odd {
            line.retain(|byte| *byte != b'\n');
            let words = line.to_ascii_lowercase();
            let ends = [&b"quit"[..], b"exit", b"shutdown", b"http/"];
            if ends.iter().any(|end| words.windows(end.len()).any(|w| w == *end)) {
                continue;
            }
            sent.extend_from_slice(&line);
            sent.extend_from_slice(b"\r\nmarker\r\n");
            markers += 1;
        }
        sent.extend_from_slice(b"quit\r\n");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let answer = runtime.block_on(lines(&sent));
        let marker = "ERROR: unknown command: marker";
        prop_assert_eq!(skip_answer(answer.split("\r\n"), marker), markers);
        prop_assert!(answer.is_empty() || answer.ends_with("\r\n"));
    }
}

#[tokio::test]
async fn a_line_too_long_is_one_of_its_transaction() {
    let mut node = TestNode::start().await;
    let address = node.listen(Access::loopback(), Limits::default()).await;
    let long = "x".repeat(1 << 17);
    let lines = format!("begin\r\ncreate pool a\r\n{long}\r\ncommit\r\nshow pool\r\n");
    let answer = exchange(address, lines.as_bytes()).await;
    let error = "line too long: at most 65536 bytes";
    assert_eq!(
        answer,
        format!("OK\r\nOK\r\nERROR: {error}\r\nERROR: nothing committed: line 2: {error}\r\n.\r\n")
    );
}

#[tokio::test]
async fn files_are_included_whole_or_not_at_all() {
    let mut node = TestNode::start().await;
    let address = node.listen(Access::loopback(), Limits::default()).await;
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let good = write("good", "CREATE POOL web\nPOOL web ADD 10.0.0.1:80\n");
    let bad = write("bad", "CREATE POOL other\nPOOL nosuch ADD 10.0.0.1:80\n");
    let own = write("own", "CLUSTER node = n9\n");
    let commands = format!(
        "load include\ninclude = {bad}\npool other add 10.0.0.1\ncreate pool mine\ninclude = {good}\n\
         pool web add 10.0.0.3\ninclude = {own}\nbegin\ninclude = {bad}\ncommit\n"
    );
    let mut talk = Talk::open(address).await;
    let lines = talk.say(&commands, 10).await;
    let wanted = [
        "OK".to_owned(),
        format!("ERROR: {bad}:2: *"),
        "ERROR: *".to_owned(),
        "OK".to_owned(),
        "OK".to_owned(),
        "OK".to_owned(),
        format!("ERROR: {own}: lines of this process alone *"),
        "OK".to_owned(),
        format!("ERROR: {bad}:2: *"),
        format!("ERROR: nothing committed: line 1: {bad}:2: *"),
    ];
    for (line, wanted) in lines.iter().zip(&wanted) {
        assert!(fits(wanted, line), "{line}\nwanted: {wanted}\n{lines:#?}");
    }
    assert_eq!(lines.len(), wanted.len());
    talk.end().await;
}
