//! A request for a backend: begun with, and sent where a connection is idle.

use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;

use super::collect::{self, Upload};
use super::dispatch::{self, Found, Turn};
use super::original::{self, Original};
use super::queue::Class;
use crate::http::{Body, RequestHead};
use crate::role::client::{Begun, Client, Incoming, refused};
use crate::role::held::{Held, rest, write_now};
use crate::role::local::Current;
use crate::snapshot::BackendState;
use crate::upload::tracker;
use crate::upstream::Lease;

/// A request whose head was read and, mostly, sent.
pub(in crate::role) struct Request {
    pub(super) current: Rc<Current>,
    pub(super) head: RequestHead,
    /// Its line in the queue.
    pub(super) class: Class,
    /// What is still to come of its body.
    pub(super) upload: Body,
    /// What is still to be sent of what has come.
    pub(super) to_backend: Held,
    /// The connection that it is sent on, if one was idle.
    pub(super) lease: Option<Lease>,
    /// Whether any of it was written to that connection.
    pub(super) touched: bool,
    pub(super) turn: Turn,
    /// The backend that was picked for it, if none of its connections was idle.
    pub(super) picked: Option<Arc<BackendState>>,
    /// What its body needs beyond being passed on.
    pub(super) upload_plan: Option<Box<Upload>>,
    /// What is kept of it where backends may reproxy.
    pub(super) original: Option<Box<Original>>,
    /// The connection's service, if that has handed the request over to this one.
    pub(super) outer: Option<Rc<Current>>,
}

impl Request {
    /// One for which no connection is looked for yet: its body is collected first, or the cache knows its answer.
    fn to_wait(
        begun: Begun<'_>,
        upload: Body,
        upload_plan: Option<Box<Upload>>,
        original: Option<Box<Original>>,
    ) -> Self {
        Self {
            turn: Turn::next(&begun.current, begun.head.hash),
            current: begun.current,
            class: Class::of(&begun.head),
            head: begun.head,
            upload,
            to_backend: Held::new(begun.output.to_vec()),
            lease: None,
            picked: None,
            touched: false,
            upload_plan,
            original,
            outer: begun.outer,
        }
    }

    /// The service whose the client's connection is.
    #[inline]
    pub(super) fn owner(&self) -> &Rc<Current> {
        self.outer.as_ref().unwrap_or(&self.current)
    }

    /// Whether the client's connection can stay open behind the answer.
    #[inline]
    pub(super) fn keeps_client(&self) -> bool {
        self.owner().view.settings.persist_client && self.head.keep_alive && self.upload.is_done()
    }

    /// Whether the cache knows the answer.
    #[inline]
    pub(in crate::role) fn is_known(&self) -> bool {
        self.original
            .as_ref()
            .is_some_and(|original| original.known.is_some())
    }

    /// How many bytes may be held for the side that is slower.
    #[inline]
    pub(super) fn buffer_size(&self) -> usize {
        self.current.view.settings.buffer_size
    }

    /// Whether nothing has to be done before it is sent.
    #[inline]
    pub(in crate::role) fn is_plain(&self) -> bool {
        !self.collects() && !self.is_known()
    }

    /// Whether its body is to be collected.
    pub(super) fn collects(&self) -> bool {
        self.upload_plan.as_ref().is_some_and(|plan| plan.collects())
    }
}

/// Begins with a request: sends it, and what is there of its body, on an idle connection, if there is one. How many bytes
/// are used.
pub(in crate::role) fn begin(
    client: &mut Client,
    begun: Begun<'_>,
    cx: &mut Context<'_>,
) -> (usize, Incoming) {
    let uploads = &begun.current.view.settings.uploads;
    if !uploads.status_listeners.is_empty()
        && let Some(session) = tracker::status_session(begun.output)
    {
        return (
            begun.head.length,
            Incoming::AsksStatus(session.into(), begun.head),
        );
    }
    send(client, begun, cx)
}

fn send(client: &mut Client, begun: Begun<'_>, cx: &mut Context<'_>) -> (usize, Incoming) {
    client.served().shard().request_started();
    let (head, output, after) = (begun.head, begun.output, begun.after());
    let uploads = &begun.current.view.settings.uploads;
    let mut upload = Body::limited(head.framing, uploads.max_chunked);
    let mut upload_plan = collect::plan(&head, after.len(), output, uploads);
    let original = original::keep(client.local(), &begun);
    let is_known = original.as_ref().is_some_and(|original| original.known.is_some());
    if is_known || upload_plan.as_ref().is_some_and(|plan| plan.collects()) {
        client.record.keep_head(output);
        let request = Request::to_wait(begun, upload, upload_plan, original);
        return (head.length, Incoming::Proxied(Box::new(request)));
    }
    let body = match upload.take(after) {
        Ok(taken) => after.get(..taken).unwrap_or_default(),
        Err(error) => {
            client.served().shard().request_ended();
            return refused(error.into());
        }
    };
    if let Some(plan) = &mut upload_plan {
        plan.came(body.len(), client.local(), uploads);
    }
    let turn = Turn::next(&begun.current, head.hash);
    let total = output.len() + body.len();
    let (found, to_backend) = match &client.hooked {
        Some(hooked) if hooked.holds_request() => {
            let found = Found::Nothing(None);
            (found, Held::new([output, body].concat()))
        }
        Some(_) | None => send_on_idle(client, &begun, turn, body, cx),
    };
    let (lease, picked) = found.parts();
    client.record.keep_head(output);
    let request = Box::new(Request {
        current: begun.current,
        class: Class::of(&head),
        head,
        upload,
        touched: lease.is_some() && to_backend.len() < total,
        to_backend,
        lease,
        turn,
        picked,
        upload_plan,
        original,
        outer: begun.outer,
    });
    (head.length + body.len(), Incoming::Proxied(request))
}

fn send_on_idle(
    client: &Client,
    begun: &Begun<'_>,
    turn: Turn,
    body: &[u8],
    cx: &mut Context<'_>,
) -> (Found, Held) {
    let output = begun.output;
    let total = output.len() + body.len();
    loop {
        match dispatch::reuse(client.local(), client.served(), &begun.current, turn) {
            Found::Idle(mut lease) => match write_now(&mut lease.io, cx, output, body) {
                (written, Ok(())) if written == total => return (Found::Idle(lease), Held::default()),
                // The backend is gone and has got nothing: the next one will do.
                (0, Err(_)) => {}
                (written, _) => return (Found::Idle(lease), Held::new(rest(written, output, body))),
            },
            nothing @ Found::Nothing(_) => return (nothing, Held::new([output, body].concat())),
        }
    }
}
