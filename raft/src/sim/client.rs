//! Who proposes changes and reads, as `cluster::forward` does: retries go by the same request id.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openraft::ReadPolicy;
use openraft::async_runtime::WatchReceiver as _;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::{Instant, sleep, timeout};

use super::links::Links;
use crate::cluster::Raft;
use crate::feed::Feed;
use crate::model::{
    Answer, Batch, Change, Command, Entry, FIRST_LEVEL, PoolName, RequestId, Typist, UnixMillis,
};
use crate::types::LogCommand;
use crate::wire::encode_entry;

/// How long one request is tried.
const WITHIN: Duration = Duration::from_secs(3);

/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_millis(700);

/// What was answered, and by when in the log.
pub(super) type Acknowledged = Arc<Mutex<BTreeMap<String, (RequestId, Answer)>>>;

pub(super) struct Client {
    number: u8,
    nodes: u64,
    rng: StdRng,
    links: Links,
    acknowledged: Acknowledged,
}

impl Client {
    pub(super) fn new(number: u8, nodes: u64, seed: u64, links: &Links, acknowledged: &Acknowledged) -> Self {
        Self {
            number,
            nodes,
            rng: StdRng::seed_from_u64(seed ^ (u64::from(number) << 56)),
            links: links.clone(),
            acknowledged: Arc::clone(acknowledged),
        }
    }

    pub(super) async fn go_on(mut self) {
        for count in 0_u32.. {
            if self.rng.random_ratio(1, 3) {
                self.read().await;
            } else {
                self.change(count).await;
            }
            let pause = self.rng.random_range(20..120);
            sleep(Duration::from_millis(pause)).await;
        }
    }

    async fn change(&mut self, count: u32) {
        let pool = format!("c{}x{count}", self.number);
        let request = RequestId(self.rng.random());
        let command = LogCommand(encode_entry(&Entry {
            feature_level: FIRST_LEVEL,
            request_id: request,
            origin_node: String::new(),
            typist: Typist::default(),
            time: UnixMillis(1),
            deadline: UnixMillis(1),
            command: Command::Batch(Batch::of(vec![Change::CreatePool(
                PoolName::parse(&pool).unwrap(),
            )])),
        }));
        let begin = Instant::now();
        while begin.elapsed() < WITHIN {
            if let Some((raft, _)) = self.leader() {
                let written = timeout(ATTEMPT, raft.client_write(command.clone())).await;
                if let Ok(Ok(response)) = written {
                    let answer = response.data.unwrap();
                    assert!(
                        matches!(answer, Answer::Applied(_)),
                        "{pool} was answered {answer:?}"
                    );
                    self.acknowledged.lock().unwrap().insert(pool, (request, answer));
                    return;
                }
            }
            let pause = self.rng.random_range(10..100);
            sleep(Duration::from_millis(pause)).await;
        }
    }

    /// What a read index is after holds all that was acknowledged before it was asked for.
    async fn read(&mut self) {
        let Some((raft, feed)) = self.leader() else { return };
        let known: Vec<String> = self.acknowledged.lock().unwrap().keys().cloned().collect();
        let reading = raft.get_read_linearizer(ReadPolicy::ReadIndex);
        let Ok(Ok(linearizer)) = timeout(ATTEMPT, reading).await else {
            return;
        };
        let index = linearizer.read_log_id().index();
        if !feed.wait_index(index, Instant::now() + ATTEMPT).await {
            return;
        }
        let state = Arc::clone(&feed.latest().state);
        for pool in known {
            assert!(state.config.pool(&pool).is_some(), "a fresh read misses {pool}");
        }
    }

    /// The node that any node takes for the leader.
    fn leader(&mut self) -> Option<(Raft, Feed)> {
        let asked = self.links.raft(self.rng.random_range(1..=self.nodes))?;
        let leader = asked.metrics().borrow_watched().current_leader;
        self.links.node(leader?)
    }
}
