//! A node that stands alone: the same code path, without disk and without ports.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver as _;

use crate::cluster::Cluster;
use crate::error::ProposeError;
use crate::model::{
    Answer, Batch, CertificateName, Change, Command, NodeName, PoolName, RequestId, UnixMillis, Version,
};
use crate::seal::SealError;

const WITHIN: Duration = Duration::from_secs(5);

async fn alone() -> Cluster {
    let name = NodeName::parse("n1").unwrap();
    Cluster::standalone(name, Arc::new(|| UnixMillis(1_000)), None)
        .await
        .unwrap()
}

fn create(pool: &str) -> Command {
    Command::Batch(Batch::of(vec![Change::CreatePool(
        PoolName::parse(pool).unwrap(),
    )]))
}

#[tokio::test]
async fn changes_and_reads() {
    let cluster = alone().await;
    let proposed = cluster
        .propose(create("web"), "127.0.0.1:1", WITHIN)
        .await
        .unwrap();
    assert_eq!(proposed.answer, Answer::Applied(Version(1)));
    let index = cluster.read_index(WITHIN).await.unwrap();
    assert!(index >= proposed.log_index);
    let applied = cluster.feed().latest();
    assert!(
        applied.log_index >= proposed.log_index,
        "answered before it was shown"
    );
    assert!(applied.state.config.pool("web").is_some());
    let status = cluster.status();
    assert_eq!(
        (status.leader, status.voters_reachable, status.has_quorum),
        (Some(1), 1, true)
    );
    assert!(cluster.tls().is_none() && cluster.identity().is_none());
}

#[tokio::test]
async fn a_request_counts_once() {
    let cluster = alone().await;
    let id = RequestId([7; 16]);
    let first = cluster.propose_as(id, create("web"), "", WITHIN).await.unwrap();
    let again = cluster.propose_as(id, create("web"), "", WITHIN).await.unwrap();
    assert_eq!(first.answer, again.answer);
    assert_eq!(cluster.answer(id), Some(first.answer));
    let other = cluster.propose(create("web"), "", WITHIN).await.unwrap();
    assert!(matches!(other.answer, Answer::Refused(_)));
    assert_eq!(cluster.feed().latest().state.config.version, Version(1));
}

#[tokio::test]
async fn refuses_what_is_too_large_what_it_cannot_and_what_comes_too_late() {
    let cluster = alone().await;
    let value = "x".repeat(16 << 20);
    let change = Change::SetDefault {
        key: "pool".into(),
        value,
    };
    let large = Command::Batch(Batch::of(vec![change]));
    let error = cluster.propose(large, "", WITHIN).await.unwrap_err();
    assert!(matches!(error, ProposeError::TooLarge { .. }), "{error}");
    let error = cluster.issue_token(WITHIN, None, "").await.unwrap_err();
    assert_eq!(error, ProposeError::Standalone);
    cluster.shutdown().await;
    let error = cluster.propose(create("web"), "", WITHIN).await.unwrap_err();
    assert_eq!(error, ProposeError::Stopped);
    assert_eq!(
        cluster.read_index(WITHIN).await.unwrap_err(),
        ProposeError::Stopped
    );
}

#[tokio::test]
async fn another_one_goes_on_where_it_ended() {
    let cluster = alone().await;
    let id = RequestId([7; 16]);
    let first = cluster.propose_as(id, create("web"), "", WITHIN).await.unwrap();
    cluster.shutdown().await;
    let name = NodeName::parse("n1").unwrap();
    let clock = Arc::new(|| UnixMillis(2_000));
    let next = Cluster::standalone(name.clone(), clock.clone(), Some(&cluster.state()))
        .await
        .unwrap();
    assert!(next.feed().latest().state.config.pool("web").is_some());
    assert_eq!(next.answer(id), Some(first.answer));
    let second = next.propose(create("api"), "", WITHIN).await.unwrap();
    assert_eq!(second.answer, Answer::Applied(Version(2)));
    assert!(Cluster::standalone(name, clock, Some(b"nonsense")).await.is_err());
}

#[tokio::test]
async fn what_was_sealed_is_opened_by_the_process_that_takes_the_place() {
    let name = CertificateName::parse("www").unwrap();
    let before = alone().await;
    let sealed = before.seal().seal(&name, b"key").unwrap();
    let state = before.state();
    let node = NodeName::parse("n1").unwrap();
    let clock = Arc::new(|| UnixMillis(1_000));
    let after = Cluster::standalone(node, clock, Some(&state)).await.unwrap();
    assert_eq!(after.seal().open(&name, &sealed).as_deref(), Ok(&b"key"[..]));
    assert_eq!(
        alone().await.seal().open(&name, &sealed),
        Err(SealError::OtherFleet)
    );
}

/// Each tick of the consensus shows in its metrics.
#[tokio::test(start_paused = true)]
async fn alone_it_does_not_tick() {
    let cluster = alone().await;
    let mut metrics = cluster.0.raft.metrics();
    let mut changes = 0;
    while let Ok(changed) = tokio::time::timeout(Duration::from_secs(10), metrics.changed()).await {
        changed.unwrap();
        changes += 1;
        assert!(changes < 100, "it goes on");
    }
    // It leads all the same.
    cluster.propose(create("web"), "", WITHIN).await.unwrap();
}
