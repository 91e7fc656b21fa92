use std::time::Duration;

use fleetbal_raft::model::{BackendAddress, Batch, Change, FleetConfig, PoolName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::super::{Stage, connect};
use super::*;
use crate::snapshot::{NodeVariables, Publisher};

struct Place {
    listener: TcpListener,
    backend: Arc<BackendState>,
    connections: Arc<Connections>,
    ends: Vec<TcpStream>,
}

async fn place(workers: usize) -> Place {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let pool = PoolName::parse("p").unwrap();
    let changes = vec![
        Change::CreatePool(pool.clone()),
        Change::PoolAdd {
            pool,
            backend: BackendAddress::parse(&address).unwrap(),
            weight: 1,
        },
    ];
    let batch = Batch::of(changes);
    let (mut publisher, view) = Publisher::new(NodeVariables::default());
    publisher.publish(&Arc::new(FleetConfig::default().with_batch(&batch).unwrap()));
    Place {
        listener,
        backend: Arc::clone(&view.load().pool("p").unwrap().backends()[0]),
        connections: Arc::new(Connections::new(workers)),
        ends: Vec::new(),
    }
}

impl Place {
    async fn fresh(&mut self) -> Lease {
        let lease = connect(&self.backend, None, &self.connections, &Stage::default())
            .await
            .unwrap();
        self.ends.push(self.listener.accept().await.unwrap().0);
        lease
    }

    async fn used(&mut self) -> Lease {
        let mut lease = self.fresh().await;
        lease.count_use();
        lease
    }
}

fn port(lease: &Lease) -> u16 {
    lease.io.local_addr().unwrap().port()
}

#[tokio::test]
async fn the_hottest_first_and_no_closed_one() {
    let mut place = place(1).await;
    let idle = IdleConnections::new(0, Arc::clone(&place.connections));
    for _ in 0..3 {
        idle.put(place.used().await, 3);
    }
    idle.put(place.used().await, 3);
    assert_eq!(
        (
            idle.len(),
            place.backend.open_connections(),
            place.connections.open()
        ),
        (3, 3, 3),
        "no more than the limit"
    );
    place.ends.pop();
    let mut end = place.ends.pop().unwrap();
    let mut lease = idle.take_hottest(0).unwrap();
    assert_eq!(port(&lease), end.peer_addr().unwrap().port());
    // It is still good after something was read from it.
    end.write_all(b"x").await.unwrap();
    assert_eq!(lease.io.read(&mut [0; 8]).await.unwrap(), 1);
    idle.put(lease, 3);
    drop(end);
    let next = place.ends.pop().unwrap().peer_addr().unwrap().port();
    let _first = place.ends.pop();
    for _ in 0..1000 {
        // The runtime hears of the end when it next looks.
        tokio::time::sleep(Duration::from_millis(1)).await;
        idle.sweep(0, 3, |_| true);
        if idle.len() == 1 {
            break;
        }
    }
    assert_ne!(port(&idle.take_of(&place.backend, 0).unwrap()), next);
    idle.sweep(0, 3, |_| false);
    assert!(idle.is_empty());
    assert_eq!(
        (place.backend.open_connections(), place.connections.open()),
        (0, 0)
    );
}

#[tokio::test]
async fn the_limit_is_the_nodes() {
    let mut place = place(2).await;
    let [one, other] = [0, 1].map(|worker| IdleConnections::new(worker, Arc::clone(&place.connections)));
    for _ in 0..3 {
        one.put(place.used().await, 3);
    }
    other.put(place.used().await, 3);
    assert_eq!((one.len(), other.len(), place.connections.idle()), (3, 0, 3));
    // A place is taken for as long as its connection may come back to it.
    let lease = one.take_hottest(0).unwrap();
    other.put(place.used().await, 3);
    assert_eq!(other.len(), 0);
    one.put(lease, 3);
    let lease = one.take_hottest(0).unwrap();
    one.sweep(1, 3, |_| true);
    other.put(place.used().await, 3);
    assert_eq!((one.len(), other.len()), (2, 1));
    one.put(lease, 3);
    assert_eq!(one.len(), 2);
    // A lower limit closes what is above it.
    one.sweep(2, 1, |_| true);
    other.sweep(2, 1, |_| true);
    assert_eq!(place.connections.idle(), 1);
    assert_eq!(place.connections.open(), 1);
}

#[tokio::test]
async fn those_never_used_come_last_and_need_no_place() {
    let mut place = place(1).await;
    let idle = IdleConnections::new(0, Arc::clone(&place.connections));
    let used = place.used().await;
    let hot = port(&used);
    idle.put(used, 1);
    let mut fresh = place.fresh().await;
    fresh.use_before(5);
    let cold = port(&fresh);
    idle.put_unused(fresh);
    assert_eq!(idle.len(), 2);
    assert_eq!(port(&idle.take_hottest(4).unwrap()), hot);
    let fresh = idle.take_hottest(4).unwrap();
    assert_eq!(port(&fresh), cold);
    idle.put_unused(fresh);
    assert!(idle.take_hottest(5).is_none(), "its time is over");
    assert_eq!(place.connections.open(), 0);
}

#[tokio::test]
async fn goes_to_another_worker() {
    let mut place = place(1).await;
    let mut lease = place.used().await.detach().unwrap().attach().unwrap();
    let mut end = place.ends.pop().unwrap();
    end.write_all(b"x").await.unwrap();
    assert_eq!(lease.io.read(&mut [0; 8]).await.unwrap(), 1);
    assert_eq!((lease.uses(), place.connections.open()), (1, 1));
}
