//! Plugins on the way to a backend and back. Nothing here is reached by requests of services without plugins.

use std::time::Instant;

use super::attempts::{answer, say};
use super::dispatch;
use super::opening;
use super::queue::{Class, Length};
use super::relay::Trouble;
use super::request::Request;
use crate::http::edit;
use crate::http::{Framing, ProxyError, ResponseHead};
use crate::plugin::{Answer, Outcome, Point, Priority, TOO_LATE, Waiting};
use crate::role::client::Client;
use crate::role::connection::Next;
use crate::role::held::{Held, head_length};
use crate::upstream::Lease;

/// What happens in place of what would have happened.
pub(super) enum Instead {
    /// The client gets this.
    Answer(Box<Answer>),
    /// The client's connection is closed.
    Close,
    /// The client is told of an error.
    Error(ProxyError),
}

/// Asks the plugins before a backend is asked for, and looks for an idle connection then. None: it goes on.
pub(super) async fn before_backend(client: &mut Client, request: &mut Request) -> Option<Next> {
    // Whoever collected the body has looked for one already.
    if let Some(lease) = request.lease.take() {
        opening::offer(&client.counted.local, &client.serving, lease);
    }
    if let Err(instead) = ask(client, request).await {
        return Some(self::instead(client, request, instead).await);
    }
    let hooked = client.hooked.as_ref()?;
    match hooked.context.priority() {
        Some(Priority::High) => request.class = Class::High,
        Some(Priority::Low) => request.class = Class::Low,
        None => {}
    }
    let pool = request.current.view.pool.as_ref()?;
    let chosen = hooked.context.backend().and_then(|address| {
        let known = pool
            .backends()
            .iter()
            .find(|backend| backend.address() == address);
        known.map(std::sync::Arc::clone)
    });
    let found = match chosen {
        Some(backend) => dispatch::reuse_of(client.local(), client.served(), backend),
        None => dispatch::reuse(client.local(), client.served(), &request.current, request.turn),
    };
    (request.lease, request.picked) = found.parts();
    None
}

async fn ask(client: &mut Client, request: &Request) -> Result<(), Instead> {
    let Some(hooked) = &mut client.hooked else {
        return Ok(());
    };
    if hooked.has(Point::ProxyReadRequest) {
        let is_there = request.upload.is_done();
        hooked
            .context
            .put_body(is_there.then(|| request.to_backend.behind_head().to_vec()));
    }
    let points = match request.class {
        Class::High => &[Point::ProxyReadRequest][..],
        Class::Normal | Class::Low => &[
            Point::ProxyReadRequest,
            Point::MakeHighPriority,
            Point::MakeLowPriority,
        ],
    };
    let outcome = hooked.ask(points).await;
    hooked.context.put_body(None);
    match outcome {
        Outcome::Next | Outcome::Wait(_) | Outcome::Fetch(_) | Outcome::Collect(_) | Outcome::Stream(_) => {
            Ok(())
        }
        Outcome::Answer(answer) => Err(Instead::Answer(answer)),
        Outcome::Close => Err(Instead::Close),
        Outcome::Service(_) => Err(Instead::Error(TOO_LATE)),
    }
}

/// Does something else.
pub(super) async fn instead(client: &mut Client, request: &Request, instead: Instead) -> Next {
    match instead {
        Instead::Answer(said) => say(client, request, &said).await,
        Instead::Error(error) => answer(client, request, error).await,
        Instead::Close => Next::Close,
    }
}

/// Has the plugins see the head that a backend is about to get, of which nothing was sent.
pub(super) fn assigned(client: &mut Client, request: &mut Request, lease: Lease) -> Result<Lease, Instead> {
    let Some(hooked) = client.hooked.as_mut() else {
        return Ok(lease);
    };
    hooked.context.assign(lease.backend().address());
    if !hooked.has(Point::BackendClientAssigned) {
        return Ok(lease);
    }
    let lengths = client.serving.queue.lengths(Instant::now());
    hooked.context.put_waiting(waiting(&lengths));
    let (head, body) = request.to_backend.take_head();
    let clients = hooked.context.swap_head(head);
    let outcome = hooked.run(&[Point::BackendClientAssigned]);
    let mut head = hooked.context.swap_head(clients);
    head.extend_from_slice(&body);
    request.to_backend = Held::new(head);
    let instead = match outcome {
        Outcome::Next | Outcome::Collect(_) | Outcome::Stream(_) => return Ok(lease),
        Outcome::Answer(answer) => Instead::Answer(answer),
        Outcome::Close => Instead::Close,
        Outcome::Service(_) | Outcome::Wait(_) | Outcome::Fetch(_) => Instead::Error(TOO_LATE),
    };
    opening::offer(&client.counted.local, &client.serving, lease);
    Err(instead)
}

/// What plugins are told of queues: those of [`Class::ALL`].
fn waiting(lengths: &[Length]) -> Waiting {
    let of = |class: Class| {
        let at = Class::ALL.iter().position(|one| *one == class);
        let length = at.and_then(|at| lengths.get(at)).copied().unwrap_or_default();
        (length.count as u64, length.age.as_secs())
    };
    Waiting {
        normal: of(Class::Normal),
        high: of(Class::High),
    }
}

/// Has the plugins see the head of an answer; `output` is what the client would get.
pub(super) fn received(
    client: &mut Client,
    head: &mut ResponseHead,
    output: &mut Vec<u8>,
) -> Result<(), Trouble> {
    let Some(hooked) = client.hooked.as_mut() else {
        return Ok(());
    };
    if !hooked.has(Point::BackendResponseReceived) {
        return Ok(());
    }
    hooked.context.put_response(head.status, std::mem::take(output));
    let outcome = hooked.run(&[Point::BackendResponseReceived]);
    if let Some((status, edited, _)) = hooked.context.take_response() {
        (head.status, *output) = (status, edited);
    }
    match outcome {
        Outcome::Next => Ok(()),
        Outcome::Answer(answer) => Err(Trouble::Said(answer)),
        Outcome::Close => Err(Trouble::Gone),
        Outcome::Service(_)
        | Outcome::Wait(_)
        | Outcome::Fetch(_)
        | Outcome::Collect(_)
        | Outcome::Stream(_) => Err(Trouble::Answer(TOO_LATE)),
    }
}

/// Has the plugins change the head of an answer that is sent now, and put something ahead of its body.
pub(super) fn finish_head(client: &mut Client, head: &mut ResponseHead, output: &mut Vec<u8>) {
    let Some(hooked) = client.hooked.as_mut() else {
        return;
    };
    let length = match head.framing {
        Framing::Empty => Some(0),
        Framing::Length(length) => Some(length),
        Framing::Chunked | Framing::UntilClose => None,
    };
    let content = output.split_off(head_length(output));
    let mut added = 0;
    if hooked.has(Point::ModifyResponseHeaders) || hooked.has(Point::PrependBody) {
        hooked.context.put_response(head.status, std::mem::take(output));
        hooked
            .hooks
            .run_all(Point::ModifyResponseHeaders, &mut hooked.context);
        hooked.hooks.run_all(Point::PrependBody, &mut hooked.context);
        if let Some((status, edited, prefix)) = hooked.context.take_response() {
            (head.status, *output) = (status, edited);
            added = prefix.len() as u64;
            head.content_length = head.content_length.map(|length| length + added);
            put_ahead(&prefix, head, output);
        }
    }
    output.extend_from_slice(&content);
    hooked
        .context
        .answered(head.status, length.map(|length| length + added));
}

/// Puts bytes behind a head, ahead of the body that follows it.
fn put_ahead(prefix: &[u8], head: &ResponseHead, output: &mut Vec<u8>) {
    if prefix.is_empty() || head.framing == Framing::Empty {
        return;
    }
    if head.framing == Framing::Chunked && !head.dechunk {
        output.extend_from_slice(format!("{:x}\r\n", prefix.len()).as_bytes());
        output.extend_from_slice(prefix);
        output.extend_from_slice(b"\r\n");
        return;
    }
    edit::lengthen(output, prefix.len() as u64);
    output.extend_from_slice(prefix);
}
