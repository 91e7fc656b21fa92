//! Answers how far an upload is (Perlbal, reference section 4.13).

use super::collect::epoch;
use crate::http::{Framing, Method, RequestHead};
use crate::role::client::Client;
use crate::role::connection::Next;

/// Answers a request for `/__upload_status`.
pub(in crate::role) async fn answer(client: &mut Client, session: &str, head: &RequestHead) -> Next {
    let current = client.counted.served.current(client.local());
    let settings = current.as_deref().map(|current| &current.view.settings);
    // A body that nobody reads would be taken for the next request.
    let keeps = head.framing == Framing::Empty && head.keep_alive && !client.local().is_draining();
    let keep_alive = settings
        .filter(|settings| keeps && settings.persist_client)
        .map(|settings| &settings.keep_alive_lines[..]);
    let body = client.local().uploads.tracker.status(session, epoch());
    let lines = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n",
        body.len()
    );
    let mut answer = lines.into_bytes();
    answer.extend_from_slice(keep_alive.unwrap_or(b"Connection: close\r\n"));
    answer.extend_from_slice(b"\r\n");
    if head.method != Method::Head {
        answer.extend_from_slice(body.as_bytes());
    }
    client.answered(200, Some(body.len() as u64));
    let is_kept = keep_alive.is_some();
    match (client.say(answer).await, is_kept) {
        (true, true) => Next::Keep,
        (true, false) if head.framing != Framing::Empty => Next::Linger,
        (true | false, _) => Next::Close,
    }
}
