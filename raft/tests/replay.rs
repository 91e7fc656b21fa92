//! P2 at its root: one log, replayed on two machines that differ in all that a machine can differ in, gives the same
//! bytes and the same answers, error texts included.
//!
//! The machines are processes of this test: each gets the log as a file, and another environment, working directory
//! and set of files beside it. The log's own times are decades away from any clock, so a look at one would show.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test says so by panicking"
)]

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command as Process;

use fleetbal_raft::machine::{SnapshotPlace, StateMachine};
use fleetbal_raft::model::{
    Answer, BackendAddress, Batch, Change, Command, Entry, KeyHash, NewMember, NodeName, PoolName, RequestId,
    SecretHash, ServiceName, TokenId, UnixMillis,
};
use fleetbal_raft::types::{LogCommand, LogEntry};
use fleetbal_raft::wire::{decode_entry, encode_entry};
use openraft::RaftSnapshotBuilder as _;
use openraft::entry::RaftEntry as _;
use openraft::storage::RaftStateMachine as _;
use openraft::vote::RaftLeaderId as _;
use sha2::{Digest, Sha256};

const LOG: &str = "FLEETBAL_REPLAY_LOG";
const BEGIN: &str = "==== replayed\n";

/// 1979, when nobody had this clock.
const THEN: u64 = 300_000_000_000;

#[test]
fn one_log_on_two_different_machines_gives_the_same_bytes() {
    if let Ok(path) = env::var(LOG) {
        print!("{BEGIN}{}", replay(&fs::read(path).unwrap()));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    fs::write(&log, write_log()).unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two/deeper"));
    fs::create_dir_all(&one).unwrap();
    fs::create_dir_all(two.join("htdocs")).unwrap();
    fs::write(two.join("nodes.txt"), "10.0.0.1:80\n").unwrap();
    let first = machine(&log, &one, &[("TZ", "Pacific/Kiritimati"), ("HOSTNAME", "one")]);
    let second = machine(
        &log,
        &two,
        &[
            ("LANG", "tr_TR.UTF-8"),
            ("HOSTNAME", "two"),
            ("HOME", "/"),
            ("PORT", "99"),
        ],
    );
    assert_eq!(first, second);
    // They did replay it, and by its own clock.
    for wanted in [
        "Unknown service parameter 'no_such'",
        "the join token has expired",
        "the join token has been used up",
        "Joined(2)",
        "34: Some(Applied(Version(3)))",
        "Pool 'nowhere' not found",
    ] {
        assert!(first.contains(wanted), "no '{wanted}' in\n{first}");
    }
}

fn machine(log: &Path, dir: &Path, variables: &[(&str, &str)]) -> String {
    let output = Process::new(env::current_exe().unwrap())
        .args([
            "--exact",
            "one_log_on_two_different_machines_gives_the_same_bytes",
            "--nocapture",
        ])
        .env_clear()
        .envs(variables.iter().copied())
        .env(LOG, log)
        .current_dir(dir)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let (_, replayed) = text.split_once(BEGIN).unwrap();
    let (replayed, _) = replayed.split_once("==== end\n").unwrap();
    replayed.to_owned()
}

/// Every answer, and the checksum of the snapshot that comes of it all.
fn replay(log: &[u8]) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (mut machine, _feed) = StateMachine::open(SnapshotPlace::Memory).unwrap();
        let commands = read_log(log);
        let mut text = String::new();
        for (index, bytes) in (1..).zip(&commands) {
            let id = fleetbal_raft::types::LogId::new(
                openraft::impls::leader_id_adv::LeaderId::new(1, 1).to_committed(),
                index,
            );
            let entry = LogEntry::new_normal(id, LogCommand(bytes.clone()));
            let one = futures::stream::iter([Ok((entry, None))]);
            machine.apply(one).await.unwrap();
            let request = decode_entry(bytes).map(|entry| entry.request_id);
            let answer: Option<Answer> = request.ok().and_then(|request| machine.answer(request));
            writeln!(text, "{index}: {answer:?}").unwrap();
        }
        let snapshot = machine
            .get_snapshot_builder()
            .await
            .build_snapshot()
            .await
            .unwrap();
        let checksum = Sha256::digest(&snapshot.snapshot);
        writeln!(text, "{} bytes, {checksum:x}\n==== end", snapshot.snapshot.len()).unwrap();
        text
    })
}

fn write_log() -> Vec<u8> {
    let mut log = Vec::new();
    for bytes in commands() {
        log.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
        log.extend(bytes);
    }
    log
}

fn read_log(mut log: &[u8]) -> Vec<Vec<u8>> {
    let mut commands = Vec::new();
    while let Some((length, rest)) = log.split_first_chunk::<4>() {
        let (bytes, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        commands.push(bytes.to_vec());
        log = rest;
    }
    commands
}

fn commands() -> Vec<Vec<u8>> {
    let mut log = Vec::new();
    let mut add = |time: u64, command: Command| {
        let request = u8::try_from(log.len()).unwrap();
        log.push(encode_entry(&entry(request, time, command)));
    };
    add(0, found());
    for change in changes() {
        let changes = vec![change];
        add(10, Command::Batch(Batch::of(changes)));
    }
    add(20, Command::Batch(Batch::of(changes())));
    add(30, token("aa", 60_000, Some(1)));
    add(40, join("aa", "n2"));
    add(50, join("aa", "n3"));
    add(60, token("bb", 1_000, None));
    add(1_059, join("bb", "n2"));
    add(1_060, join("bb", "n3"));
    add(1_070, Command::RevokeToken(TokenId::parse("cc").unwrap()));
    log.push(encode_entry(&entry(200, 2_000, found())));
    // A retry, and what is no command at all.
    log.push(log[3].clone());
    log.push(b"\xff\xff\xffnonsense".to_vec());
    let mut empty = encode_entry(&entry(201, 2_100, found()));
    empty.truncate(30);
    log.push(empty);
    log
}

fn entry(request: u8, time: u64, command: Command) -> Entry {
    Entry {
        feature_level: 1,
        request_id: RequestId([request; 16]),
        origin_node: "n1".to_owned(),
        typist: "127.0.0.1:5".into(),
        time: UnixMillis(THEN + time),
        deadline: UnixMillis(THEN + time + 5_000),
        command,
    }
}

fn member(name: &str) -> NewMember {
    NewMember {
        name: NodeName::parse(name).unwrap(),
        address: "localhost:7400".to_owned(),
        key_hash: KeyHash([7; 32]),
    }
}

fn found() -> Command {
    Command::Found {
        name: "acme".to_owned(),
        id: fleetbal_raft::model::FleetId([3; 16]),
        ca_certificate: vec![1, 2, 3],
        founder: member("n1"),
    }
}

fn token(id: &str, ttl_ms: u64, uses: Option<u32>) -> Command {
    let (id, secret_hash) = (TokenId::parse(id).unwrap(), SecretHash([9; 32]));
    Command::IssueToken {
        id,
        secret_hash,
        ttl_ms,
        uses,
    }
}

fn join(id: &str, name: &str) -> Command {
    let (token, secret_hash) = (TokenId::parse(id).unwrap(), SecretHash([9; 32]));
    Command::Join {
        token,
        secret_hash,
        member: member(name),
    }
}

fn set(object: &str, key: &str, value: &str) -> Change {
    let (object, key, value) = (object.to_owned(), key.to_owned(), value.to_owned());
    Change::Set { object, key, value }
}

/// Good ones and bad ones, and those that a careless `apply` would look up on its machine.
fn changes() -> Vec<Change> {
    let www = ServiceName::parse("www").unwrap();
    let web = PoolName::parse("web").unwrap();
    vec![
        Change::CreatePool(web.clone()),
        Change::CreateService(www.clone()),
        set("www", "role", "reverse_proxy"),
        set("www", "listen", "${node:ip}:8080"),
        set("www", "listen", "${ip:eth0}:80"),
        set("www", "listen", "$PORT"),
        set("www", "pool", "web"),
        set("www", "pool", "nowhere"),
        set("www", "no_such", "1"),
        set("www", "idle_timeout", "soon"),
        set("www", "verify_backend_path", "htdocs"),
        set("www", "trusted_upstream_proxies", "localhost"),
        set("www", "trusted_upstream_proxies", "10.0.0.0/8, 127.0.0.1"),
        set("web", "balance_method", "round_robin"),
        set("web", "nodefile", "nodes.txt"),
        Change::PoolAdd {
            pool: web.clone(),
            backend: BackendAddress::parse("10.0.0.1:80").unwrap(),
            weight: 1,
        },
        Change::PoolAdd {
            pool: web.clone(),
            backend: BackendAddress::parse("[::1]:80").unwrap(),
            weight: 1,
        },
        Change::PoolRemove {
            pool: web,
            backend: BackendAddress::parse("10.0.0.9:80").unwrap(),
        },
        Change::SetDefault {
            key: "persist_client".to_owned(),
            value: "on".to_owned(),
        },
        Change::SetEnabled {
            service: www.clone(),
            enabled: true,
        },
        Change::SetEnabled {
            service: www,
            enabled: true,
        },
        Change::SetVoters(2),
        Change::SetVoters(3),
    ]
}
