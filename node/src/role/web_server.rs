//! `web_server`: files below a docroot, sent, put and removed (Perlbal, reference section 6).
//!
//! A small file that the kernel has in memory is answered as its request is read; what takes longer, or has to be looked
//! up on a disk, never makes the worker wait.

mod concat;
mod hooks;
mod listing;
mod path;
mod reply;
mod seek;
mod send;
mod store;

use std::error::Error;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures::FutureExt;

use super::client::{Begun, Client, Incoming};
use super::connection::Next;
use super::held::{Held, rest, write_now};
use super::local::{Current, Local, Served};
use crate::files::{self, OpenError, Patience, Sending, Stamp};
use crate::http::answer::Page;
use crate::http::coding::Accepted;
use crate::http::conditional::Asked;
use crate::http::{Body, Framing, Head, Method, RequestHead};
use crate::plugin::Point;
use crate::snapshot::WebSettings;
use reply::{Chosen, Facts, Made, Shown, after_parts, before_part};
use seek::{Found, Place};
use send::Pieces;

/// So large a part is read and sent behind its head, at most, in bytes. A larger one is sent without a copy: that takes
/// another system call, and this is about where it costs less than two copies do.
const COPIED: u64 = 8 * 1024;

/// The same of what has to be copied in any case, as it is encrypted.
const ENCRYPTED: u64 = 32 * 1024;

/// Most heads of answers are no longer, in bytes.
const HEAD: usize = 512;

type Said = (u16, &'static str, &'static str);

const BOGUS: Said = (403, "Forbidden", "Bogus URL");
const OUTSIDE: Said = (403, "Forbidden", "The path leads out of the docroot.");
const NOT_A_FILE: Said = (403, "Forbidden", "Not a regular file.");
const NO_PERMISSION: Said = (403, "Forbidden", "");
const NOT_LISTED: Said = (200, "OK", "Directory listing disabled");
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
    /// Nobody has begun to answer.
    Fresh,
    /// The rest of the answer, and what becomes of the connection behind it.
    Answered(Held, Next),
    /// What is left of the answer, and whether the connection is kept behind it.
    Composed(Pieces, bool),
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

    /// Its head in canonical form.
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    /// The service whose the client's connection is.
    fn owner(&self) -> &Current {
        self.outer.as_ref().unwrap_or(&self.current)
    }

    fn keeps(&self, client: &Client) -> bool {
        self.upload.is_done() && keeps(client, self.owner(), &self.head)
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
        Method::Get | Method::Head
            if begun.head.framing == Framing::Empty
                && client.hooked.as_ref().is_none_or(|hooked| !hooked.sees_files()) =>
        {
            try_now(client, &begun, cx)
        }
        Method::Get | Method::Head | Method::Options | Method::Other => Stage::Fresh,
    };
    let incoming = match stage {
        Stage::Answered(held, next) if held.is_empty() && client.io.is_flushed() => {
            client.served().shard().request_ended();
            Incoming::Answered(next)
        }
        stage @ (Stage::Fresh | Stage::Answered(..) | Stage::Composed(..)) => {
            Incoming::Web(Box::new(WebRequest::new(begun, stage)))
        }
    };
    (length, incoming)
}

/// Answers at once, if the kernel has what it takes in memory.
fn try_now(client: &mut Client, begun: &Begun<'_>, cx: &mut Context<'_>) -> Stage {
    let Some((root, web)) = docroot(&begun.current) else {
        return Stage::Fresh;
    };
    let text = Head::new(begun.output);
    let Ok(path) = path::parse(text.target()) else {
        return Stage::Fresh;
    };
    // Where nothing is to be waited for, it is there at once.
    let place = place(client.local(), root, web, Patience::Now);
    let found = place.seek(&path, accepted(web, text)).now_or_never();
    let Some(Found::File(found)) = found else {
        return Stage::Fresh;
    };
    let shown = Shown::of(&found, web);
    let chosen = Chosen::of(&Asked::of(text), shown.file);
    let copied = if client.io.is_tls() { ENCRYPTED } else { COPIED };
    match chosen.single(shown.file.stamp.size) {
        Some(part) if part.end - part.start <= copied || begun.head.method == Method::Head => {
            send_now(client, begun, &shown, &chosen, cx)
        }
        Some(_) | None => send_pieces_now(client, begun, &shown, &chosen, cx),
    }
}

/// Begins to send an answer without copying it; mostly all of it goes out at once.
fn send_pieces_now(
    client: &mut Client,
    begun: &Begun<'_>,
    shown: &Shown<'_>,
    chosen: &Chosen,
    cx: &mut Context<'_>,
) -> Stage {
    let owner = begun.outer.as_ref().unwrap_or(&begun.current);
    let keeps = keeps(client, owner, &begun.head);
    let mut pieces = compose(&Facts::of(client, owner, keeps), begun.head.method, shown, chosen);
    client.answered(chosen.status(), Some(chosen.length(shown)));
    let Poll::Ready(result) = pieces.poll(client, begun.current.view.settings.idle_timeout, cx) else {
        return Stage::Composed(pieces, keeps);
    };
    match &result {
        Ok(()) => client.is_answered(),
        Err(error) => tracing::debug!(%error, "an answer was broken off"),
    }
    Stage::Answered(Held::default(), behind_answer(&result, keeps, begun))
}

/// What becomes of the connection of a request that was answered as it was read.
fn behind_answer(result: &io::Result<()>, keeps: bool, begun: &Begun<'_>) -> Next {
    match (result, keeps) {
        (Err(_), _) => Next::Close,
        (Ok(()), true) => Next::Keep,
        (Ok(()), false) if begun.after().is_empty() => Next::Close,
        (Ok(()), false) => Next::Linger,
    }
}

/// The codings that may be sent.
fn accepted(web: &WebSettings, head: Head<'_>) -> Accepted {
    if web.is_precompressed {
        Accepted::of(head)
    } else {
        Accepted::default()
    }
}

fn place<'a>(local: &'a Local, root: &'a Path, web: &'a WebSettings, patience: Patience) -> Place<'a> {
    Place {
        files: &local.files,
        root,
        web,
        patience,
    }
}

/// Sends a short part of a file, if the kernel has it in memory.
fn send_now(
    client: &mut Client,
    begun: &Begun<'_>,
    shown: &Shown<'_>,
    chosen: &Chosen,
    cx: &mut Context<'_>,
) -> Stage {
    let mut buffer = client.local().buffers.take();
    let mut head = client.local().take_output();
    let owner = begun.outer.as_ref().unwrap_or(&begun.current);
    let keeps = keeps(client, owner, &begun.head);
    Facts::of(client, owner, keeps).write(shown, chosen, &mut head);
    let part = match chosen.single(shown.file.stamp.size) {
        Some(part) if begun.head.method != Method::Head => part,
        Some(_) | None => 0..0,
    };
    let length = usize::try_from(part.end - part.start).unwrap_or_default();
    let body = buffer.get_mut(..length).unwrap_or_default();
    let stage = match shown.file.read_now(body, part.start) {
        Ok(true) => {
            client.answered(chosen.status(), Some(chosen.length(shown)));
            let (written, result) = write_now(&mut client.io, cx, &head, body);
            // What is not sent yet is held, and it is mostly nothing.
            let left = if written < head.len() + body.len() && result.is_ok() {
                Held::new(rest(written, &head, body))
            } else {
                Held::default()
            };
            if result.is_ok() && left.is_empty() {
                client.is_answered();
            }
            Stage::Answered(left, behind_answer(&result, keeps, begun))
        }
        // Whoever waits for the disk finds out what is wrong.
        Ok(false) | Err(_) => Stage::Fresh,
    };
    client.local().give_output(head);
    client.local().buffers.give(buffer);
    stage
}

fn docroot(current: &Current) -> Option<(&Path, &WebSettings)> {
    let web = current.view.web.as_deref()?;
    Some((web.docroot.as_ref().ok()?.as_deref()?, web))
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
    let answered = match std::mem::replace(&mut request.stage, Stage::Fresh) {
        Stage::Answered(held, next) => {
            let is_good = client.say_held(held).await;
            return if is_good { next } else { Next::Close };
        }
        Stage::Composed(pieces, keeps) => return send_pieces(client, &request, pieces, keeps).await,
        Stage::Fresh => respond(client, &mut request).await,
    };
    match answered {
        Ok(next) => next,
        Err(page) => say(client, &request, page).await,
    }
}

/// Does what is asked for.
///
/// # Errors
/// The page that is the answer instead.
async fn respond(client: &mut Client, request: &mut WebRequest) -> Result<Next, Page<'static>> {
    match Head::new(&request.text).method() {
        b"GET" | b"HEAD" => get(client, request).await,
        b"PUT" => store::put(client, request).await,
        b"DELETE" => store::delete(client, request).await,
        _ => Err(BAD_METHOD.into()),
    }
}

/// Answers with a file, with several, or with what is in a directory.
///
/// # Errors
/// The page that is the answer instead.
async fn get(client: &mut Client, request: &WebRequest) -> Result<Next, Page<'static>> {
    let text = Head::new(&request.text);
    let mut path = match path::parse(text.target()) {
        Ok(path) => path,
        Err(path::Other::Bogus) => return Err(BOGUS.into()),
        Err(path::Other::Several(several)) => return concat::send(client, request, several).await,
    };
    if client.hooked.is_some() {
        if let Some(next) = hooks::ask_path(client, request, path.to_mut()).await {
            return Ok(next);
        }
        if !path::leads_somewhere(&path) {
            return Err(BOGUS.into());
        }
    }
    let (root, web) = docroot(&request.current).ok_or(UNCONFIGURED)?;
    let place = place(client.local(), root, web, Patience::Wait);
    match place.seek(&path, accepted(web, text)).await {
        Found::File(found) => {
            let shown = Shown::of(&found, web);
            if let Some(next) = hooks::ask_found(client, request, shown.file.stamp.modified.0).await {
                return Ok(next);
            }
            let chosen = Chosen::of(&Asked::of(text), shown.file);
            Ok(send(client, request, &shown, &chosen).await)
        }
        Found::Directory(stamp) if web.lists => list(client, request, stamp, &path).await,
        Found::Directory(_) => Err(NOT_LISTED.into()),
        Found::Failed(error) => {
            if matches!(&error, OpenError::System(error) if is_missing(error))
                && let Some(next) = hooks::ask(client, request, Point::StaticGetPoststatFileMissing).await
            {
                return Ok(next);
            }
            tracing::debug!(%error, cause = ?error.source(), "a file is not sent");
            Err(refusal(&error).into())
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

/// Sends what was chosen of a file.
async fn send(client: &mut Client, request: &WebRequest, shown: &Shown<'_>, chosen: &Chosen) -> Next {
    let keeps = request.keeps(client);
    let mut head = Vec::new();
    Facts::of(client, request.owner(), keeps).write(shown, chosen, &mut head);
    if let Some(next) = hooks::finish_head(client, request, chosen.status(), &mut head).await {
        return next;
    }
    let length = hooks::length(client, &head);
    client.answered(chosen.status(), length.or(Some(chosen.length(shown))));
    let pieces = behind(head, request.head.method, shown, chosen);
    send_pieces(client, request, pieces, keeps).await
}

/// Puts an answer together of what was chosen of a file.
fn compose(facts: &Facts<'_>, method: Method, shown: &Shown<'_>, chosen: &Chosen) -> Pieces {
    let mut head = Vec::with_capacity(HEAD);
    facts.write(shown, chosen, &mut head);
    behind(head, method, shown, chosen)
}

/// Puts what was chosen of a file behind a head.
fn behind(head: Vec<u8>, method: Method, shown: &Shown<'_>, chosen: &Chosen) -> Pieces {
    let (file, size) = (shown.file, shown.file.stamp.size);
    let mut pieces = Pieces::default();
    pieces.text(head);
    match chosen {
        _ if method == Method::Head => {}
        Chosen::All => pieces.file(Sending::new(Rc::clone(file), 0..size)),
        Chosen::One(part) => pieces.file(Sending::new(Rc::clone(file), part.clone())),
        Chosen::Several(parts, boundary) => {
            for part in parts {
                pieces.text(before_part(part, boundary, shown.kind, size));
                pieces.file(Sending::new(Rc::clone(file), part.clone()));
            }
            pieces.text(after_parts(boundary));
        }
        Chosen::NotModified | Chosen::NoSuchPart | Chosen::Failed => {}
    }
    pieces
}

/// Lists a directory.
///
/// # Errors
/// The page that is the answer instead.
async fn list(
    client: &mut Client,
    request: &WebRequest,
    stamp: Stamp,
    path: &[u8],
) -> Result<Next, Page<'static>> {
    let (root, _) = docroot(&request.current).ok_or(UNCONFIGURED)?;
    let (root, below) = (root.to_owned(), files::relative(path));
    let entries = files::blocking(move || files::entries(&root, &below)).await;
    let page = listing::page(path, &entries.map_err(|error| refusal(&error))?);
    let keeps = request.keeps(client);
    let mut head = Vec::new();
    let modified = stamp.last_modified();
    let made = Made {
        modified: modified.as_bytes(),
        kind: "text/html",
        length: Some(page.len() as u64),
    };
    Facts::of(client, request.owner(), keeps).write_made(made, &mut head);
    if let Some(next) = hooks::finish_head(client, request, 200, &mut head).await {
        return Ok(next);
    }
    let mut pieces = Pieces::default();
    pieces.text(head);
    client.answered(200, Some(page.len() as u64));
    if request.head.method != Method::Head {
        pieces.text(page);
    }
    Ok(send_pieces(client, request, pieces, keeps).await)
}

async fn send_pieces(client: &mut Client, request: &WebRequest, pieces: Pieces, keeps: bool) -> Next {
    let limit = request.current.view.settings.idle_timeout;
    match pieces.send(client, limit).await {
        Ok(()) => {
            client.is_answered();
            end(client, request, keeps)
        }
        Err(error) => {
            tracing::debug!(%error, "an answer was broken off");
            Next::Close
        }
    }
}

/// Answers with a page.
async fn say(client: &mut Client, request: &WebRequest, page: Page<'_>) -> Next {
    let keeps = request.keeps(client);
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
