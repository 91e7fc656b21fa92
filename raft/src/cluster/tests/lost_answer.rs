//! P5 at its hardest: the leader dies between commit and answer, the log that held the request is gone, and the same
//! request is typed again at a node that knows it from a snapshot alone.

use std::thread;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver as _;

use super::churn;
use super::harness::{Fleet, WITHIN, create, run, until};
use crate::model::{RequestId, Version};

const ID: RequestId = RequestId([7; 16]);

#[test]
fn a_request_whose_answer_died_with_the_leader_is_answered_once_more_and_applied_once() {
    let mut fleet = Fleet::of_three();
    let leader = fleet.leader();
    let (late, late_address) = fleet.kill((leader + 1) % 3);

    let leader = fleet.leader();
    let typist = fleet.nodes[leader].cluster.clone();
    let typed = thread::spawn(move || run(typist.propose_as(ID, create("first"), "", WITHIN)));
    let other = 1 - leader;
    until("the commit at the other node", WITHIN, || {
        fleet.nodes[other].cluster.answer(ID).is_some()
    });
    let (dead, dead_address) = fleet.kill(leader);
    // Whatever the typist saw or did not see: nobody looks at it.
    drop(typed);
    let first = fleet.nodes[0].cluster.answer(ID).unwrap();
    let index = fleet.nodes[0].cluster.feed().latest().log_index;
    fleet.restart(&dead, dead_address);

    let cluster = fleet.nodes[fleet.leader()].cluster.clone();
    run(async {
        let lanes = (0..64).map(|lane| churn(&cluster, format!("10.0.0.{lane}:80")));
        futures::future::join_all(lanes).await;
    });
    until("the request's entry is gone", Duration::from_secs(20), || {
        let purged = cluster.0.raft.metrics().borrow_watched().purged;
        purged.is_some_and(|purged| purged.index > index)
    });
    fleet.restart(&late, late_address);
    let late = &fleet.nodes[2];
    until("the answer at the late node", Duration::from_secs(20), || {
        late.cluster.answer(ID).is_some()
    });
    let version = |place: usize| fleet.nodes[place].cluster.feed().latest().state.config.version;
    until("one version everywhere", Duration::from_secs(20), || {
        version(0) == version(1) && version(1) == version(2)
    });
    let before = version(2);
    assert!(before > Version(1000), "at {before:?} the log is still whole");

    let again = run(late.cluster.propose_as(ID, create("first"), "", WITHIN)).unwrap();
    assert_eq!(again.answer, first);
    for place in 0..3 {
        until("the retry everywhere", WITHIN, || {
            fleet.nodes[place].cluster.feed().latest().log_index >= again.log_index
        });
        assert_eq!(version(place), before);
    }
}
