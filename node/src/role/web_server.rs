//! `web_server`: files below a docroot (Perlbal, reference section 6).
//!
//! A small file that the kernel has in memory is answered as its request is read; what takes longer, or has to be looked
//! up on a disk, never makes the worker wait.

mod path;
mod reply;

use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use rustix::net::SendFlags;
use tokio::io::{AsyncWrite, Interest};

use super::client::{Begun, Client, Incoming};
use super::connection::Next;
use super::held::{Held, rest, write_now};
use super::local::{Current, Served};
use crate::files::{Look, OpenError, OpenFile, Sending};
use crate::http::answer::Page;
use crate::http::{Body, Framing, Head, Method, RequestHead};
use crate::tls::Stream;
use reply::Facts;

/// So large a part is read and sent behind its head, at most, in bytes; a larger one is sent without a copy.
const COPIED: u64 = 32 * 1024;

type Said = (u16, &'static str, &'static str);

const BOGUS: Said = (403, "Forbidden", "Bogus URL");
const OUTSIDE: Said = (403, "Forbidden", "The path leads out of the docroot.");
const NOT_A_FILE: Said = (403, "Forbidden", "Not a regular file.");
const NO_PERMISSION: Said = (403, "Forbidden", "");
const MISSING: Said = (404, "Not Found", "");
const BAD_METHOD: Said = (400, "Bad Request", "");
const UNREADABLE: Said = (500, "Internal Server Error", "The file cannot be read.");
const UNCONFIGURED: Said = (500, "Internal Server Error", "Docroot unconfigured");
const NO_DOCROOT: Said = (503, "Service Unavailable", "The docroot is not there.");

/// A request that this node answers with a file, or with what it says of one.
pub(super) struct WebRequest {
    current: Rc<Current>,
    /// The connection's service, if that has handed the request over to this one.
    outer: Option<Rc<Current>>,
    head: RequestHead,
    /// The head in canonical form.
    text: Vec<u8>,
    /// What is still to come of its body.
    upload: Body,
    stage: Stage,
}

/// How far a request is.
enum Stage {
    /// Nobody has looked for what it asks for, or not long enough.
    Fresh,
    /// What it asks for is known.
    Found(Look),
    /// The rest of the answer, and what becomes of the connection behind it.
    Answered(Held, Next),
}

impl WebRequest {
    /// One that nobody has begun to answer.
    pub(super) fn unanswered(begun: Begun<'_>) -> Self {
        Self::new(begun, Stage::Fresh)
    }

    fn new(begun: Begun<'_>, stage: Stage) -> Self {
        Self {
            current: begun.current,
            outer: begun.outer,
            head: begun.head,
            text: begun.output.to_vec(),
            upload: Body::new(begun.head.framing),
            stage,
        }
    }

    fn keeps(&self, client: &Client) -> bool {
        self.upload.is_done() && keeps(client, self.outer.as_ref().unwrap_or(&self.current), &self.head)
    }
}

/// Whether the client's connection can stay open behind the answer to a request that was read to its end.
fn keeps(client: &Client, owner: &Current, head: &RequestHead) -> bool {
    owner.view.settings.persist_client && head.keep_alive && !client.local().is_draining()
}

/// Begins with a request. How many bytes of the input are used.
pub(super) fn begin(client: &mut Client, begun: Begun<'_>, cx: &mut Context<'_>) -> (usize, Incoming) {
    client.served().shard().request_started();
    let length = begun.head.length;
    let stage = match begun.head.method {
        Method::Get | Method::Head if begun.head.framing == Framing::Empty => try_now(client, &begun, cx),
        Method::Get | Method::Head | Method::Options | Method::Other => Stage::Fresh,
    };
    let incoming = match stage {
        Stage::Answered(held, next) if held.is_empty() && client.io.is_flushed() => {
            client.served().shard().request_ended();
            Incoming::Answered(next)
        }
        stage @ (Stage::Fresh | Stage::Found(_) | Stage::Answered(..)) => {
            Incoming::Web(Box::new(WebRequest::new(begun, stage)))
        }
    };
    (length, incoming)
}

/// Answers at once, if that is possible.
fn try_now(client: &mut Client, begun: &Begun<'_>, cx: &mut Context<'_>) -> Stage {
    let Some(docroot) = docroot(&begun.current) else {
        return Stage::Fresh;
    };
    let Ok(path) = path::parse(Head::new(begun.output).target()) else {
        return Stage::Fresh;
    };
    match client.local().files.look(docroot, &path) {
        Look::Failed(OpenError::WouldWait) => Stage::Fresh,
        Look::File(file) if file.stamp.size <= COPIED => send_now(client, begun, file, &path, cx),
        look @ (Look::File(_) | Look::Directory(_) | Look::Failed(_)) => Stage::Found(look),
    }
}

/// Sends a short file, if the kernel has it in memory.
fn send_now(
    client: &mut Client,
    begun: &Begun<'_>,
    file: Rc<OpenFile>,
    path: &[u8],
    cx: &mut Context<'_>,
) -> Stage {
    let mut buffer = client.local().buffers.take();
    let mut head = client.local().take_output();
    let owner = begun.outer.as_ref().unwrap_or(&begun.current);
    let keeps = keeps(client, owner, &begun.head);
    let part = Facts::of(client, &begun.current, owner, keeps).write(&file, path, &mut head);
    let part = if begun.head.method == Method::Head {
        0..0
    } else {
        part
    };
    let length = usize::try_from(part.end - part.start).unwrap_or_default();
    let body = buffer.get_mut(..length).unwrap_or_default();
    let stage = match file.read_now(body, part.start) {
        Ok(true) => {
            client.served().shard().answered(200);
            let (written, result) = write_now(&mut client.io, cx, &head, body);
            // What is not sent yet is held, and it is mostly nothing.
            let left = if written < head.len() + body.len() && result.is_ok() {
                Held::new(rest(written, &head, body))
            } else {
                Held::default()
            };
            let is_quiet = begun.after().is_empty();
            Stage::Answered(
                left,
                match (result, keeps) {
                    (Err(_), _) => Next::Close,
                    (Ok(()), true) => Next::Keep,
                    (Ok(()), false) if is_quiet => Next::Close,
                    (Ok(()), false) => Next::Linger,
                },
            )
        }
        // Whoever waits for the disk finds out what is wrong.
        Ok(false) | Err(_) => Stage::Found(Look::File(file)),
    };
    client.local().give_output(head);
    client.local().buffers.give(buffer);
    stage
}

fn docroot(current: &Current) -> Option<&Path> {
    current.view.web.as_ref()?.docroot.as_ref().ok()?.as_deref()
}

/// A request that was begun with, to its end.
pub(super) async fn run(client: &mut Client, request: WebRequest) -> Next {
    let started = Started(Rc::clone(&client.serving));
    let next = answer(client, request).await;
    drop(started);
    next
}

/// Counts a request as in flight for as long as it lives.
struct Started(Rc<Served>);

impl Drop for Started {
    fn drop(&mut self) {
        self.0.shard().request_ended();
    }
}

async fn answer(client: &mut Client, mut request: WebRequest) -> Next {
    match std::mem::replace(&mut request.stage, Stage::Fresh) {
        Stage::Answered(held, next) => {
            if client.say_held(held).await {
                next
            } else {
                Next::Close
            }
        }
        Stage::Found(look) => show(client, &request, look).await,
        Stage::Fresh => match look(client, &request).await {
            Ok(look) => show(client, &request, look).await,
            Err(said) => say(client, &request, said).await,
        },
    }
}

/// Looks for what a request asks for.
async fn look(client: &Client, request: &WebRequest) -> Result<Look, Said> {
    if !matches!(request.head.method, Method::Get | Method::Head) {
        return Err(BAD_METHOD);
    }
    let target = Head::new(&request.text).target();
    let path = path::parse(target).map_err(|_| BOGUS)?;
    let docroot = docroot(&request.current).ok_or(UNCONFIGURED)?;
    Ok(client.local().files.wait(docroot, &path).await)
}

/// Answers with what was found.
async fn show(client: &mut Client, request: &WebRequest, look: Look) -> Next {
    match look {
        Look::File(file) => send(client, request, &file).await,
        Look::Directory(_) => say(client, request, MISSING).await,
        Look::Failed(error) => {
            tracing::debug!(%error, cause = ?error.source(), "a file is not sent");
            say(client, request, refusal(&error)).await
        }
    }
}

fn refusal(error: &OpenError) -> Said {
    match error {
        OpenError::Outside => OUTSIDE,
        OpenError::NotAFile => NOT_A_FILE,
        OpenError::NoRoot(_) => NO_DOCROOT,
        OpenError::System(error) if error.kind() == io::ErrorKind::PermissionDenied => NO_PERMISSION,
        OpenError::System(error) if is_missing(error) => MISSING,
        OpenError::System(_) | OpenError::WouldWait => UNREADABLE,
    }
}

/// Whether there is no such thing, and can be none: also where a component is no directory, or no name at all.
fn is_missing(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidFilename, InvalidInput, NotADirectory, NotFound};
    matches!(
        error.kind(),
        NotFound | NotADirectory | InvalidInput | InvalidFilename
    )
}

/// Sends a file.
async fn send(client: &mut Client, request: &WebRequest, file: &OpenFile) -> Next {
    let owner = request.outer.as_ref().unwrap_or(&request.current);
    let keeps = request.keeps(client);
    let path = path::parse(Head::new(&request.text).target()).unwrap_or_default();
    let mut head = Vec::new();
    let part = Facts::of(client, &request.current, owner, keeps).write(file, &path, &mut head);
    client.served().shard().answered(200);
    client.arm(request.current.view.settings.idle_timeout);
    let mut sending = (request.head.method != Method::Head && !part.is_empty())
        .then(|| Sending::new(std::sync::Arc::clone(&file.file), part));
    let sent = poll_fn(|cx| poll_send(client, &mut head, sending.as_mut(), cx)).await;
    if let Err(error) = sent {
        tracing::debug!(%error, "an answer was broken off");
        return Next::Close;
    }
    end(client, request, keeps)
}

/// Sends a head and what follows it.
fn poll_send(
    client: &mut Client,
    head: &mut Vec<u8>,
    mut body: Option<&mut Sending>,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    let more = if body.is_some() {
        SendFlags::MORE
    } else {
        SendFlags::empty()
    };
    loop {
        if client.timed_out() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if head.is_empty() {
            match &mut body {
                Some(body) if !body.is_done() => std::task::ready!(body.poll_step(&mut client.io, cx))?,
                Some(_) | None => return Pin::new(&mut client.io).poll_flush(cx),
            }
        } else {
            let sent = std::task::ready!(poll_head(&mut client.io, head, more, cx))?;
            head.drain(..sent);
        }
        client.arm(
            client
                .served()
                .current(client.local())
                .and_then(|current| current.view.settings.idle_timeout),
        );
    }
}

/// Sends what is taken of a head; a plain one waits for what follows it.
fn poll_head(io: &mut Stream, head: &[u8], more: SendFlags, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    let io = match io {
        Stream::Plain(io) => io,
        tls @ Stream::Tls(_) => return Pin::new(tls).poll_write(cx, head),
    };
    loop {
        std::task::ready!(io.poll_write_ready(cx))?;
        let sent = io.try_io(Interest::WRITABLE, || {
            Ok(rustix::net::send(&*io, head, SendFlags::NOSIGNAL | more)?)
        });
        match sent {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            sent => return Poll::Ready(sent),
        }
    }
}

/// Answers with a page.
async fn say(client: &mut Client, request: &WebRequest, (status, reason, message): Said) -> Next {
    let keeps = request.keeps(client);
    let page = Page::new(status, reason, message);
    if client.answer(page, request.head.method, keeps).await {
        end(client, request, keeps)
    } else {
        Next::Close
    }
}

/// What becomes of the connection of a request that was answered.
fn end(client: &Client, request: &WebRequest, keeps: bool) -> Next {
    if keeps {
        Next::Keep
    } else if request.upload.is_done() && client.input.is_empty() {
        Next::Close
    } else {
        Next::Linger
    }
}
