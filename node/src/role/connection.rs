//! A client's connection, to its end: one task drives its requests, one after the other, whatever service answers them.
//!
//! A request that was read ends by the configuration it began with.

use std::net::SocketAddr;

use super::client::{Client, Incoming};
use super::local::Counted;
use super::{reverse_proxy, selector, stream, web_server};
use crate::http::ProxyError;
use crate::monitor::sockets::ClientState;
use crate::plugin::Fetch;
use crate::tls::Stream;

/// What becomes of a client's connection after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
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
pub(super) async fn serve(counted: Counted, io: Stream, peer: SocketAddr) {
    let mut client = Client::new(counted, io, peer);
    client.set_up().await;
    loop {
        let next = match client.next_request().await {
            Incoming::Proxied(request) if request.is_plain() => {
                reverse_proxy::run(&mut client, request).await
            }
            Incoming::Answered(next) => next,
            other @ (Incoming::Proxied(_)
            | Incoming::Web(_)
            | Incoming::Refused(_)
            | Incoming::AsksStatus(..)
            | Incoming::Unrouted(..)
            | Incoming::Said(..)
            | Incoming::Stream(_)
            | Incoming::Wait(_)
            | Incoming::Fetch(_)
            | Incoming::Ended) => Box::pin(other_than_plain(&mut client, other)).await,
        };
        client.log();
        client.request_ended();
        match next {
            Next::Keep => {}
            Next::Close => return,
            Next::Linger => return Box::pin(client.linger()).await,
            Next::Abort => return client.abort(),
        }
    }
}

/// Answers a connection that cannot be served, whatever it asks for.
pub(super) async fn refuse(counted: Counted, io: Stream, peer: SocketAddr, error: ProxyError) {
    let mut client = Client::new(counted, io, peer);
    client.set_up().await;
    client.refuse(error).await;
    client.linger().await;
}

/// All that most connections never see, apart: they need no room for it.
async fn other_than_plain(client: &mut Client, incoming: Incoming) -> Next {
    match incoming {
        Incoming::Proxied(request) if request.is_known() => {
            reverse_proxy::answer_known(client, request).await
        }
        Incoming::Proxied(request) => match reverse_proxy::collect(client, request).await {
            Ok(request) => reverse_proxy::run(client, request).await,
            Err(next) => next,
        },
        Incoming::Web(request) => {
            client.record.keep_head(request.text());
            client.record.enter(ClientState::XferDisk);
            let next = web_server::run(client, *request).await;
            client.record.end();
            next
        }
        Incoming::Unrouted(error, head) => selector::unrouted(client, error, &head).await,
        Incoming::Said(answer, head) => client.give(&answer, &head).await,
        Incoming::Stream(subscription) => stream::run(client, *subscription).await,
        Incoming::Wait(time) => {
            tokio::time::sleep(time).await;
            Next::Keep
        }
        Incoming::Fetch(fetch) => fetch_for(client, &fetch).await,
        Incoming::AsksStatus(session, head) => reverse_proxy::answer_status(client, &session, &head).await,
        Incoming::Answered(next) => next,
        Incoming::Refused(error) => client.refuse(error).await,
        Incoming::Ended => Next::Close,
    }
}

/// Sends a request for a plugin, which goes on with what it is answered.
async fn fetch_for(client: &mut Client, fetch: &Fetch) -> Next {
    let fetched = fetch.send().await;
    if let Some(hooked) = &mut client.hooked {
        hooked.context.put_fetched(fetched);
    }
    Next::Keep
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<F: Future>(_: impl FnOnce(Counted, Stream, SocketAddr) -> F) -> usize {
        size_of::<F>()
    }

    /// Every connection has one, idle or not, and it is moved when it begins.
    #[test]
    fn a_connection_is_small() {
        let size = size(serve);
        assert!(size <= 1200, "{size} bytes");
    }
}
