//! The whole state, and backups.

use std::sync::Arc;

use prost::Message;

use super::model::{config, entry, found, issue, join, pool, wish};
use super::{Sample, sample};
use crate::backup::Backup;
use crate::model::{
    Answer, Answers, Batch, Change, Command, FleetConfig, FleetId, FleetState, RequestId, UnixMillis,
    Version, VoteWish,
};
use crate::wire::{decode_backup, decode_state, encode_backup, encode_state, seal_secret, with_seal_secret};

/// The state with its answers, in an order that can be compared.
type Whole = (FleetState, Vec<(RequestId, UnixMillis, Answer)>);

fn whole(state: FleetState, answers: &Answers) -> Whole {
    let answers = answers
        .iter()
        .map(|(id, time, answer)| (id, time, answer.clone()));
    (state, answers.collect())
}

/// After entries of every kind.
fn state() -> (FleetState, Answers) {
    let (mut state, mut answers) = (FleetState::default(), Answers::default());
    let create = |name: &str| Batch::of(vec![Change::CreatePool(pool(name))]);
    let to_confirm = |name| Batch {
        confirm: Some(600),
        ..create(name)
    };
    let from_file = Batch {
        from_file: true,
        ..create("b")
    };
    let restore = Batch::of(vec![Change::Restore(Arc::new(config()))]);
    let all = [
        found(),
        issue(Some(3)),
        issue(None),
        join(),
        wish("n2", VoteWish::Voter),
        Command::Batch(create("a")),
        Command::Batch(create("a")),
        Command::Batch(from_file),
        Command::Rollback {
            to: Version(1),
            if_version: None,
        },
        Command::Batch(to_confirm("c")),
        Command::Undo(Version(4)),
        Command::Batch(restore),
        Command::Batch(to_confirm("d")),
    ];
    for (number, command) in (1..).zip(all) {
        let entry = entry(number, command);
        let answer = state.apply(&entry);
        answers.insert(entry.request_id, entry.time, answer);
    }
    (state, answers)
}

pub(super) fn samples() -> Vec<Sample> {
    let (state, answers) = state();
    assert_eq!(state.config.version, Version(7), "something was refused");
    let bytes = encode_state(&state, &answers);
    let decode = |bytes: &[u8]| {
        let (state, answers) = decode_state(bytes).unwrap();
        whole(state, &answers)
    };
    let secret = with_seal_secret(Vec::new(), &[4; 32]);
    let mut samples = vec![
        sample(
            "FleetState/all",
            whole(state, &answers),
            move |_| bytes.clone(),
            decode,
        ),
        sample(
            "FleetState/seal-secret",
            Some([4; 32]),
            move |_| secret.clone(),
            seal_secret,
        ),
    ];
    let plain = Batch::of(vec![Change::CreatePool(pool("web"))]);
    let plain = FleetConfig::default().with_batch(&plain).unwrap();
    samples.extend(backups("first-release", plain));
    samples.extend(backups("level-2", config()));
    samples
}

fn backups(name: &str, config: FleetConfig) -> [Sample; 2] {
    let backup = Backup {
        fleet: "acme".to_owned(),
        fleet_id: FleetId([3; 16]),
        node: "n1".to_owned(),
        software: "0.1.0".to_owned(),
        time: UnixMillis(1_700_000_000_000),
        config: Arc::new(config),
    };
    let content = |backup: &Backup| encode_backup(backup).encode_to_vec();
    [
        sample(&format!("Backup/{name}"), backup.clone(), content, |bytes| {
            decode_backup(bytes).unwrap()
        }),
        sample(
            &format!("file/backup-{name}"),
            backup,
            |backup| backup.to_bytes().to_vec(),
            |bytes| Backup::from_bytes(bytes).unwrap(),
        ),
    ]
}
