//! What was applied last, for everybody on this node who follows it.
//!
//! One writer, the state machine; any number of readers, each of which sees the latest and may miss what came
//! between. Whoever must not miss anything compares two of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::model::FleetState;
use crate::types::{ClusterMember, NodeId};

/// The state after one entry of the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// The entry; 0 also before any.
    pub log_index: u64,
    /// The term of the leader that appended it.
    pub term: u64,
    /// What the log has built up.
    pub state: Arc<FleetState>,
    /// Who votes and who learns.
    pub members: Arc<Members>,
}

/// The replicated membership.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members {
    /// Who votes. While the membership changes: who did before.
    pub voters: BTreeSet<NodeId>,
    /// Who gets every change and has no vote.
    pub learners: BTreeSet<NodeId>,
    /// All of them.
    pub nodes: BTreeMap<NodeId, ClusterMember>,
}

/// A reader of what was applied.
#[derive(Debug, Clone)]
pub struct Feed {
    receiver: watch::Receiver<Arc<Applied>>,
}

impl Feed {
    /// What was applied last.
    pub fn latest(&self) -> Arc<Applied> {
        Arc::clone(&self.receiver.borrow())
    }

    /// Waits for something newer than this reader's last [`Feed::changed`]; false when nothing will come any more.
    /// Dropping the future loses nothing.
    pub async fn changed(&mut self) -> bool {
        self.receiver.changed().await.is_ok()
    }

    /// Waits until an entry is applied here; false at the deadline, and when nothing will come any more.
    pub async fn wait_index(&self, index: u64, deadline: Instant) -> bool {
        let mut receiver = self.receiver.clone();
        let reached = receiver.wait_for(|applied| applied.log_index >= index);
        matches!(timeout_at(deadline, reached).await, Ok(Ok(_)))
    }
}

/// The one writer.
#[derive(Debug)]
pub(crate) struct FeedWriter {
    sender: watch::Sender<Arc<Applied>>,
}

impl FeedWriter {
    /// Begins with a state.
    pub(crate) fn new(applied: Applied) -> (Self, Feed) {
        let (sender, receiver) = watch::channel(Arc::new(applied));
        (Self { sender }, Feed { receiver })
    }

    /// Shows a newer one to all readers.
    pub(crate) fn publish(&self, applied: Applied) {
        self.sender.send_replace(Arc::new(applied));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(log_index: u64) -> Applied {
        Applied {
            log_index,
            ..Applied::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn waits_for_an_index_until_the_deadline_and_no_longer() {
        let (writer, feed) = FeedWriter::new(at(3));
        let soon = Instant::now() + Duration::from_secs(5);
        assert!(feed.wait_index(3, soon).await, "there already");
        assert!(!feed.wait_index(4, soon).await, "not by the deadline");
        assert!(Instant::now() >= soon);
        let later = Instant::now() + Duration::from_secs(5);
        let (reached, ()) = tokio::join!(feed.wait_index(4, later), async { writer.publish(at(7)) });
        assert!(reached && Instant::now() < later);
        drop(writer);
        assert!(!feed.wait_index(8, later).await, "nothing will come any more");
        assert!(Instant::now() < later);
    }

    #[tokio::test]
    async fn a_reader_sees_the_latest_and_then_the_end() {
        let (writer, mut feed) = FeedWriter::new(at(1));
        assert_eq!(feed.latest().log_index, 1);
        writer.publish(at(2));
        writer.publish(at(3));
        assert!(feed.changed().await);
        assert_eq!(feed.latest().log_index, 3);
        drop(writer);
        assert!(!feed.changed().await);
        assert_eq!(feed.latest().log_index, 3);
    }
}
