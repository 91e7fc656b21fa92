//! Plugins on the way to a file. Nothing here is reached by requests of services without plugins.

use std::rc::Rc;

use super::WebRequest;
use crate::http::Head;
use crate::plugin::{Outcome, Point};
use crate::role::client::Client;
use crate::role::connection::Next;

/// Asks the plugins at a point. None: it goes on.
pub(super) async fn ask(client: &mut Client, request: &WebRequest, point: Point) -> Option<Next> {
    let hooked = client.hooked.as_mut().filter(|hooked| hooked.has(point))?;
    match hooked.ask(&[point]).await {
        Outcome::Next | Outcome::Wait(_) | Outcome::Fetch(_) => None,
        Outcome::Close => Some(Next::Close),
        Outcome::Answer(answer) => Some(client.give(&answer, &request.head).await),
        Outcome::Service(name) => {
            let head = hooked.context.head_bytes().to_vec();
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
