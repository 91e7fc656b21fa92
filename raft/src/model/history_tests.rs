use proptest::prelude::*;

use super::super::any_change::change;
use super::super::change::{Answer, Command};
use super::super::level::FEATURE_LEVEL;
use super::super::name::PoolName;
use super::*;
use crate::wire::ConfigHasher;

/// A fleet that is told one thing after the other.
#[derive(Default)]
struct Told {
    state: FleetState,
    entries: u8,
}

impl Told {
    fn tell(&mut self, command: Command) -> Answer {
        self.entries += 1;
        let mut request = [0; 16];
        request[0] = self.entries;
        self.state.apply(&Entry {
            feature_level: FEATURE_LEVEL,
            request_id: RequestId(request),
            origin_node: "n1".into(),
            typist: Typist {
                address: "127.0.0.1:5".into(),
                token: Some("ops".into()),
            },
            time: UnixMillis(u64::from(self.entries)),
            deadline: UnixMillis(u64::MAX),
            command,
        })
    }

    fn batch(&mut self, changes: Vec<Change>) -> Answer {
        self.tell(Command::Batch(Batch::of(changes)))
    }

    fn pool(&mut self, name: &str) -> Answer {
        self.batch(vec![Change::CreatePool(PoolName::parse(name).unwrap())])
    }

    fn refused(&mut self, command: Command) -> String {
        match self.tell(command) {
            Answer::Refused(refusal) => refusal.text,
            Answer::Applied(_) | Answer::Joined(_) | Answer::Done => panic!("it was not refused"),
        }
    }

    fn commit(&mut self, name: &str, confirm: u32) -> Answer {
        self.tell(Command::Batch(Batch {
            confirm: Some(confirm),
            ..Batch::of(vec![Change::CreatePool(PoolName::parse(name).unwrap())])
        }))
    }
}

fn roll_back(to: u64) -> Command {
    Command::Rollback {
        to: Version(to),
        if_version: None,
    }
}

/// The hash of a configuration, its version apart.
fn content(config: &FleetConfig) -> [u8; 32] {
    let mut config = config.clone();
    config.version = Version::default();
    ConfigHasher::default().hash(&config)
}

#[test]
fn a_record_says_who_did_what_and_how_it_is_undone() {
    let mut told = Told::default();
    assert_eq!(told.pool("a"), Answer::Applied(Version(1)));
    told.batch(vec![
        Change::SetVoters(3),
        Change::RemovePool(PoolName::parse("a").unwrap()),
    ]);
    let lines = |changes: &[Change]| changes.iter().map(ToString::to_string).collect::<Vec<_>>();
    let record = told.state.history().record(Version(2)).unwrap();
    assert_eq!(record.typist.to_string(), "ops@127.0.0.1:5");
    assert_eq!((record.node.as_str(), record.time), ("n1", UnixMillis(2)));
    assert_eq!(
        lines(&record.forward),
        ["- CREATE POOL a", "CLUSTER SET voters = 3"]
    );
    assert_eq!(lines(&record.backward), ["CREATE POOL a", "- CLUSTER SET voters"]);
    let first = told.state.history().record(Version(1)).unwrap();
    assert_eq!(told.state.history().hash_before(Version(2)), first.hash);
    assert_eq!(told.pool("a"), Answer::Applied(Version(3)));
    assert_eq!(
        told.batch(Vec::new()),
        Answer::Applied(Version(3)),
        "no change is no record"
    );
    assert_eq!(told.state.history().records().len(), 3);
}

#[test]
fn a_rollback_is_a_version_of_its_own() {
    let mut told = Told::default();
    for name in ["a", "b", "c"] {
        told.pool(name);
    }
    let second = told.state.config_at(Version(2)).unwrap();
    assert_eq!(told.tell(roll_back(2)), Answer::Applied(Version(4)));
    assert!(told.state.config.says_the_same(&second));
    assert_eq!(
        told.tell(roll_back(2)),
        Answer::Applied(Version(4)),
        "it is so already"
    );
    assert_eq!(
        told.refused(roll_back(9)),
        "version 9 is not kept; versions 0 to 4 are"
    );
    let moved = told.refused(Command::Rollback {
        to: Version(1),
        if_version: Some(Version(3)),
    });
    assert_eq!(
        moved,
        "the configuration is at version 4, not 3; nothing was changed"
    );
    assert_eq!(told.tell(roll_back(0)), Answer::Applied(Version(5)));
    assert_eq!(told.state.config.pools().len(), 0);
    assert_eq!(told.tell(roll_back(3)), Answer::Applied(Version(6)));
    assert_eq!(told.state.config.pools().len(), 3);
    let cause = told.state.history().record(Version(6)).unwrap().cause;
    assert_eq!(cause, Cause::Rollback(Version(3)));
}

#[test]
fn only_the_last_versions_are_kept() {
    let mut told = Told::default();
    told.batch(vec![Change::SetConfigHistory(2)]);
    for name in ["a", "b", "c"] {
        told.pool(name);
    }
    let kept: Vec<u64> = told.state.history().records().map(|it| it.version.0).collect();
    assert_eq!(kept, [3, 4]);
    assert_eq!(
        told.refused(roll_back(1)),
        "version 1 is not kept; versions 2 to 4 are"
    );
    let intact = told.state.verify_history().unwrap();
    assert_eq!((intact.records, intact.oldest), (2, Version(2)));
}

#[test]
fn what_was_altered_shows() {
    let mut told = Told::default();
    for name in ["a", "b", "c"] {
        told.pool(name);
    }
    assert!(told.state.verify_history().is_ok());
    let alter = |change: fn(&mut History)| {
        let mut state = told.state.clone();
        change(Arc::make_mut(&mut state.history));
        state.verify_history().unwrap_err().to_string()
    };
    let other_name = alter(|history| Arc::make_mut(&mut history.records[1]).node = "n2".into());
    assert_eq!(other_name, "the record of version 2 does not match its hash");
    let left_out = alter(|history| drop(history.records.remove(0)));
    assert_eq!(left_out, "the record of version 2 does not match its hash");
    let mut state = told.state.clone();
    Arc::make_mut(&mut state.config).voters = Some(5);
    assert!(
        state.verify_history().is_ok(),
        "nothing in the history speaks of it"
    );
    Arc::make_mut(&mut state.config).pools.clear();
    assert_eq!(
        state.verify_history().unwrap_err().to_string(),
        "version 3 cannot be gone through: Pool 'c' not found"
    );
}

#[test]
#[expect(clippy::cognitive_complexity, reason = "one story")]
fn one_version_may_wait_for_its_confirm() {
    let mut told = Told::default();
    told.pool("a");
    assert_eq!(told.refused(Command::Confirm), "no version waits for confirm");
    assert_eq!(told.commit("b", 30), Answer::Applied(Version(2)));
    let pending = Pending {
        version: Version(2),
        seconds: 30,
    };
    assert_eq!(told.state.history().pending(), Some(pending));
    let others = Batch::of(vec![Change::SetVoters(3)]);
    for other in [Command::Batch(others), roll_back(1)] {
        assert_eq!(told.refused(other), "version 2 waits for confirm");
    }
    assert_eq!(
        told.batch(Vec::new()),
        Answer::Applied(Version(2)),
        "nothing is no change"
    );
    assert_eq!(
        told.refused(Command::Undo(Version(1))),
        "no version waits for confirm"
    );
    assert_eq!(told.tell(Command::Undo(Version(2))), Answer::Applied(Version(3)));
    assert_eq!(told.state.config.pools().len(), 1);
    assert_eq!(told.state.history().pending(), None);
    assert_eq!(told.commit("b", 30), Answer::Applied(Version(4)));
    assert_eq!(told.tell(Command::Confirm), Answer::Applied(Version(4)));
    assert_eq!(
        told.refused(Command::Undo(Version(4))),
        "no version waits for confirm"
    );
    for wrong in [0, 3601] {
        let Answer::Refused(refusal) = told.commit("c", wrong) else {
            panic!("taken")
        };
        assert_eq!(refusal.text, "confirm takes a number of seconds from 1 to 3600");
    }
    assert_eq!(
        told.commit("b", 30),
        told.pool("b"),
        "both are refused: it is there"
    );
    assert_eq!(told.state.history().pending(), None);
    assert!(told.state.verify_history().is_ok());
}

proptest! {
    #[test]
    fn every_version_can_be_had_again_to_the_byte(batches in prop::collection::vec(prop::collection::vec(change(), 1..5), 1..40)) {
        let mut told = Told::default();
        let mut seen = vec![content(&told.state.config)];
        for batch in batches {
            let batch = batch.into_iter().filter(|change| !matches!(change, Change::SetConfigHistory(_)));
            told.batch(batch.collect());
            if told.state.config.version == Version(seen.len() as u64) {
                seen.push(content(&told.state.config));
            }
        }
        prop_assert!(told.state.verify_history().is_ok());
        for (version, bytes) in seen.iter().enumerate() {
            let again = told.state.config_at(Version(version as u64)).unwrap();
            prop_assert_eq!(&content(&again), bytes);
        }
        told.tell(roll_back(0));
        prop_assert_eq!(content(&told.state.config), seen[0]);
        told.tell(roll_back(seen.len() as u64 - 1));
        prop_assert_eq!(&content(&told.state.config), seen.last().unwrap());
    }
}
