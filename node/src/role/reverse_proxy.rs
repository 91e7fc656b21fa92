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
use client::{Client, Incoming, NoRequest};
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
            Ok(request) if request.is_plain() => attempts::run(&mut client, request).await,
            other => Box::pin(other_than_plain(&mut client, other)).await,
        };
        match next {
            Next::Keep => {}
            Next::Close => return,
            Next::Linger => return Box::pin(client.linger()).await,
            Next::Abort => return client.abort(),
        }
    }
}

/// All that most connections never see, apart: they need no room for it.
async fn other_than_plain(client: &mut Client, incoming: Incoming) -> Next {
    match incoming {
        Ok(request) if request.is_known() => relay::redirect::answer_known(client, request).await,
        Ok(request) => match collect::run(client, request).await {
            Ok(request) => attempts::run(client, request).await,
            Err(next) => next,
        },
        Err(NoRequest::AsksStatus(session, head)) => status::answer(client, &session, &head).await,
        Err(NoRequest::Refused(error)) => client.refuse(error).await,
        Err(NoRequest::Ended) => Next::Close,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<F: Future>(_: impl FnOnce(Counted, TcpStream, IpAddr) -> F) -> usize {
        size_of::<F>()
    }

    /// Every connection has one, idle or not, and it is moved when it begins.
    #[test]
    fn a_connection_is_small() {
        let size = size(serve);
        assert!(size <= 1200, "{size} bytes");
    }
}
