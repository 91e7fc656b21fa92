//! What USR1 asks for: the log gets what Perlbal logs then (reference, section 1.2).

use std::sync::Arc;

use fleetbal_raft::model::Typist;
use tokio_util::sync::CancellationToken;

use super::Context;
use super::command::{Command, Query};
use super::execute::execute;
use super::render::Reply;

/// Logs, each time that it is asked for, every service, then the states of connections, then the queues; until `stop`.
pub async fn report_on_demand(context: Arc<Context>, stop: CancellationToken) {
    let mut asked = context.lifecycle.reports();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            changed = asked.changed() => if changed.is_err() { return },
        }
        for line in report(&context).await {
            tracing::info!("{line}");
        }
    }
}

async fn report(context: &Context) -> Vec<String> {
    let snapshot = context.view.load();
    let names: Vec<_> = snapshot.services().map(|(name, _)| name.to_string()).collect();
    drop(snapshot);
    let services = names.into_iter().map(Query::Service);
    let mut lines = Vec::new();
    for query in services.chain([Query::States(None), Query::Queues]) {
        let reply = execute(Command::Query(query), &Typist::from("USR1"), context).await;
        if let Reply::Lines(shown) = reply {
            lines.extend(shown);
        }
    }
    lines
}
