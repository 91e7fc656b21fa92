//! A request that was read, until its client has an answer: on as many connections, one after the other, as it takes and
//! as it may.

use std::rc::Rc;

use super::dispatch;
use super::hooks;
use super::opening::replenish_for_waiting;
use super::relay::{Relay, Trouble};
use super::request::Request;
use super::retry::Tries;
use crate::http::ProxyError;
use crate::plugin::Answer;
use crate::role::client::Client;
use crate::role::connection::Next;
use crate::role::local::{Local, Served};
use crate::upstream::Lease;

/// Sends a request on and its answer back.
pub(in crate::role) async fn run(client: &mut Client, mut request: Box<Request>) -> Next {
    let in_flight = InFlight::new(client);
    if client
        .hooked
        .as_ref()
        .is_some_and(|hooked| hooked.holds_request())
        && let Some(next) = Box::pin(hooks::before_backend(client, &mut request)).await
    {
        return next;
    }
    let mut tries = Tries::default();
    let next = loop {
        let mut lease = match request.lease.take() {
            Some(lease) if client.hooked.is_none() => lease,
            lease => match Box::pin(lease_for(client, &mut request, lease, &tries)).await {
                Ok(lease) => lease,
                Err(next) => break next,
            },
        };
        client.arm(request.current.view.settings.idle_timeout);
        client.record.uses(Some(lease.used()));
        if let Some(pool) = &request.current.view.pool {
            lease.begin(pool);
        }
        let mut relay = Relay::new(&mut *client, request, lease, std::mem::take(&mut tries));
        match relay.run().await {
            Ok(head) => break relay.finish(head),
            Err(Trouble::Retry(pause)) => {
                (request, tries) = relay.again(pause);
                if let Some(pause) = pause {
                    Box::pin(tokio::time::sleep(pause)).await;
                }
            }
            Err(trouble) => break Box::pin(relay.fail(trouble)).await,
        }
    };
    client.record.end();
    drop(in_flight);
    next
}

/// A connection that the request goes out on; what becomes of the client's, if there is none.
async fn lease_for(
    client: &mut Client,
    request: &mut Request,
    lease: Option<Lease>,
    tries: &Tries,
) -> Result<Lease, Next> {
    let lease = match lease {
        Some(lease) => lease,
        None => match dispatch::lease(client, request, tries.failed.as_ref()).await {
            Ok(lease) => lease,
            Err(error) => return Err(answer(client, request, error).await),
        },
    };
    if client.hooked.is_none() {
        return Ok(lease);
    }
    match hooks::assigned(client, request, lease) {
        Ok(lease) => Ok(lease),
        Err(instead) => Err(hooks::instead(client, request, instead).await),
    }
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
    let keep = keeps(client, request);
    let sent = client.answer(error.into(), request.head.method, keep).await;
    behind_answer(request, sent, keep)
}

/// The same with the answer of a plugin.
pub(super) async fn say(client: &mut Client, request: &Request, answer: &Answer) -> Next {
    let keep = keeps(client, request);
    let sent = client.say_answer(answer, request.head.method, keep).await;
    behind_answer(request, sent, keep)
}

fn keeps(client: &Client, request: &Request) -> bool {
    request.keeps_client() && !client.local().is_draining()
}

fn behind_answer(request: &Request, sent: bool, keep: bool) -> Next {
    let is_read = request.upload.is_done();
    match (sent && keep, is_read) {
        (true, _) => Next::Keep,
        (false, false) if sent => Next::Linger,
        (false, _) => Next::Close,
    }
}
