//! `reverse_proxy`: one task a client's connection drives its requests, one after the other, in both directions.
//!
//! A request that was read ends by the configuration it began with. What a connection has in memory between requests
//! is next to nothing: reads go into a buffer of the worker, and only what somebody does not take at once is held.

mod attempts;
mod client;
mod collect;
mod dispatch;
mod held;
mod opening;
mod original;
mod queue;
mod relay;
mod retry;
mod status;

use std::net::IpAddr;

use tokio::net::TcpStream;

use super::local::Counted;
use client::{Client, NoRequest, Request};
pub(super) use collect::sweep;
pub(super) use opening::{give_idle, replenish, was_told};
pub use queue::{Class, Length, Opening, Queue, Queues};

/// What becomes of a client's connection after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// It waits for another.
    Keep,
    /// It is closed.
    Close,
    /// It is closed; the client is still sending, and should see the answer first.
    Linger,
    /// It is cut off, so that the client does not take what it got for the whole.
    Abort,
}

/// Serves a client's connection to its end.
pub(super) async fn serve(counted: Counted, io: TcpStream, peer: IpAddr) {
    let mut client = Client::new(counted, io, peer);
    client.set_up().await;
    loop {
        let next = match client.next_request().await {
            Ok(request) if request.collects() => match collect::run(&mut client, request).await {
                Ok(request) => attempts::run(&mut client, request).await,
                Err(next) => next,
            },
            Ok(request) if request.is_known() => answer_known(&mut client, request).await,
            Ok(request) => attempts::run(&mut client, request).await,
            Err(NoRequest::AsksStatus(session, head)) => status::answer(&mut client, &session, &head).await,
            Err(NoRequest::Refused(error)) => client.refuse(error).await,
            Err(NoRequest::Ended) => Next::Close,
        };
        match next {
            Next::Keep => {}
            Next::Close => return,
            Next::Linger => return client.linger().await,
            Next::Abort => return client.abort(),
        }
    }
}

/// Answers from the cache. Apart, so that connections of services without one need no room for it.
async fn answer_known(client: &mut Client, request: Request) -> Next {
    Box::pin(relay::redirect::answer_known(client, request)).await
}
