use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

async fn target() -> (TcpListener, Target) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = Target::parse(&listener.local_addr().unwrap().to_string()).unwrap();
    (listener, target)
}

fn figures(targets: &Targets) -> (usize, usize, usize) {
    let all = targets.figures();
    let count = |stage| {
        let connections = all.iter().flat_map(|of| &of.connections);
        connections.filter(|of| of.stage == stage).count()
    };
    let open = all.iter().map(|of| of.connections.len()).sum();
    (open, count(Stage::Idle), all.iter().map(|of| of.waiting).sum())
}

/// Starts a request and polls it until it waits.
async fn in_line(
    targets: &Arc<Targets>,
    target: &Target,
    limit: Option<usize>,
) -> tokio::task::JoinHandle<Result<Lease, TargetError>> {
    let before = figures(targets).2;
    let (shared, target) = (Arc::clone(targets), target.clone());
    let waiting = tokio::spawn(async move { shared.lease(&target, limit, 0).await });
    while figures(targets).2 == before {
        tokio::task::yield_now().await;
    }
    waiting
}

#[tokio::test]
async fn uses_an_idle_connection_again() {
    let (listener, target) = target().await;
    let targets = Arc::new(Targets::default());
    let lease = targets.lease(&target, None, 0).await.unwrap();
    let (_end, address) = listener.accept().await.unwrap();
    assert_eq!((lease.is_used, figures(&targets)), (false, (1, 0, 0)));
    lease.release(IDLE);
    assert_eq!(figures(&targets), (1, 1, 0));
    let mut lease = targets.lease(&target, None, 0).await.unwrap();
    assert_eq!((lease.is_used, lease.io.local_addr().unwrap()), (true, address));
    lease.io.write_all(b"x").await.unwrap();
    drop(lease);
    assert_eq!(figures(&targets), (0, 0, 0));
}

#[tokio::test]
async fn keeps_no_connection_for_longer_or_that_was_closed() {
    let (listener, target) = target().await;
    let targets = Arc::new(Targets::default());
    targets
        .lease(&target, None, 0)
        .await
        .unwrap()
        .release(Duration::ZERO);
    assert_eq!(figures(&targets), (1, 1, 0));
    targets.sweep();
    assert_eq!(figures(&targets), (0, 0, 0));
    let lease = targets.lease(&target, None, 0).await.unwrap();
    let (_first, _) = listener.accept().await.unwrap();
    let (mut end, _) = listener.accept().await.unwrap();
    lease.release(IDLE);
    end.write_all(b"unasked").await.unwrap();
    let give_up = Instant::now() + Duration::from_secs(10);
    while figures(&targets).0 > 0 {
        assert!(
            Instant::now() < give_up,
            "the connection that said too much is kept"
        );
        targets.sweep();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn whoever_waited_longest_is_next() {
    let (listener, target) = target().await;
    let targets = Arc::new(Targets::default());
    let lease = targets.lease(&target, Some(1), 0).await.unwrap();
    let (mut end, address) = listener.accept().await.unwrap();
    let first = in_line(&targets, &target, Some(1)).await;
    let gone = in_line(&targets, &target, Some(1)).await;
    let second = in_line(&targets, &target, Some(1)).await;
    assert_eq!(figures(&targets), (1, 0, 3));
    gone.abort();
    drop(gone.await);
    lease.release(IDLE);
    let mut lease = first.await.unwrap().unwrap();
    assert_eq!((lease.is_used, lease.io.local_addr().unwrap()), (true, address));
    lease.io.write_all(b"1").await.unwrap();
    assert_eq!(end.read_u8().await.unwrap(), b'1');
    // One that is closed makes room for another.
    drop(lease);
    let lease = second.await.unwrap().unwrap();
    assert!(!lease.is_used);
    assert_eq!(figures(&targets), (1, 0, 0));
    // The limit is looked at anew with each request.
    let more = targets.lease(&target, Some(2), 0).await.unwrap();
    assert_eq!(figures(&targets), (2, 0, 0));
    let waiting = in_line(&targets, &target, Some(1)).await;
    more.release(IDLE);
    assert_eq!(figures(&targets), (1, 0, 1));
    lease.release(IDLE);
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn one_at_a_time_is_opened() {
    let (listener, target) = target().await;
    let targets = Arc::new(Targets::default());
    let all = futures::future::join_all((0..8).map(|_| targets.lease(&target, None, 0))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(figures(&targets), (8, 0, 0));
    for _ in 0..8 {
        listener.accept().await.unwrap();
    }
}

#[tokio::test]
async fn what_cannot_be_reached_is_said_to_all_who_wait() {
    let (listener, target) = target().await;
    drop(listener);
    let targets = Arc::new(Targets::default());
    let all = futures::future::join_all((0..4).map(|_| targets.lease(&target, None, 0))).await;
    assert!(all.iter().all(Result::is_err));
    assert!(targets.figures().is_empty());
    let nowhere = Target::parse("no-such-name.invalid").unwrap();
    let refused = targets.lease(&nowhere, None, 0).await;
    assert!(matches!(
        refused,
        Err(TargetError::Connect(_) | TargetError::TimedOut)
    ));
}

#[tokio::test]
async fn who_leaves_while_opening_lets_the_next_open() {
    let (_listener, target) = target().await;
    let targets = Arc::new(Targets::default());
    let mut opening = Box::pin(targets.lease(&target, Some(1), 0));
    assert!(futures::poll!(&mut opening).is_pending());
    assert_eq!(figures(&targets), (1, 0, 0));
    let next = in_line(&targets, &target, Some(1)).await;
    drop(opening);
    next.await.unwrap().unwrap();
}
