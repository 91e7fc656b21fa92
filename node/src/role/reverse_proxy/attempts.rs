//! A request that was read, until its client has an answer: on as many connections, one after the other, as it takes and
//! as it may.

use std::rc::Rc;
use std::time::Duration;

use super::Next;
use super::client::{Client, Request};
use super::dispatch;
use super::opening::replenish_for_waiting;
use super::relay::Relay;
use super::retry::Tries;
use crate::http::ProxyError;
use crate::role::local::{Local, Served};

/// Sends a request on and its answer back.
pub(super) async fn run(client: &mut Client, mut request: Request) -> Next {
    let in_flight = InFlight::new(client);
    let mut tries = Tries::default();
    let next = loop {
        let mut lease = match request.lease.take() {
            Some(lease) => lease,
            None => match dispatch::lease(client, &request, tries.failed.as_ref()).await {
                Ok(lease) => lease,
                Err(error) => break answer(client, &request, error).await,
            },
        };
        client.arm(request.current.view.settings.idle_timeout);
        if let Some(pool) = &request.current.view.pool {
            lease.begin(pool);
        }
        let relay = Relay::new(&mut *client, request, lease, std::mem::take(&mut tries));
        match relay.run().await {
            Ended::Done(next) => break next,
            Ended::Again(again) => {
                request = again.request;
                tries = again.tries;
                if let Some(pause) = again.pause {
                    tokio::time::sleep(pause).await;
                }
            }
        }
    };
    client.trim();
    drop(in_flight);
    next
}

/// Counts a request as in flight for as long as it lives.
pub(super) struct InFlight {
    local: Rc<Local>,
    served: Rc<Served>,
}

impl InFlight {
    pub(super) fn new(client: &Client) -> Self {
        Self {
            local: Rc::clone(&client.counted.local),
            served: Rc::clone(&client.serving),
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.served.shard().request_ended();
        // Its connection may have been closed, and others have waited for it.
        replenish_for_waiting(&self.local, &self.served);
    }
}

/// Answers with a page. The connection stays open if the request was read to its end.
pub(super) async fn answer(client: &mut Client, request: &Request, error: ProxyError) -> Next {
    let is_read = request.upload.is_done();
    let keep = request.keeps_client() && !client.local().is_draining();
    let sent = client.answer(error, request.head.method, keep).await;
    match (sent && keep, is_read) {
        (true, _) => Next::Keep,
        (false, false) if sent => Next::Linger,
        (false, _) => Next::Close,
    }
}

/// How a try ended.
pub(super) enum Ended {
    /// The client has its answer, or has left.
    Done(Next),
    /// The request is to be tried again.
    Again(Box<Again>),
}

/// A request that is ready for another try.
pub(super) struct Again {
    pub(super) request: Request,
    pub(super) tries: Tries,
    /// How long to wait before.
    pub(super) pause: Option<Duration>,
}
