use fleetbal_raft::model::{BackendAddress, Batch, Change, FleetConfig, PoolName};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::net::TcpListener;

use super::*;
use crate::snapshot::{NodeVariables, PoolView, Publisher};
use crate::upstream::{Stage, connect};

const PLAIN: QueueSettings = QueueSettings {
    connect_ahead: 0,
    relief_size: 0,
    relief_chance: 0,
    limit: None,
    timeout: None,
};

/// A pool of two backends that listen, and a queue of two workers in front of it.
struct Scene {
    _listeners: Vec<TcpListener>,
    pool: Arc<PoolView>,
    queue: Arc<Queue>,
    rng: StdRng,
}

async fn scene() -> Scene {
    let name = PoolName::parse("p").unwrap();
    let mut changes = vec![Change::CreatePool(name.clone())];
    let mut listeners = Vec::new();
    for _ in 0..2 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        changes.push(Change::PoolAdd {
            pool: name.clone(),
            backend: BackendAddress::parse(&listener.local_addr().unwrap().to_string()).unwrap(),
            weight: 1,
        });
        listeners.push(listener);
    }
    let batch = Batch::of(changes);
    let (mut publisher, view) = Publisher::new(NodeVariables::default());
    publisher.publish(&Arc::new(FleetConfig::default().with_batch(&batch).unwrap()));
    Scene {
        _listeners: listeners,
        pool: Arc::clone(view.load().pool("p").unwrap()),
        queue: Arc::new(Queue::new(ServiceName::parse("s").unwrap(), 2)),
        rng: StdRng::seed_from_u64(1),
    }
}

impl Scene {
    fn backend(&self, at: usize) -> &Arc<BackendState> {
        &self.pool.backends()[at]
    }

    async fn lease(&self, at: usize) -> Lease {
        let connections = self.queue.connections();
        connect(self.backend(at), None, connections, &Stage::default())
            .await
            .unwrap()
    }

    fn enter(&self, class: Class, of: Option<usize>) -> Ticket {
        let backend = of.map(|at| self.backend(at));
        self.queue.enter(class, backend, 0, None).unwrap()
    }

    async fn hand(&mut self, at: usize, from: usize) -> Option<Lease> {
        let lease = self.lease(at).await;
        self.queue.hand(lease, from, PLAIN, &mut self.rng)
    }

    fn begin(&mut self, ahead: usize) -> Vec<Arc<Opening>> {
        let demand = Demand {
            pool: &self.pool,
            ahead,
            now: Instant::now(),
        };
        self.queue.begin_openings(demand, &mut self.rng)
    }
}

fn has_got(ticket: &mut Ticket) -> bool {
    let mut context = Context::from_waker(std::task::Waker::noop());
    let answer = ticket.poll_answer(&mut context);
    matches!(answer, Poll::Ready(Answer::Connection(_)))
}

fn is_dismissed(ticket: &mut Ticket) -> bool {
    let mut context = Context::from_waker(std::task::Waker::noop());
    matches!(ticket.poll_answer(&mut context), Poll::Ready(Answer::Nobody))
}

#[tokio::test]
async fn a_connection_goes_to_the_first_who_can_use_it() {
    let mut scene = scene().await;
    let mut low = scene.enter(Class::Low, None);
    let mut of_other = scene.enter(Class::High, Some(1));
    let mut any = scene.enter(Class::Normal, None);
    let mut of_this = scene.enter(Class::Normal, Some(0));
    assert_eq!(scene.queue.waiting(), 4);
    assert!(scene.hand(0, 0).await.is_none());
    assert!(
        has_got(&mut any),
        "it came before the one who wants this very backend"
    );
    assert!(scene.hand(0, 1).await.is_none());
    assert!(has_got(&mut of_this), "also from another worker");
    assert!(scene.hand(0, 0).await.is_none());
    assert!(has_got(&mut low));
    assert!(scene.hand(0, 0).await.is_some(), "nobody wants it");
    assert!(scene.hand(1, 0).await.is_none());
    assert!(has_got(&mut of_other));
    assert_eq!(scene.queue.waiting(), 0);
}

#[tokio::test]
async fn who_leaves_keeps_nothing_from_others() {
    let mut scene = scene().await;
    let left = scene.enter(Class::Normal, None);
    drop(scene.enter(Class::Normal, None));
    let mut stays = scene.enter(Class::Normal, None);
    assert_eq!(scene.queue.waiting(), 2);
    assert!(scene.hand(0, 0).await.is_none());
    let Some(Answer::Connection(Passed::Within(lease))) = left.leave() else {
        panic!("what it had got is not lost");
    };
    assert!(scene.queue.hand(lease, 0, PLAIN, &mut scene.rng).is_none());
    assert!(has_got(&mut stays));
    assert_eq!(scene.queue.waiting(), 0);
    assert!(scene.enter(Class::High, Some(0)).leave().is_none());
    assert_eq!(scene.queue.waiting(), 0);
}

#[tokio::test]
async fn opens_what_is_missing_and_no_more() {
    let mut scene = scene().await;
    assert!(scene.begin(0).is_empty(), "nobody waits");
    let one = scene.enter(Class::Normal, None);
    let first = scene.begin(0);
    assert_eq!(first.len(), 1);
    assert!(scene.begin(0).is_empty(), "it is on its way");
    let others: Vec<_> = (0..5).map(|_| scene.enter(Class::Normal, None)).collect();
    let second = scene.begin(0);
    assert_eq!(second.len(), 1, "one a backend");
    assert!(!Arc::ptr_eq(&first[0].backend, &second[0].backend));
    scene.queue.opened(&first[0]);
    let third = scene.begin(0);
    assert!(Arc::ptr_eq(&first[0].backend, &third[0].backend));
    scene.queue.opened(&second[0]);
    scene.queue.opened(&third[0]);
    drop(others);
    drop(one);
    assert_eq!(scene.begin(9).len(), 2, "ahead as well");
}

#[tokio::test]
async fn who_waits_is_dismissed_once_all_have_failed_since_it_came() {
    let mut scene = scene().await;
    let mut early = scene.enter(Class::Normal, None);
    let first = scene.begin(0).pop().unwrap();
    first.backend.bar(Instant::now(), false);
    let mut late = scene.enter(Class::Normal, None);
    scene.queue.failed(&first);
    scene.queue.dismiss_hopeless(Some(&scene.pool.clone()));
    assert!(!is_dismissed(&mut early), "there is another one");
    let second = scene.begin(0).pop().unwrap();
    assert!(!Arc::ptr_eq(&first.backend, &second.backend));
    second.backend.bar(Instant::now(), false);
    scene.queue.failed(&second);
    scene.queue.dismiss_hopeless(Some(&scene.pool.clone()));
    assert!(is_dismissed(&mut early));
    assert!(!is_dismissed(&mut late), "it came when the first was being asked");
    let again = scene.begin(0).pop().unwrap();
    assert!(
        Arc::ptr_eq(&first.backend, &again.backend),
        "so it is asked again"
    );
    scene.queue.failed(&again);
    scene.queue.dismiss_hopeless(Some(&scene.pool.clone()));
    assert!(is_dismissed(&mut late));
    // As long as there is a connection, it may become free.
    let lease = scene.lease(0).await;
    let mut waits = scene.enter(Class::Normal, None);
    scene.queue.dismiss_hopeless(None);
    assert!(!is_dismissed(&mut waits));
    drop(lease);
    scene.queue.dismiss_hopeless(None);
    assert!(is_dismissed(&mut waits));
}

#[tokio::test]
async fn who_wants_one_backend_hears_when_it_fails_or_goes() {
    let mut scene = scene().await;
    let mut one = scene.enter(Class::Normal, Some(0));
    let mut other = scene.enter(Class::Normal, Some(1));
    let begun = scene.begin(0);
    assert_eq!(begun.len(), 2);
    let first = begun
        .iter()
        .find(|opening| Arc::ptr_eq(&opening.backend, scene.backend(0)));
    scene.queue.failed(first.unwrap());
    assert!(is_dismissed(&mut one) && !is_dismissed(&mut other));
    scene.queue.dismiss_hopeless(None);
    assert!(
        is_dismissed(&mut other),
        "its backend is not in the pool any more"
    );
}
