//! Plugins on the way to a file. Nothing here is reached by requests of services without plugins.

use std::rc::Rc;

use super::{WebRequest, end, store};
use crate::http::Head;
use crate::plugin::{Outcome, Point};
use crate::role::client::Client;
use crate::role::connection::Next;

/// Asks the plugins at a point. None: it goes on.
pub(super) async fn ask(client: &mut Client, request: &WebRequest, point: Point) -> Option<Next> {
    let hooked = client.hooked.as_mut().filter(|hooked| hooked.has(point))?;
    let outcome = hooked.ask(&[point]).await;
    settle(client, request, outcome).await
}

/// Does what the plugins say. None: it goes on.
async fn settle(client: &mut Client, request: &WebRequest, outcome: Outcome) -> Option<Next> {
    match outcome {
        Outcome::Next | Outcome::Wait(_) | Outcome::Fetch(_) | Outcome::Collect(_) | Outcome::Stream(_) => {
            None
        }
        Outcome::Close => Some(Next::Close),
        Outcome::Answer(answer) => Some(client.give(&answer, &request.head).await),
        Outcome::Service(name) => {
            let head = client.hooked.as_ref()?.context.head_bytes().to_vec();
            let owner = Rc::clone(request.outer.as_ref().unwrap_or(&request.current));
            Some(match client.hand_over(&name, &owner, head) {
                Ok(()) => Next::Keep,
                Err(error) => crate::role::selector::unrouted(client, error, &request.head).await,
            })
        }
    }
}

/// Asks the plugins for the path that is looked for.
pub(super) async fn ask_path(client: &mut Client, request: &WebRequest, path: &mut Vec<u8>) -> Option<Next> {
    let hooked = client.hooked.as_mut()?;
    hooked.context.set_path(path);
    let next = ask(client, request, Point::StartServeRequest).await;
    let changed = client.hooked.as_ref().and_then(|hooked| hooked.context.path());
    if let Some(changed) = changed {
        changed.clone_into(path);
    }
    next
}

/// Asks the plugins when a file is there that was changed so many seconds after the epoch.
pub(super) async fn ask_found(client: &mut Client, request: &WebRequest, modified: i64) -> Option<Next> {
    let hooked = client.hooked.as_mut()?;
    hooked.context.put_modified(Some(modified));
    if let Some(next) = ask(client, request, Point::StaticGetPoststatPreSend).await {
        return Some(next);
    }
    ask(client, request, Point::StartSendFile).await
}

/// The same for several files, the newest of which was changed then.
pub(super) async fn ask_several(client: &mut Client, request: &WebRequest, modified: i64) -> Option<Next> {
    client.hooked.as_mut()?.context.put_modified(Some(modified));
    ask(client, request, Point::ConcatGetPoststatPreSend).await
}

/// Asks the plugins about a file that is to be put, which may have its body taken in first.
pub(super) async fn ask_put(client: &mut Client, request: &mut WebRequest) -> Option<Next> {
    loop {
        let hooked = client.hooked.as_mut();
        let hooked = hooked.filter(|hooked| hooked.has(Point::HandlePut))?;
        let outcome = hooked.ask(&[Point::HandlePut]).await;
        match outcome {
            Outcome::Collect(most) => match store::collect(client, request, most).await {
                Ok(body) => client.hooked.as_mut()?.context.put_body(Some(body)),
                Err(next) => return Some(next),
            },
            Outcome::Answer(answer) if request.upload.is_done() => {
                let keeps = request.keeps(client);
                let is_sent = client.say_answer(&answer, request.head.method, keeps).await;
                return Some(if is_sent {
                    end(client, request, keeps)
                } else {
                    Next::Close
                });
            }
            outcome @ (Outcome::Next
            | Outcome::Answer(_)
            | Outcome::Service(_)
            | Outcome::Wait(_)
            | Outcome::Fetch(_)
            | Outcome::Stream(_)
            | Outcome::Close) => return settle(client, request, outcome).await,
        }
    }
}

/// Asks the plugins about a piece of a file that is put.
pub(super) async fn ask_piece(client: &mut Client, request: &WebRequest, piece: &[u8]) -> Option<Next> {
    let hooked = client.hooked.as_mut()?;
    if piece.is_empty() || !hooked.has(Point::PutWriteout) {
        return None;
    }
    hooked.context.put_body(Some(piece.to_vec()));
    let next = ask(client, request, Point::PutWriteout).await;
    client.hooked.as_mut()?.context.put_body(None);
    next
}

/// Has the plugins change the head of an answer that is sent now. Some: they have answered otherwise.
pub(super) async fn finish_head(
    client: &mut Client,
    request: &WebRequest,
    status: u16,
    head: &mut Vec<u8>,
) -> Option<Next> {
    let hooked = client.hooked.as_mut()?;
    if !hooked.has(Point::ModifyResponseHeaders) {
        return None;
    }
    hooked.context.put_response(status, std::mem::take(head));
    let next = ask(client, request, Point::ModifyResponseHeaders).await;
    let hooked = client.hooked.as_mut()?;
    if let Some((_, edited, _)) = hooked.context.take_response() {
        *head = edited;
    }
    next
}

/// The length of a body as its head announces it, where anybody wants to know.
pub(super) fn length(client: &Client, head: &[u8]) -> Option<u64> {
    client.hooked.as_ref()?;
    let said = Head::new(head).field("Content-Length")?;
    std::str::from_utf8(said).ok()?.parse().ok()
}
