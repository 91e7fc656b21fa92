use proptest::prelude::*;

use super::*;
use crate::model::any_change::change;
use crate::model::{Answer, Batch, Change, Command, Entry, FEATURE_LEVEL, PoolName};
use crate::wire::{decode_entry, encode_entry};

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let batch = prop::collection::vec(change(), 1..4);
    prop::collection::vec(batch, 0..40).prop_map(|batches| {
        let entries = batches.into_iter().enumerate().map(|(n, changes)| {
            let mut id = [0; 16];
            id[0] = u8::try_from(n).unwrap();
            Entry {
                feature_level: FEATURE_LEVEL,
                request_id: RequestId(id),
                origin_node: "n1".into(),
                typist: "127.0.0.1:4000".into(),
                time: UnixMillis(1000 + n as u64),
                deadline: UnixMillis(6000 + n as u64),
                command: Command::Batch(Batch::of(changes)),
            }
        });
        entries.collect()
    })
}

proptest! {
    #[test]
    fn the_same_log_gives_the_same_state_and_survives_a_snapshot(log in entries()) {
        let mut direct = (FleetState::default(), Answers::default());
        let mut restored = direct.clone();
        for entry in &log {
            let before = direct.0.clone();
            let answer = direct.0.apply(entry);
            if matches!(answer, Answer::Refused(_)) {
                prop_assert_eq!(&before, &direct.0, "a refused change changed something");
            }
            direct.1.insert(entry.request_id, entry.time, answer.clone());

            let again = decode_entry(&encode_entry(entry)).unwrap();
            prop_assert_eq!(&again, entry);
            prop_assert_eq!(restored.0.apply(&again), answer.clone());
            restored.1.insert(again.request_id, again.time, answer);

            let bytes = encode_state(&direct.0, &direct.1);
            prop_assert_eq!(&bytes, &encode_state(&restored.0, &restored.1));
            restored = decode_state(&bytes).unwrap();
            prop_assert_eq!(&restored.0, &direct.0);
        }
    }
}

/// Snapshots of format 1 had none.
#[test]
fn a_state_without_a_history_begins_one() {
    let config = v1::FleetConfig {
        version: 7,
        ..v1::FleetConfig::default()
    };
    let old = v1::FleetState {
        config: Some(config),
        fleet_id: vec![0; 16],
        ..v1::FleetState::default()
    };
    let (mut state, _) = decode_state(&old.encode_to_vec()).unwrap();
    assert_eq!(state.history().records().len(), 0);
    let change = Change::CreatePool(PoolName::parse("a").unwrap());
    let answer = state.apply(&Entry {
        feature_level: FEATURE_LEVEL,
        request_id: RequestId([0; 16]),
        origin_node: "n1".into(),
        typist: "".into(),
        time: UnixMillis(1),
        deadline: UnixMillis(2),
        command: Command::Batch(Batch::of(vec![change])),
    });
    assert_eq!(answer, Answer::Applied(Version(8)));
    assert_eq!(state.verify_history().map(|intact| intact.oldest), Ok(Version(7)));
}
