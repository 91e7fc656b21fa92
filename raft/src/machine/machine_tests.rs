use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command as Process;

use futures::stream;
use openraft::EntryPayload;
use openraft::impls::leader_id_adv::LeaderId;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::*;
use crate::model::{
    BackendAddress, Batch, Change, Command, Entry, FEATURE_LEVEL, FleetId, KeyHash, NewMember, NodeName,
    PoolName, Refusal, SecretHash, ServiceName, TokenId, Typist, UnixMillis, Version,
};
use crate::types::{ClusterMember, LogCommand, LogEntry, Membership};
use crate::wire::encode_entry;

fn log_id(index: u64) -> LogId {
    let leader_id = LeaderId { term: 2, node_id: 1 };
    LogId { leader_id, index }
}

fn request(n: u64) -> RequestId {
    let mut id = [7; 16];
    id[..8].copy_from_slice(&n.to_be_bytes());
    RequestId(id)
}

/// A command under a request id, at a place in the log.
fn command(index: u64, id: u64, command: Command) -> LogEntry {
    let entry = Entry {
        feature_level: FEATURE_LEVEL,
        request_id: request(id),
        origin_node: "n1".into(),
        typist: "127.0.0.1:5".into(),
        time: UnixMillis(1000 + index),
        deadline: UnixMillis(9000 + index),
        command,
    };
    raw(index, encode_entry(&entry))
}

fn raw(index: u64, bytes: Vec<u8>) -> LogEntry {
    LogEntry {
        log_id: log_id(index),
        payload: EntryPayload::Normal(LogCommand(bytes)),
    }
}

fn change(change: Change) -> Command {
    Command::Batch(Batch::of(vec![change]))
}

fn create_pool(name: &str) -> Command {
    change(Change::CreatePool(PoolName::parse(name).unwrap()))
}

fn membership(index: u64) -> LogEntry {
    let member = |n: u8| ClusterMember {
        name: format!("n{n}"),
        address: format!("10.0.0.{n}:7400"),
        key_hash: KeyHash([n; 32]),
        next_key_hash: None,
        feature_level: None,
    };
    let nodes: BTreeMap<u64, ClusterMember> = (1..=9).map(|n| (u64::from(n), member(n))).collect();
    LogEntry {
        log_id: log_id(index),
        payload: EntryPayload::Membership(Membership::new(vec![BTreeSet::from([1, 2, 3])], nodes).unwrap()),
    }
}

async fn apply(machine: &mut StateMachine, entries: impl IntoIterator<Item = LogEntry>) {
    let entries: Vec<_> = entries.into_iter().map(|entry| Ok((entry, None))).collect();
    machine.apply(stream::iter(entries)).await.unwrap();
}

async fn build(machine: &mut StateMachine) -> Snapshot {
    machine
        .get_snapshot_builder()
        .await
        .build_snapshot()
        .await
        .unwrap()
}

fn open(dir: &Path) -> (StateMachine, Feed) {
    StateMachine::open(SnapshotPlace::Dir(dir.to_owned())).unwrap()
}

fn memory() -> (StateMachine, Feed) {
    StateMachine::open(SnapshotPlace::Memory).unwrap()
}

/// Founding, tokens and joins, refused ones too.
fn fleet_commands() -> Vec<Command> {
    let member = |n: u8| NewMember {
        name: NodeName::parse(&format!("n{n}")).unwrap(),
        address: format!("10.0.0.{n}:7400"),
        key_hash: KeyHash([n; 32]),
    };
    let token = TokenId::parse("0123456789abcdef").unwrap();
    let join = |n: u8, secret: u8| Command::Join {
        token: token.clone(),
        secret_hash: SecretHash([secret; 32]),
        member: member(n),
    };
    vec![
        Command::Found {
            name: "acme".into(),
            id: FleetId([3; 16]),
            ca_certificate: vec![1, 2, 3],
            founder: member(1),
        },
        Command::IssueToken {
            id: token.clone(),
            secret_hash: SecretHash([5; 32]),
            ttl_ms: 100_000,
            uses: Some(1),
        },
        join(2, 6),
        join(2, 5),
        join(3, 5),
    ]
}

/// Changes of the configuration, refused ones too.
fn changes() -> Vec<Change> {
    let pool = PoolName::parse("web").unwrap();
    let service = ServiceName::parse("www").unwrap();
    let set = |object: &str, key: &str, value: &str| Change::Set {
        object: object.into(),
        key: key.into(),
        value: value.into(),
    };
    vec![
        Change::CreatePool(pool.clone()),
        Change::CreatePool(pool.clone()),
        Change::PoolAdd {
            pool,
            backend: BackendAddress::parse("10.0.0.1").unwrap(),
            weight: 1,
        },
        Change::CreateService(service.clone()),
        set("www", "role", "reverse_proxy"),
        set("www", "listen", "${node:ip}:80"),
        set("www", "docroot", "/etc"),
        set("www", "idle_timeout", "soon"),
        set("nobody", "pool", "web"),
        set("www", "pool", "web"),
        Change::SetEnabled {
            service,
            enabled: true,
        },
        Change::SetVoters(4),
    ]
}

/// A bit of everything, and nonsense.
fn log() -> Vec<LogEntry> {
    let commands = fleet_commands()
        .into_iter()
        .chain(changes().into_iter().map(change));
    let mut entries = vec![membership(0)];
    entries.extend(
        (1..)
            .zip(commands)
            .map(|(index, what)| command(index, index, what)),
    );
    let next = u64::try_from(entries.len()).unwrap();
    entries.push(raw(next, vec![0xff; 9]));
    entries.push(command(next + 1, 6, create_pool("again")));
    entries.push(LogEntry {
        log_id: log_id(next + 2),
        payload: EntryPayload::Blank,
    });
    entries
}

/// All answers, refusals with their texts.
fn answers(machine: &StateMachine) -> String {
    let replicated = machine.shared.replicated();
    let lines = replicated.answers.iter();
    let lines: Vec<_> = lines
        .map(|(id, time, answer)| format!("{id} {time:?} {answer:?}"))
        .collect();
    lines.join("\n")
}

fn place_of_snapshot(dir: &Path) -> std::path::PathBuf {
    dir.join("snapshot")
}

#[tokio::test]
async fn what_was_applied_is_shown_and_answered() {
    let (mut machine, feed) = memory();
    let entries = log();
    let last = entries.last().unwrap().log_id.index;
    apply(&mut machine, entries).await;
    let applied = feed.latest();
    assert_eq!((applied.log_index, applied.term), (last, 2));
    assert_eq!(applied.state.config.version, Version(7));
    assert_eq!(applied.members.voters, BTreeSet::from([1, 2, 3]));
    assert_eq!(applied.members.learners, (4..=9).collect());
    assert_eq!(applied.members.nodes[&3].address, "10.0.0.3:7400");
    assert_eq!(machine.answer(request(4)), Some(Answer::Joined(2)));
    let refused = |text: &str| {
        Some(Answer::Refused(Refusal {
            text: text.into(),
            change: 0,
        }))
    };
    assert_eq!(machine.answer(request(7)), refused("pool 'web' already exists"));
    assert_eq!(machine.answer(request(99)), None);
}

#[tokio::test]
async fn what_is_no_command_is_refused_and_the_next_one_applied() {
    let (mut machine, feed) = memory();
    let garbage = LogCommand(vec![0xff; 3]);
    let mut replicated = Replicated::default();
    let malformed = replicated.apply(raw(0, garbage.0.clone())).unwrap();
    let text = "not a valid command: undecodable bytes".to_owned();
    assert_eq!(malformed, Some(Answer::Refused(Refusal { text, change: 0 })));
    apply(&mut machine, [raw(0, garbage.0), command(1, 2, create_pool("a"))]).await;
    assert_eq!(machine.answer(request(2)), Some(Answer::Applied(Version(1))));
    assert_eq!(feed.latest().log_index, 1);
}

/// Those that can apply it are at another configuration from there on, so this node must not go on as if it had one.
#[tokio::test]
async fn an_entry_of_a_later_release_stops_this_node_before_it() {
    let mut later = Entry {
        feature_level: FEATURE_LEVEL + 1,
        request_id: request(1),
        origin_node: String::new(),
        typist: Typist::default(),
        time: UnixMillis(1),
        deadline: UnixMillis(1),
        command: create_pool("b"),
    };
    let mut replicated = Replicated::default();
    replicated.apply(command(0, 7, create_pool("a"))).unwrap();
    let before = replicated.applied();
    let error = replicated
        .apply(raw(1, encode_entry(&later)))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&format!("feature level {}", FEATURE_LEVEL + 1)),
        "{error}"
    );
    assert_eq!(replicated.applied().log_index, before.log_index);
    assert_eq!(replicated.applied().state, before.state);
    later.feature_level = FEATURE_LEVEL;
    replicated.apply(raw(1, encode_entry(&later))).unwrap();
    assert_eq!(replicated.applied().log_index, 1);
}

#[tokio::test]
async fn a_repeated_request_gets_its_answer_again_wherever_the_state_has_travelled() {
    let (here, there) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let repeat = |index| command(index, 6, create_pool("other"));
    let (mut machine, feed) = open(here.path());
    apply(&mut machine, log()).await;
    let answer = machine.answer(request(6));
    let before = feed.latest();
    assert_eq!(answer, Some(Answer::Applied(Version(1))));
    apply(&mut machine, [repeat(40)]).await;
    assert_eq!(machine.answer(request(6)), answer);
    assert_eq!(feed.latest().state, before.state);

    let snapshot = build(&mut machine).await;
    let (mut other, _) = open(there.path());
    other
        .install_snapshot(&snapshot.meta, snapshot.snapshot)
        .await
        .unwrap();
    drop(other);
    let (mut other, feed) = open(there.path());
    assert_eq!(other.answer(request(6)), answer);
    assert_eq!(feed.latest().log_index, 40);
    apply(&mut other, [repeat(41)]).await;
    assert_eq!(other.answer(request(6)), answer);
    assert_eq!(feed.latest().log_index, 41);
    assert_eq!(feed.latest().state, before.state);
    assert_eq!(feed.latest().members, before.members);
}

#[tokio::test]
async fn a_snapshot_carries_everything_and_is_there_after_reopening() {
    let dir = TempDir::new().unwrap();
    let (mut machine, feed) = open(dir.path());
    assert!(machine.get_current_snapshot().await.unwrap().is_none());
    apply(&mut machine, log()).await;
    let built = build(&mut machine).await;
    let state = machine.applied_state().await.unwrap();
    assert_eq!(check_snapshot(&built.snapshot), Ok(built.meta.clone()));
    assert_eq!(
        (built.meta.last_log_id, built.meta.last_membership.clone()),
        state
    );
    drop(machine);
    let (mut again, reopened) = open(dir.path());
    assert_eq!(reopened.latest(), feed.latest());
    assert_eq!(again.applied_state().await.unwrap(), state);
    let current = again.get_current_snapshot().await.unwrap().unwrap();
    assert_eq!((current.meta, current.snapshot), (built.meta, built.snapshot));
}

#[tokio::test]
async fn a_builder_keeps_to_the_state_it_was_made_at_and_never_replaces_a_later_snapshot() {
    for place in [true, false] {
        let dir = TempDir::new().unwrap();
        let (mut machine, _) = if place { open(dir.path()) } else { memory() };
        apply(&mut machine, [command(0, 0, create_pool("a"))]).await;
        let mut early = machine.get_snapshot_builder().await;
        apply(&mut machine, [command(1, 1, create_pool("b"))]).await;
        let later = build(&mut machine).await;
        let snapshot = early.build_snapshot().await.unwrap();
        assert_eq!(snapshot.meta.last_log_id, Some(log_id(0)));
        assert_eq!(later.meta.last_log_id, Some(log_id(1)));
        let current = machine.get_current_snapshot().await.unwrap().unwrap();
        assert_eq!(current.snapshot, later.snapshot);
    }
}

#[tokio::test]
async fn the_more_answers_are_kept_the_rarer_are_snapshots() {
    let (mut machine, _) = memory();
    apply(&mut machine, (0..100).map(|n| command(n, n, create_pool("a")))).await;
    let mut first = machine.try_create_snapshot_builder(false).await.unwrap();
    first.build_snapshot().await.unwrap();
    apply(&mut machine, (100..109).map(|n| command(n, n, create_pool("a")))).await;
    assert!(machine.try_create_snapshot_builder(false).await.is_none());
    assert!(machine.try_create_snapshot_builder(true).await.is_some());
    apply(&mut machine, (109..112).map(|n| command(n, n, create_pool("a")))).await;
    assert!(machine.try_create_snapshot_builder(false).await.is_some());
}

#[tokio::test]
async fn a_damaged_snapshot_is_refused_whole_and_named() {
    let dir = TempDir::new().unwrap();
    let (mut machine, feed) = open(dir.path());
    apply(&mut machine, log()).await;
    let sound = build(&mut machine).await;
    let before = feed.latest();
    for at in (12..sound.snapshot.len()).step_by(7) {
        let mut bytes = sound.snapshot.to_vec();
        bytes[at] ^= 1;
        assert_eq!(check_snapshot(&bytes), Err(SnapshotError::Checksum), "at {at}");
    }
    for size in [12, sound.snapshot.len() - 1] {
        assert_eq!(
            check_snapshot(&sound.snapshot[..size]),
            Err(SnapshotError::Checksum)
        );
    }
    for bytes in [
        &b""[..],
        b"fbalsnap",
        b"something else than a snapshot, and longer than a checksum",
    ] {
        assert_eq!(check_snapshot(bytes), Err(SnapshotError::NotOne));
    }
    let mut damaged = sound.snapshot.to_vec();
    damaged[60] ^= 1;
    let error = machine
        .install_snapshot(&sound.meta, damaged.clone().into())
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the snapshot's checksum does not match its content"
    );
    let other = SnapshotMeta {
        last_log_id: Some(log_id(1)),
        ..sound.meta.clone()
    };
    let error = machine
        .install_snapshot(&other, sound.snapshot.clone())
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the snapshot is not the one that was announced"
    );
    assert_eq!(feed.latest(), before, "nothing was changed");
    assert_eq!(
        std::fs::read(place_of_snapshot(dir.path())).unwrap(),
        sound.snapshot
    );

    std::fs::write(place_of_snapshot(dir.path()), damaged).unwrap();
    let error = StateMachine::open(SnapshotPlace::Dir(dir.path().to_owned())).unwrap_err();
    let expected = format!(
        "the store {} is corrupt (the snapshot's checksum does not match its content); restore it from a \
         backup, or join again with an empty data directory",
        place_of_snapshot(dir.path()).display()
    );
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn a_snapshot_of_a_later_format_is_named() {
    let dir = TempDir::new().unwrap();
    let (mut machine, _) = open(dir.path());
    let mut bytes = build(&mut machine).await.snapshot.to_vec();
    bytes[11] = 9;
    let newer = SnapshotError::Newer { found: 9, known: 2 };
    assert_eq!(check_snapshot(&bytes), Err(newer));
    std::fs::write(place_of_snapshot(dir.path()), bytes).unwrap();
    let error = StateMachine::open(SnapshotPlace::Dir(dir.path().to_owned())).unwrap_err();
    let expected = format!(
        "the store {} has format 9, of a later release; this release reads up to format 2",
        place_of_snapshot(dir.path()).display()
    );
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn a_half_written_snapshot_is_not_taken_for_one() {
    let dir = TempDir::new().unwrap();
    let (mut machine, feed) = open(dir.path());
    apply(&mut machine, log()).await;
    build(&mut machine).await;
    std::fs::write(dir.path().join("snapshot.tmp"), b"fbalsnap").unwrap();
    let (_, reopened) = open(dir.path());
    assert_eq!(reopened.latest(), feed.latest());
}

/// Two processes apply the same log: one at once, one piece by piece with a restart in between, each in a directory,
/// an environment and a working directory of its own.
#[test]
fn one_log_gives_the_same_bytes_and_answers_anywhere() {
    let (one, two) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    std::fs::write(two.path().join("a file that one has not"), "x").unwrap();
    for (dir, pieces, zone, home) in [(&one, "100", "UTC", "/"), (&two, "3", "Asia/Tokyo", "/nowhere")] {
        let output = Process::new(std::env::current_exe().unwrap())
            .args(["--exact", "machine::tests::replays_where_it_is_told", "--ignored"])
            .current_dir(dir.path())
            .env("REPLAY_INTO", dir.path())
            .env("REPLAY_PIECES", pieces)
            .env("TZ", zone)
            .env("HOME", home)
            .env("LANG", format!("{zone}.UTF-8"))
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
    let read = |dir: &TempDir, name: &str| std::fs::read(dir.path().join(name)).unwrap();
    let texts = String::from_utf8(read(&one, "answers")).unwrap();
    assert_eq!(texts, String::from_utf8(read(&two, "answers")).unwrap());
    assert!(texts.contains("pool 'web' already exists"), "{texts}");
    assert!(texts.lines().count() >= 16, "{texts}");
    assert!(read(&one, "snapshot") == read(&two, "snapshot"));
    assert_ne!(read(&one, "environment"), read(&two, "environment"));
}

#[tokio::test]
#[ignore = "started by the test above, in two environments"]
async fn replays_where_it_is_told() {
    let told = |name: &str| std::env::var(name).unwrap();
    let dir = std::path::PathBuf::from(told("REPLAY_INTO"));
    for piece in log().chunks(told("REPLAY_PIECES").parse().unwrap()) {
        let (mut machine, _) = open(&dir);
        apply(&mut machine, piece.to_vec()).await;
        build(&mut machine).await;
    }
    let (machine, _) = open(&dir);
    std::fs::write(dir.join("answers"), answers(&machine)).unwrap();
    let environment = format!("{} {:?}", told("TZ"), std::env::current_dir().unwrap());
    std::fs::write(dir.join("environment"), environment).unwrap();
}

#[test]
fn the_checksum_is_sha_256_of_all_before_it() {
    let (_, bytes) = snapshot::encode(&Replicated::default());
    let (content, checksum) = bytes.split_at(bytes.len() - 32);
    assert_eq!(Sha256::digest(content).as_slice(), checksum);
}
