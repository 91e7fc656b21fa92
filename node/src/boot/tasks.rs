//! The control plane's tasks: none outlives the node.

use std::future::Future;

use tokio::task::JoinSet;

/// Tasks that end with this value. A task that panics is logged; the others go on.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    set: JoinSet<()>,
}

impl Tasks {
    /// Starts a task.
    pub(super) fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.set.spawn(task);
    }

    /// Ends all of them.
    pub(super) async fn end(mut self) {
        self.set.shutdown().await;
    }

    /// Waits for a task that ends in a panic. A task may end well; that is no event.
    pub(super) async fn failed(&mut self) -> String {
        loop {
            match self.set.join_next().await {
                Some(Err(error)) if error.is_panic() => return error.to_string(),
                Some(_) => {}
                None => std::future::pending().await,
            }
        }
    }
}
