//! A node's key, renewed while it runs.
//!
//! The new key is on disk first. Then the leader tells it to the members beside the old one; when every one of them has
//! it in its log, the node shows the new one, and the old one is forgotten. So each handshake is with a key that the
//! other side knows, wherever this stops and whoever restarts; a member that is away is waited for. The certificate is
//! signed here: every member has the fleet's CA.

use std::time::Duration;

use fleetbal_proto::v1;
use fleetbal_proto::v1::tell_keys_response::Result as Wire;
use openraft::ChangeMembers;
use openraft::async_runtime::WatchReceiver as _;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::membership::has;
use super::{Home, Inner};
use crate::error::{OpenError, ProposeError};
use crate::identity::{DataDir, NodeKeys};
use crate::model::{KeyHash, RENEWAL, UnixMillis};
use crate::types::{ClusterMember, NodeId};
use crate::wire::WireError;
use crate::wire::raft::decode_key_hash_opt;

/// How old a node's key becomes before it renews it by itself.
pub const REKEY_AFTER: Duration = Duration::from_hours(60 * 24);

/// How often a node looks whether its key is due.
const LOOK: Duration = Duration::from_mins(10);

/// Between two attempts to renew it.
const AGAIN: Duration = Duration::from_millis(500);

/// Between a member's having a key in its log and its taking handshakes by it; and for calls that began with the old one.
const SETTLE: Duration = Duration::from_millis(500);

/// Between two looks at who has it.
const PAUSE: Duration = Duration::from_millis(50);

/// How long the members may take to have it, before they are told to be away.
const SPREAD: Duration = Duration::from_secs(1);

/// How long the leader may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// Where a node is on its way to another key.
#[derive(Debug)]
pub(super) struct Rekey {
    own: NodeKeys,
    next: Option<NodeKeys>,
    since: UnixMillis,
    after: Duration,
}

/// Between whoever wants a renewal and the task that does it.
#[derive(Debug)]
pub(super) struct Renewal {
    wanted: watch::Sender<bool>,
    /// Of each attempt; why it is not done.
    outcome: watch::Sender<Result<(), String>>,
}

impl Renewal {
    pub(super) fn new() -> Self {
        Self {
            wanted: watch::Sender::new(false),
            outcome: watch::Sender::new(Ok(())),
        }
    }
}

/// The keys by which a member wants to be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TheKeys {
    now: KeyHash,
    next: Option<KeyHash>,
}

/// What came of telling the leader.
pub(crate) enum Told {
    /// The membership has them, and every member has that where there is a next one.
    Done,
    /// Somebody else leads, or nobody.
    Elsewhere,
    /// And why.
    NotYet(String),
}

impl Rekey {
    /// What an earlier life of the node left.
    pub(super) fn read(
        dir: &DataDir,
        own: &NodeKeys,
        since: UnixMillis,
        after: Duration,
    ) -> Result<Self, OpenError> {
        Ok(Self {
            own: own.clone(),
            next: dir.next_keys(own)?,
            since,
            after,
        })
    }

    fn is_due(&self, now: UnixMillis) -> bool {
        let age = Duration::from_millis(now.0.saturating_sub(self.since.0));
        age >= self.after
    }
}

impl TheKeys {
    /// Off the wire.
    pub(crate) fn read(request: &v1::TellKeysRequest) -> Result<Self, WireError> {
        Ok(Self {
            now: decode_key_hash_opt(&request.key_hash)?.ok_or(WireError::Invalid("key hash"))?,
            next: decode_key_hash_opt(&request.next_key_hash)?,
        })
    }
}

impl Inner {
    /// Renews the key when it is due or somebody wants it, and goes on with what was not finished. All is done here, so
    /// that nobody who stops waiting leaves something half done.
    pub(super) async fn keep_key_young(&self) {
        let Some(home) = &self.home else { return };
        let mut rekey = home.rekey.lock().await;
        let mut wanted = home.renewal.wanted.subscribe();
        loop {
            let is_wanted = *wanted.borrow_and_update();
            if is_wanted || rekey.is_due((self.clock)()) || self.is_half_way(&rekey) {
                self.renew_at_last(home, &mut rekey).await;
                home.renewal.wanted.send_replace(false);
                continue;
            }
            tokio::select! {
                // An error means that the node ends.
                outcome = wanted.changed() => if outcome.is_err() { return },
                () = sleep(LOOK.min(rekey.after)) => {}
            }
        }
    }

    /// Whether the members know another key of this node beside its own, or one is on disk.
    fn is_half_way(&self, rekey: &Rekey) -> bool {
        let own = rekey.own.key_hash().ok();
        let is_other = |member: ClusterMember| member.next_key_hash.is_some() || own != Some(member.key_hash);
        rekey.next.is_some() || self.as_member(self.node_id).is_some_and(is_other)
    }

    /// Has this node renew its key, and waits for it.
    pub(super) async fn rekey(&self, within: Duration) -> Result<(), ProposeError> {
        let home = self.home.as_ref().ok_or(ProposeError::Standalone)?;
        self.await_level(RENEWAL).await?;
        let deadline = Instant::now() + within;
        let mut outcome = home.renewal.outcome.subscribe();
        home.renewal.wanted.send_replace(true);
        let mut last = "it has only begun".to_owned();
        while let Ok(Ok(())) = timeout_at(deadline, outcome.changed()).await {
            match outcome.borrow_and_update().clone() {
                Ok(()) => return Ok(()),
                Err(why) => last = why,
            }
        }
        Err(ProposeError::Refused(format!(
            "the new key is not in use yet: {last}; it will be by itself when that is over"
        )))
    }

    /// Tries until it is done, and says each time what came of it.
    async fn renew_at_last(&self, home: &Home, rekey: &mut Rekey) {
        loop {
            let outcome = self.renew(home, rekey).await;
            let is_done = outcome.is_ok();
            if let Err(why) = &outcome {
                tracing::debug!(%why, "this node's key is not renewed yet");
            }
            home.renewal.outcome.send_modify(|last| *last = outcome);
            if is_done {
                tracing::info!("this node has a new key");
                return;
            }
            sleep(AGAIN).await;
        }
    }

    /// From wherever it is to the end, or as far as it gets.
    async fn renew(&self, home: &Home, rekey: &mut Rekey) -> Result<(), String> {
        let text = |error: OpenError| error.to_string();
        self.check_level(RENEWAL).map_err(|error| error.to_string())?;
        if !self.is_half_way(rekey) {
            let next = rekey.own.renewed(&self.name).map_err(text)?;
            self.on_disk(home, next.clone(), |dir, next| dir.save_next_keys(&next))
                .await
                .map_err(text)?;
            rekey.next = Some(next);
        }
        if let Some(next) = rekey.next.clone() {
            let keys = TheKeys {
                now: rekey.own.key_hash().map_err(text)?,
                next: Some(next.key_hash().map_err(text)?),
            };
            self.tell_leader(keys).await?;
            sleep(SETTLE).await;
            self.switch(home, rekey, next).await.map_err(text)?;
            sleep(SETTLE).await;
        }
        let keys = TheKeys {
            now: rekey.own.key_hash().map_err(text)?,
            next: None,
        };
        self.tell_leader(keys).await
    }

    async fn switch(&self, home: &Home, rekey: &mut Rekey, next: NodeKeys) -> Result<(), OpenError> {
        let mut identity = home.identity.clone();
        let since = (self.clock)();
        identity.keys = next.clone();
        identity.key_since = Some(since);
        self.on_disk(home, identity, |dir, identity| dir.take_up_next_keys(&identity))
            .await?;
        home.tls.switch(&next)?;
        self.channels.reopen();
        rekey.own = next;
        rekey.next = None;
        rekey.since = since;
        Ok(())
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        home: &Home,
        what: T,
        write: impl FnOnce(DataDir, T) -> Result<(), OpenError> + Send + 'static,
    ) -> Result<(), OpenError> {
        let dir = home.dir.clone();
        tokio::task::spawn_blocking(move || write(dir, what))
            .await
            .map_err(|error| OpenError::Raft(error.to_string()))?
    }

    async fn tell_leader(&self, keys: TheKeys) -> Result<(), String> {
        let told = match self.leader() {
            Some(leader) if leader == self.node_id => self.take_keys(self.node_id, keys).await,
            Some(leader) => self.tell_there(leader, keys).await,
            None => Told::Elsewhere,
        };
        match told {
            Told::Done => Ok(()),
            Told::Elsewhere => Err("no leader answers".to_owned()),
            Told::NotYet(why) => Err(why),
        }
    }

    async fn tell_there(&self, leader: NodeId, keys: TheKeys) -> Told {
        let Some(mut client) = self.forward_client(leader) else {
            return Told::Elsewhere;
        };
        let request = v1::TellKeysRequest {
            key_hash: keys.now.0.to_vec(),
            next_key_hash: keys.next.map(|next| next.0.to_vec()).unwrap_or_default(),
        };
        let answer = timeout(ANSWER, client.tell_keys(request)).await;
        match answer
            .ok()
            .and_then(Result::ok)
            .and_then(|answer| answer.into_inner().result)
        {
            Some(Wire::Done(_)) => Told::Done,
            Some(Wire::NotYet(why)) => Told::NotYet(why),
            Some(Wire::NotLeader(_)) | None => Told::Elsewhere,
        }
    }

    /// On the leader: a member is known by these keys from now on.
    pub(crate) async fn take_keys(&self, node: NodeId, keys: TheKeys) -> Told {
        if self.leader() != Some(self.node_id) {
            return Told::Elsewhere;
        }
        if let Err(error) = self.check_level(RENEWAL) {
            return Told::NotYet(error.to_string());
        }
        let told = {
            let _one_at_a_time = self.describing.lock().await;
            self.describe(node, keys).await
        };
        match told {
            Ok(()) if keys.next.is_none() => Told::Done,
            Ok(()) => self.wait_all_have_it(node).await,
            Err(why) => Told::NotYet(why),
        }
    }

    async fn describe(&self, node: NodeId, keys: TheKeys) -> Result<(), String> {
        let member = self.as_member(node).ok_or("it is not taken up yet")?;
        if !member.keys().any(|key| key == keys.now) {
            return Err("the members know it by other keys".to_owned());
        }
        if self.is_anothers(node, keys) {
            return Err("the key is another member's".to_owned());
        }
        let renewed = ClusterMember {
            key_hash: keys.now,
            next_key_hash: keys.next,
            ..member.clone()
        };
        if renewed == member {
            return Ok(());
        }
        tracing::info!(node = %member.name, "a member renews its key");
        let change = ChangeMembers::SetNodes([(node, renewed)].into());
        if self.change(change).await {
            Ok(())
        } else {
            Err("the membership could not be changed".to_owned())
        }
    }

    fn is_anothers(&self, node: NodeId, keys: TheKeys) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let others = metrics.membership_config.nodes().filter(|(id, _)| **id != node);
        let mut theirs = others.flat_map(|(_, member)| member.keys());
        theirs.any(|key| key == keys.now || Some(key) == keys.next)
    }

    /// Whoever does not have it would refuse the new key.
    async fn wait_all_have_it(&self, node: NodeId) -> Told {
        let begin = Instant::now();
        loop {
            let missing = self.who_lacks_the_membership(node);
            if missing.is_empty() {
                return Told::Done;
            }
            if begin.elapsed() >= SPREAD {
                let missing = missing.join(", ");
                return Told::NotYet(format!("{missing} must know of it and is away or behind"));
            }
            sleep(PAUSE).await;
        }
    }

    fn who_lacks_the_membership(&self, but: NodeId) -> Vec<String> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let index = metrics.membership_config.log_id().map_or(0, |id| id.index);
        let others = metrics
            .membership_config
            .nodes()
            .filter(|(id, _)| **id != but && **id != self.node_id);
        others
            .filter(|(id, _)| !has(&metrics, **id, index))
            .map(|(_, member)| member.name.clone())
            .collect()
    }

    fn as_member(&self, node: NodeId) -> Option<ClusterMember> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.membership().get_node(&node).cloned()
    }
}
